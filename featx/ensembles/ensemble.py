"""Build ensembles of a recipe's finished runs; each becomes a run folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.artifacts import artifact
from featx.artifacts.header import read_header
from featx.ensembles.combiners import EnsembleMethod
from featx.ensembles.ensemble_run import EnsembleRun
from featx.ensembles.members import find_candidates, find_left_out
from featx.errors import DataError, IncompleteError, UnsuitedError
from featx.metrics.definitions import find_score
from featx.registry import ENSEMBLE_METHODS
from featx.specs.ensembling import DEFAULT_METHODS, EnsembleSpec
from featx.specs.recipe import Recipe
from featx.specs.sequences import as_tuple
from featx.study.ensemble_metrics import EnsembleMetrics
from featx.study.run_folder import RunFolder
from featx.study.run_settings import RunDescription, describe_runs, replace_names
from featx.study.study import Study

# Function that receives the target, the method and the error of an ensemble that cannot be built.
ReportFailure = Callable[[str, str, DataError], None]


@dataclass(frozen=True)
class EnsembleResult:
    """The run of one ensemble.

    Attributes
    ----------
    run
        Name of the run.
    method
        Name of the ensemble method.
    target
        Name of the target.
    label, settings
        Label that is unique among the runs of the target, and the settings in which its ensembles differ.
    path
        Path of the run folder.
    is_new
        Whether the run was made by this call; False if it was there.
    members, member_labels
        Names and labels of the runs that the ensemble uses; other candidates have weight 0.
    n_candidates
        Number of candidate members.
    weights
        Weights of the members, of sum 1; empty if a member's weight differs between rows.
    scored_on
        Part of the selection rows: ``val``, or ``oof`` without a val split.
    n
        Number of selection rows.
    metric
        Name of the metric of `score`.
    weighted
        Whether scores are weighted by the rows' weights.
    score
        Score on the selection rows; that of a trained method is cross-fitted.
    best_member, best_member_label
        Name and label of the candidate with the best score on the same rows.
    best_member_score
        Score of the best candidate.
    median_member_score
        Median score of the candidates.
    explanation
        Comparison of the ensemble with its best member, and description of the members, as a paragraph with labels.
    warnings
        Warnings about the ensemble.
    """

    run: str
    method: str
    target: str
    label: str
    settings: dict[str, Any]
    path: str
    is_new: bool
    members: list[str]
    member_labels: list[str]
    n_candidates: int
    weights: list[float]
    scored_on: str
    n: int
    metric: str
    weighted: bool
    score: float
    best_member: str
    best_member_label: str
    best_member_score: float
    median_member_score: float
    explanation: str
    warnings: list[str]

    @property
    def gain(self) -> float:
        """Score minus that of the best member; its negative if less is better, so that a gain is positive."""
        return float(find_score(self.metric).signed(self.score - self.best_member_score))


def ensemble(  # noqa: PLR0913 - one keyword for each key of a recipe that a call may override
    recipe: str | Path | Recipe | None = None,
    *,
    specs: Sequence[EnsembleSpec] | EnsembleSpec = (),
    methods: Sequence[str] | str = (),
    members: Sequence[str] | str = (),
    target: str | None = None,
    force: bool = False,
) -> list[EnsembleResult]:
    """Build ensembles of finished heads and networks.

    Parameters
    ----------
    recipe
        Recipe, or the path of its file; by default the recipe in this folder.
    specs
        Specs of ensembles instead of the recipe's ``[[ensemble]]``.
    methods
        Names of ensemble methods; by default those of the recipe.
    members
        Names of runs or beginnings of names, those of ensembles too; by default all heads and networks with the same
        target and split.
    target
        Name of one of the recipe's targets; by default all targets with runs.
    force
        Whether to make runs that exist again.

    Returns
    -------
    list
        Results target by target, the best ensemble first.

    Raises
    ------
    IncompleteError
        There is no finished run.
    DataError
        There is only one finished run, the runs have predictions for different rows, or the recipe names no method.
    UnknownNameError
        An ensemble method is unknown.
    UnsuitedError
        An ensemble method can predict none of the targets.

    Notes
    -----
    Trained methods are fitted to val (without a val split, to the out-of-fold rows). They are scored there by
    cross-fitting: the predictions for each fold come from a fit to the other folds.
    """
    study = Study.open(recipe)
    sections = _sections(study, as_tuple(specs), as_tuple(methods), as_tuple(members), target)
    results = [result for spec in sections for result in _build_section(study, spec, target, force, _raise_failure)]
    # Sections without a name and with the same members have the same runs.
    distinct_results = {result.run: result for result in results}.values()
    order = list(study.recipe.targets)
    return sorted(distinct_results, key=lambda result: (order.index(result.target), -result.gain))


def build_possible_ensembles(study: Study, spec: EnsembleSpec, report_failure: ReportFailure) -> list[EnsembleResult]:
    """Build the ensembles of a section among the runs of a study, without those that cannot be built.

    Parameters
    ----------
    report_failure
        Function that is called for each ensemble that cannot be built.

    Raises
    ------
    DataError
        The runs have predictions for different rows.
    UnsuitedError
        An ensemble method can predict none of the targets.
    """
    return _build_section(study, spec, None, False, report_failure)


def _raise_failure(_target: str, _method: str, error: DataError) -> None:
    raise error


def _sections(
    study: Study,
    specs: tuple[EnsembleSpec, ...],
    methods: tuple[str, ...],
    members: tuple[str, ...],
    target: str | None,
) -> list[EnsembleSpec]:
    """Return the specs of the ensembles to build, with other methods and members if there are any.

    Raises
    ------
    DataError
        None of them builds an ensemble of the target.
    """
    # The name of a section describes its members.
    arguments = {"methods": methods, "members": members, "name": None}
    changes = {name: value for name, value in arguments.items() if value or (name == "name" and members)}
    sections = specs or study.recipe.ensemble or (EnsembleSpec(methods=()),)
    changed_sections = [
        spec.model_copy(update=changes) for spec in sections if target in {None, spec.target} or not spec.target
    ]
    building = [spec for spec in changed_sections if spec.methods != ()]
    if not building:
        problem = "no [[ensemble]] with a method" if target is None else f"no [[ensemble]] with a method for {target!r}"
        raise DataError(f"the recipe has {problem}; name methods with 'featx ensemble --method NAME'")
    return building


def _build_section(
    study: Study, spec: EnsembleSpec, target: str | None, force: bool, report_failure: ReportFailure
) -> list[EnsembleResult]:
    """Build the ensembles of one section, for the targets that have two members or more; with none, for the first."""
    names = study.target_names(spec.target or target)
    for method in spec.methods or ():
        _check_suited(method, study, names)
    suited_names = [name for name in names if _suited_methods(study, name, spec)]
    names_with_members = [name for name in suited_names if not _why_no_members(study, name, spec)]
    runs = [EnsembleRun.of(study, name, spec) for name in names_with_members or suited_names[:1]]
    return [
        result
        for run in runs
        for result in _build_all(run, _suited_methods(study, run.target, spec), force, report_failure)
    ]


def explain_missing_ensembles(study: Study, spec: EnsembleSpec) -> dict[str, str]:
    """Return why a section builds no ensemble, for each target that it can predict; empty text if it builds one."""
    names = study.target_names(spec.target)
    return {name: _why_no_members(study, name, spec) for name in names if _suited_methods(study, name, spec)}


def _why_no_members(study: Study, target: str, spec: EnsembleSpec) -> str:
    try:
        candidates = find_candidates(study, target, spec)
    except (DataError, IncompleteError) as error:
        return str(error)
    has_two = len(candidates) - len(find_left_out(study, target, spec, candidates)) > 1
    return "" if has_two else "it needs two runs with different predictions"


def _suited_methods(study: Study, target: str, spec: EnsembleSpec) -> list[str]:
    """Return the ensemble methods of a section that can predict a target."""
    kind = study.recipe.targets[target].kind
    return [name for name in spec.methods or DEFAULT_METHODS if kind in ENSEMBLE_METHODS.get(name).kinds]


def _check_suited(method: str, study: Study, targets: Sequence[str]) -> None:
    ensemble_method: EnsembleMethod = ENSEMBLE_METHODS.get(method)
    kinds = {name: study.recipe.targets[name].kind for name in targets}
    if not set(kinds.values()) & set(ensemble_method.kinds):
        name, kind = next(iter(kinds.items()))
        methods_text = ", ".join(
            candidate for candidate in ENSEMBLE_METHODS.names() if kind in ENSEMBLE_METHODS.get(candidate).kinds
        )
        raise UnsuitedError(
            f"method {method!r} predicts {' or '.join(ensemble_method.kinds)}, target {name!r} is of {kind}; suitable "
            f"methods: {methods_text}"
        )


def _build_all(
    run: EnsembleRun, methods: Sequence[str], force: bool, report_failure: ReportFailure
) -> list[EnsembleResult]:
    """Build an ensemble by each method that can be fitted; return the best first."""
    folders = {}
    for method in methods:
        try:
            folders[method] = _build_one(run, method, force)
        except DataError as error:
            report_failure(run.target, method, error)
    if not folders:
        return []
    built_runs = [folder for folder, _ in folders.values()]
    descriptions = describe_runs({item.name: item.spec for item in [*run.study.runs(run.target), *built_runs]})
    results = [_result(folder, is_new, run.notes, descriptions) for folder, is_new in folders.values()]
    return sorted(results, key=lambda result: -result.gain)


def _build_one(run: EnsembleRun, method: str, force: bool) -> tuple[RunFolder, bool]:
    """Return the folder of an ensemble, and whether it was built by this call."""
    stem, spec = "-".join([*filter(None, [run.spec.name]), method, run.target]), run.run_spec(method)
    finished_run = None if force else run.study.find_run(stem, spec)
    if finished_run is None:
        with run.study.new_run(stem, spec) as folder:
            run.build(method, folder)
    return finished_run or RunFolder(run.study.run_path(stem, spec)), finished_run is None


def _result(
    run: RunFolder, is_new: bool, notes: Sequence[str], descriptions: Mapping[str, RunDescription]
) -> EnsembleResult:
    body = artifact.read_ensemble_body(run.path, read_header(run.path)[1])
    selection, metrics = run.selection_predictions(), run.metrics
    assert isinstance(metrics, EnsembleMetrics)
    return run.make_result(
        EnsembleResult,
        warnings=[*(warning.text for warning in metrics.run_warnings), *notes],
        method=body["method"],
        is_new=is_new,
        members=list(body["members"]),
        member_labels=[descriptions[name].label for name in body["members"]],
        best_member_label=descriptions[metrics.best_member].label,
        explanation=replace_names(metrics.explanation, descriptions),
        n_candidates=len(run.members),
        weights=body.get("weights", []),
        scored_on=str(selection.part[0]),
        n=len(selection.ids),
        **vars(descriptions[run.name]),
    )
