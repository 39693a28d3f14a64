"""Lists of finished runs with their settings, scores, sizes and states, and runs found by the beginning of a name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featx.errors import DataError, FeatxError, IncompleteError
from featx.files.seals import HEADER_FILE
from featx.registry import suggest_names
from featx.specs.finetuning import FinetuneSpec
from featx.specs.head import HeadSpec
from featx.specs.recipe import Recipe, has_recipe
from featx.study.folders import runs_folder
from featx.study.run_folder import RunFolder
from featx.study.run_metrics import HeadMetrics
from featx.study.run_settings import label_runs, typed_names
from featx.study.run_spec import AnyRunSpec, EnsembleRunSpec, HeadRunSpec, SmoothedRunSpec
from featx.study.study import Study
from featx.study.variant_runs import describe_outer_runs, describe_preset_runs, outer_recipes_with_runs

# Settings of a network that are always shown; of all others only those that are not the default.
NETWORK_SETTINGS = ("backbone", "strategy", "lr", "epochs", "batch_size", "loss")


@dataclass(frozen=True)
class RunSummary:
    """A finished run.

    Attributes
    ----------
    run, recipe
        Names of the run and of its recipe; that of an outer split is ``RECIPE/repeat-00``.
    path
        Path of the run's folder.
    state
        ``current``; ``stale``, if its data, labels or members have changed since; ``damaged``, if a file is missing or
        was changed; or ``unknown``, without the recipe or its extraction.
    reason
        Reason of the state; empty for current runs.
    kind, target
        Kind of the run, and name of its target; empty if its spec cannot be read.
    settings
        Name of a setting → value: of a head those that the search chose, of a network and an ensemble those of the
        recipe. Defaults are left out.
    weights
        Weights that a network started from, or embeddings that a head uses; empty for ensembles.
    seed
        Seed of the run; None if its spec cannot be read.
    part
        Part of the selection rows: ``val``, or ``oof`` without a val part.
    scores
        Scores on this part.
    members
        Names of the members of an ensemble.
    elapsed_s
        Seconds of search and training; None for ensembles.
    n_bytes
        Size of the folder in bytes.
    finished
        Time at which the run was finished, in ISO format.
    label
        Short name among the current runs of its target; the name of the run, if it is not current.
    """

    run: str
    recipe: str
    path: str
    state: str
    reason: str
    kind: str
    target: str
    settings: dict[str, Any]
    weights: str
    seed: int | None
    part: str
    scores: dict[str, float]
    members: list[str]
    elapsed_s: float | None
    n_bytes: int
    finished: str
    label: str


def list_runs(recipe: str | Path | Recipe | None = None) -> list[RunSummary]:
    """Return the finished runs of a recipe, oldest first, whatever their state.

    Parameters
    ----------
    recipe
        The recipe, or its path; by default ``$FEATX_RECIPE`` or ``./featx.toml``. The runs of its outer splits follow
        its own. Without any recipe, all runs in the folder of runs are listed.
    """
    if recipe is not None or has_recipe():
        study = Study.open(recipe)
        studies = [study, *(Study.open(outer_recipe) for outer_recipe in outer_recipes_with_runs(study.recipe))]
        summaries = [summary for each_study in studies for summary in list_study_runs(each_study)]
    else:
        folder = runs_folder()
        headers = [
            header for pattern in ("*", "*/repeat-*") for header in folder.glob(f"{pattern}/[!.]*/{HEADER_FILE}")
        ]
        summaries = [
            replace(summarize_run(RunFolder(header.parent)), recipe=header.parent.parent.relative_to(folder).as_posix())
            for header in headers
        ]
    return sorted(summaries, key=lambda summary: (summary.recipe, summary.finished))


def list_study_runs(study: Study) -> list[RunSummary]:
    """Return the finished runs of one study, whatever their state, by name."""
    states, labels = _states(study), current_labels(study)
    return [
        replace(summarize_run(run, *states[run.name]), recipe=study.recipe.name, label=labels.get(run.name, run.name))
        for run in study.run_folders()
    ]


def _states(study: Study) -> dict[str, tuple[str, str]]:
    """Return state and reason of each run of a study; without a current extraction, the reason why it is unknown."""
    try:
        reasons = study.reasons_left_out()
    except (IncompleteError, DataError) as error:
        return {run.name: ("unknown", str(error)) for run in study.run_folders()}
    damaged_names = {run.name for run in study.run_folders() if run.damage}
    return {
        name: ("current" if not reason else "damaged" if name in damaged_names else "stale", reason)
        for name, reason in reasons.items()
    }


def summarize_run(run: RunFolder, state: str = "unknown", reason: str = "") -> RunSummary:
    """Return the summary of a run; what cannot be read of a damaged one stays empty."""
    try:
        spec, metrics = run.spec, run.metrics
    except FeatxError as error:
        spec, metrics, state, reason = None, None, "damaged", reason or str(error)
    scores = {} if metrics is None else metrics.scores_by_part
    part = "val" if "val" in scores else next(iter(scores), "")
    return RunSummary(
        run=run.name,
        recipe=run.path.parent.name,
        path=str(run.path),
        state=state,
        reason=reason,
        kind="" if spec is None else spec.kind,
        target="" if spec is None else spec.target,
        settings={} if spec is None else _settings(run, spec),
        weights="" if spec is None else _weights(run, spec),
        seed=None if spec is None else _seed(spec),
        part=part,
        scores=dict(scores.get(part, {})),
        members=list(run.members) if spec is not None else [],
        elapsed_s=None if metrics is None else metrics.elapsed_s,
        n_bytes=sum(file.stat().st_size for file in run.path.rglob("*") if file.is_file()),
        finished="" if metrics is None else metrics.finished,
        label=run.name,
    )


def _settings(run: RunFolder, spec: AnyRunSpec) -> dict[str, Any]:
    if isinstance(spec, HeadRunSpec):
        defaults = HeadSpec.model_construct(name=spec.head_name).model_dump(mode="json")
        changed_params = {
            key: value for key, value in spec.head.items() if key != "seed" and value != defaults.get(key)
        }
        return changed_params | (run.metrics.search.params if isinstance(run.metrics, HeadMetrics) else {})
    if isinstance(spec, EnsembleRunSpec):
        return {"method": spec.method, "metric": spec.metric} | ({"stacker": spec.stacker} if spec.stacker else {})
    if isinstance(spec, SmoothedRunSpec):
        return {name: value for name, value in spec.settings.items() if name != "seed"}
    loss = spec.finetune["loss"]
    default = FinetuneSpec(loss=loss["name"] if loss else None).identity()
    defaults = spec.model_copy(update={"finetune": default}).settings
    return {
        key: value
        for key, value in spec.settings.items()
        if key in NETWORK_SETTINGS or (key not in {"seed", "weights"} and value != defaults.get(key))
    }


def _weights(run: RunFolder, spec: AnyRunSpec) -> str:
    if isinstance(spec, HeadRunSpec):
        return run.metrics.search.embeddings if isinstance(run.metrics, HeadMetrics) else ""
    return "" if isinstance(spec, EnsembleRunSpec | SmoothedRunSpec) else str(spec.finetune.get("weights", ""))


def _seed(spec: AnyRunSpec) -> int:
    if isinstance(spec, EnsembleRunSpec):
        return spec.seed
    if isinstance(spec, SmoothedRunSpec):
        return int(spec.smoothing["seed"])
    return int((spec.head if isinstance(spec, HeadRunSpec) else spec.finetune).get("seed", 0))


def find_finished_run(name: str | Path, recipe: str | Path | Recipe | None = None) -> RunFolder:
    """Return the run in a folder, or the run of a recipe whose name is, or begins with, `name`.

    Raises
    ------
    DataError
        There is no such run, or several begin with `name`.
    RecipeError
        `name` is no folder, and there is no recipe.
    """
    if (Path(name) / HEADER_FILE).is_file():
        return RunFolder(Path(name))
    study = Study.open(recipe)
    folders = study.run_folders()
    if not folders:
        elsewhere = describe_outer_runs(study.recipe) or "there is none"
        raise DataError(f"no finished run is called {str(name)!r}; {elsewhere}{describe_preset_runs(study.recipe)}")
    return match_run(str(name), folders, current_labels(study))


def current_labels(study: Study) -> dict[str, str]:
    """Return the label of each run that is current, by name; none without an extraction or a current run."""
    try:
        return label_runs({run.name: run.spec for run in study.runs()})
    except (DataError, IncompleteError):
        return {}


def match_run(name: str, folders: Sequence[RunFolder], labels: Mapping[str, str] | None = None) -> RunFolder:
    """Return the run whose name or label is `name`, or whose name alone begins with it.

    Parameters
    ----------
    labels
        Run name → label, for the runs that have one.

    Raises
    ------
    DataError
        No run has such a name, or several do.
    """
    labels = labels or {}
    matches = [run for run in folders if run.name == name] or [run for run in folders if labels.get(run.name) == name]
    matches = matches or [run for run in folders if run.name.startswith(name)]
    if not matches:
        run_labels = typed_names([run.name for run in folders], labels)
        raise DataError(f"no finished run is called {name!r}; {suggest_names(name, run_labels)}")
    if len(matches) > 1:
        names_text = ", ".join(run.name for run in matches)
        raise DataError(f"{name!r} matches {len(matches)} runs: {names_text}; name one of them")
    return matches[0]
