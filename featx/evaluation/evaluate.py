"""Scores of all runs of a recipe on the same rows, on request on the sealed test split."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from featx.errors import DataError
from featx.evaluation.certified_runs import measure_certificates
from featx.evaluation.comparison import Comparison, compare
from featx.evaluation.cost import Cost, read_costs
from featx.evaluation.coverage import CoverageCheck
from featx.evaluation.evaluation_table import Evaluation, RunEvaluation
from featx.evaluation.final_scores import read_final, write_final
from featx.evaluation.group_biases import group_biases
from featx.evaluation.group_membership import groupings
from featx.evaluation.group_scores import GroupPredictions, score_groups
from featx.evaluation.guessing import describe_guessing
from featx.evaluation.leaks import Copies, find_copies
from featx.evaluation.recommendation import (
    Recommendation,
    choose_run,
    describe_evidence,
    describe_leaking_runs,
    find_excluded_runs,
    has_failed,
    recommend,
)
from featx.metrics.collapse import collapse_flags
from featx.metrics.definitions import find_score
from featx.metrics.scores import align, confusion, per_class, score, scores
from featx.progress import ProgressCallback, no_progress
from featx.specs.head import Metric
from featx.specs.recipe import Recipe
from featx.study.planned_runs import unfinished_runs
from featx.study.run_folder import RunFolder
from featx.study.run_settings import RunDescription, describe_runs
from featx.study.study import Study
from featx.tables.predictions import AnyPredictions
from featx.tables.sample_weights import check_some_weight
from featx.tables.truth import AnyTruth, Truth


def evaluate(  # noqa: PLR0913 (all but the first are options by name, one each for the command's)
    recipe: str | Path | Recipe | None = None,
    *,
    target: str | None = None,
    final: bool = False,
    coverage: float | None = None,
    abstain_below: float | None = None,
    user: str | None = None,
    progress: ProgressCallback = no_progress,
) -> list[Evaluation]:
    """Score all finished runs and return one table per target.

    Parameters
    ----------
    recipe
        Recipe or path of a recipe; by default the one that ``$FEATX_RECIPE`` names, or ``./featx.toml``.
    target
        Name of one of the recipe's targets; all targets by default.
    final
        Whether to open the sealed test split; the opening is logged. By default runs are scored on the selection rows:
        val, or the out-of-fold rows where there is no val split.
    coverage
        Requested coverage in (0, 1) of prediction sets, or of intervals for numbers. Adds the scores ``covered`` and
        ``set_size`` or ``interval_width``.
    abstain_below
        Probability in (0, 1) below which no prediction is made. Adds the scores ``predicted_share`` and
        ``selective_accuracy``.
    user
        Name of the person for the log of openings and the report, used with `final`; by default a hash of the login
        name.
    progress
        Callback for the progress of the search for copies.

    Raises
    ------
    IncompleteError
        there is no finished run.
    DataError
        there are no test rows, or predictions below a probability are asked for and a target has no classes.
    """
    coverage_check = CoverageCheck(coverage, abstain_below)
    return evaluate_study(Study.open(recipe), coverage_check, target, final=final, user=user, progress=progress)


def evaluate_study(  # noqa: PLR0913 (as `evaluate`)
    study: Study,
    coverage_check: CoverageCheck,
    target: str | None = None,
    *,
    final: bool = False,
    user: str | None = None,
    progress: ProgressCallback = no_progress,
) -> list[Evaluation]:
    """Score all finished runs of an open study; parameters and errors are those of `evaluate`."""
    names = _targets_with_runs(study, target)
    for name in names:
        coverage_check.check_kind(name, study.recipe.targets[name].kind)
    copies = find_copies(study, progress)
    # The runs of all targets are read before the test split is opened for the first one.
    selections = {name: _select(study, name) for name in names}
    return [_evaluate(study, name, selections[name], final, coverage_check, copies, user) for name in names]


def _targets_with_runs(study: Study, target: str | None) -> list[str]:
    """Return the targets to evaluate; if there are several, those that have finished runs."""
    names = study.target_names(target)
    if len(names) == 1:
        return names
    return [name for name in names if study.comparable_runs(name)] or names


@dataclass(frozen=True)
class _Selection:
    """All runs of one target, and the choice between them on the selection rows.

    Attributes
    ----------
    truth
        True values of the selection rows.
    metric
        Selection score.
    runs
        Runs, best first; the chosen run comes first among equal ones.
    tables
        Run name → predictions for the selection rows.
    costs
        Run name → costs.
    flags
        Run name → names of its warnings.
    chosen_name
        Name of the chosen run.
    descriptions
        Run name → its label and the settings that distinguish it.
    """

    truth: AnyTruth
    metric: Metric
    runs: list[RunFolder]
    tables: dict[str, AnyPredictions]
    costs: dict[str, Cost]
    flags: dict[str, list[str]]
    chosen_name: str
    descriptions: dict[str, RunDescription]

    @property
    def labels(self) -> dict[str, str]:
        """Run name → label."""
        return {name: description.label for name, description in self.descriptions.items()}

    @property
    def part(self) -> str:
        """``val`` or ``oof``."""
        return str(self.tables[self.chosen_name].part[0])


def _select(study: Study, target: str) -> _Selection:
    """Choose between the runs of one target."""
    runs, truth, metric = study.runs(target), study.labels(target), study.metric(target)
    tables = {run.name: run.selection_predictions() for run in runs}
    costs = {run.name: read_costs(study, run) for run in runs}
    selection_scores = _selection_scores(target, metric, truth, tables)
    flags = {run.name: _flags(run, tables[run.name], truth) for run in runs}
    chosen_name = choose_run(selection_scores, find_excluded_runs(flags), costs)
    ranked_runs = sorted(runs, key=lambda run: (-selection_scores[run.name], run.name != chosen_name, run.name))
    descriptions = describe_runs({run.name: run.spec for run in runs})
    return _Selection(truth, metric, ranked_runs, tables, costs, flags, chosen_name, descriptions)


def _selection_scores(
    target: str, metric: Metric, truth: AnyTruth, tables: Mapping[str, AnyPredictions]
) -> dict[str, float]:
    """Return the selection score of each run; greater is better, and an undefined score is minus infinity.

    Raises
    ------
    DataError
        All selection rows weigh 0, or no run has a defined score.
    """
    name, table = next(iter(tables.items()))
    check_some_weight(truth.take(table.ids).weights, f"{len(table.ids)} selection rows of target {target!r}")
    selection_scores = {run: find_score(metric).sort_key(score(metric, truth, table)) for run, table in tables.items()}
    if max(selection_scores.values()) == -math.inf:
        raise DataError(
            f"metric {metric!r} of target {target!r} is undefined on the selection rows for every run, first {name!r}; "
            "set another 'metric' in [[ensemble]]"
        )
    return selection_scores


def _evaluate(  # noqa: PLR0913 (as `evaluate`)
    study: Study,
    target: str,
    selection: _Selection,
    final: bool,
    coverage_check: CoverageCheck,
    copies: Copies,
    opened_by: str | None,
) -> Evaluation:
    """Return the table of one target."""
    names = [run.name for run in selection.runs]
    tables: dict[str, AnyPredictions]
    if final:
        truth = study.open_test(target, names, opened_by)
        tables = {run.name: run.predictions.of("test") for run in selection.runs}
    else:
        truth, tables = selection.truth, {name: selection.tables[name] for name in names}
    rows = []
    for run in selection.runs:
        table, calibration = tables[run.name], (selection.tables[run.name], selection.truth) if final else None
        coverage_scores = coverage_check.score((table, truth), study.groups, calibration)
        rows.append(_score_run(run, table, truth, selection.metric, coverage_scores))
    evaluation = Evaluation(
        target,
        list(truth.classes) if isinstance(truth, Truth) else [],
        "test" if final else selection.part,
        [replace(row, **asdict(selection.costs[row.run]), **vars(selection.descriptions[row.run])) for row in rows],
        selection.chosen_name,
        f"{'' if selection.truth.weights is None else 'weighted '}{selection.metric} on {selection.part}",
        len(study.openings(target)),
        truth.kind,
        warnings=[
            *(f"left out: {run.damage}" for run in study.damaged()),
            *describe_leaking_runs(selection.flags, selection.labels),
        ],
        log_problems=study.log_problems(),
        n_test=len(study.ids("test")),
        # Damaged runs are finished, and what they are is not known.
        certificates=measure_certificates(selection.runs, study.labels(target), selection.labels),
        unfinished=[] if study.damaged() else unfinished_runs(study.recipe, target, selection.runs),
    )
    evaluation = _add_comparison(study, evaluation, selection, tables, truth)
    evaluation = _add_group_scores(study, evaluation, tables, truth)
    evaluation = _add_copies(evaluation, copies, tables, truth, selection.metric)
    if final:
        write_final(study, selection.runs, evaluation)
    return evaluation


def _score_run(
    run: RunFolder, table: AnyPredictions, truth: AnyTruth, metric: Metric, coverage_scores: dict[str, float]
) -> RunEvaluation:
    """Return the scores of one run, without intervals and comparisons."""
    class_scores = [] if truth.kind == "numbers" else per_class(truth, table)
    counts = confusion(truth, table).tolist() if isinstance(truth, Truth) else []
    all_scores = scores(truth, table, metric) | coverage_scores
    return RunEvaluation(
        run.name,
        run.is_ensemble,
        all_scores,
        math.nan,
        math.nan,
        class_scores,
        counts,
        _flags(run, table, truth),
        train_scores=run.metrics.train or {},
    )


def _flags(run: RunFolder, table: AnyPredictions, truth: AnyTruth) -> list[str]:
    """Return the names of the warnings of a run, and whether it predicts the same for all rows."""
    return list(dict.fromkeys([*run.flags, *collapse_flags(truth, table)]))


def _add_comparison(
    study: Study, evaluation: Evaluation, selection: _Selection, tables: Mapping[str, AnyPredictions], truth: AnyTruth
) -> Evaluation:
    """Add the comparison with the chosen run, the recommendation and the evidence of the test rows."""
    selection_comparison = _compare(study, selection, selection.tables, selection.truth)
    rows_text = _rows_text(selection_comparison, selection.part)
    advice = recommend(selection_comparison, selection.costs, find_excluded_runs(selection.flags), rows_text)
    if evaluation.part == "test":
        comparison = _compare(study, selection, tables, truth)
        evidence = describe_evidence(comparison, selection_comparison, advice.run, _rows_text(comparison, "test"))
        problem = ""
    else:
        comparison = selection_comparison
        last_opening, problem = read_final(study, evaluation.target)
        # The last opening compared runs with the run that was chosen at that time.
        evidence = (
            last_opening.test_evidence if last_opening is not None and last_opening.chosen == evaluation.chosen else ""
        )
    evaluation = _with_comparison(evaluation, comparison, advice)
    guessing = describe_guessing(evaluation)
    warnings = [*evaluation.warnings, *([guessing] if guessing else []), *_test_warnings(evaluation, problem)]
    return replace(evaluation, test_evidence=evidence, warnings=warnings)


def _compare(study: Study, selection: _Selection, tables: Mapping[str, AnyPredictions], truth: AnyTruth) -> Comparison:
    """Compare all runs with the chosen one."""
    reference = tables[selection.chosen_name]
    margin = study.recipe.evaluation.margin
    comparison = compare(
        truth, {selection.chosen_name: reference, **tables}, selection.metric, study.groups(reference.ids), margin
    )
    return replace(comparison, labels=selection.labels)


def _rows_text(comparison: Comparison, part: str) -> str:
    units = f"groups of {part} rows" if comparison.by_group else f"{part} rows"
    return f"{comparison.n_units:,} {units}"


def _test_warnings(evaluation: Evaluation, problem: str) -> list[str]:
    """Return the warnings about the log of openings and about the file of the last test scores."""
    warnings = []
    if evaluation.log_problems:
        warnings.append(
            f"the log of openings is not complete ({'; '.join(evaluation.log_problems)}): the test split may have been "
            "opened more often than is counted"
        )
    if problem:
        warnings.append(f"the test scores of the last opening are left out: {problem}")
    return warnings


def _with_comparison(evaluation: Evaluation, comparison: Comparison, advice: Recommendation) -> Evaluation:
    """Add intervals, differences to the chosen run, and the recommendation."""
    return replace(
        evaluation,
        rows=[_with_difference(row, comparison) for row in evaluation.rows],
        score=comparison.score,
        test=comparison.test,
        margin=comparison.margin,
        equivalent=advice.equivalent,
        recommended=advice.run,
        recommendation=advice.text,
    )


def _with_difference(row: RunEvaluation, comparison: Comparison) -> RunEvaluation:
    """Add the intervals of one run and its difference to the chosen run."""
    run = comparison.runs[row.run]
    low, high = run.intervals["accuracy"] if row.confusion else (math.nan, math.nan)
    return replace(
        row,
        accuracy_low=low,
        accuracy_high=high,
        intervals={name: list(edges) for name, edges in run.intervals.items()},
        difference=_none_if_nan(run.difference),
        difference_low=_none_if_nan(run.difference_interval[0]),
        difference_high=_none_if_nan(run.difference_interval[1]),
        p=_none_if_nan(run.p),
        p_holm=_none_if_nan(run.p_holm),
        relation=_relation(comparison, row),
        max_gap_to_best=run.max_gap_to_best if math.isfinite(run.max_gap_to_best) else None,
    )


def _relation(comparison: Comparison, row: RunEvaluation) -> str:
    """Return the relation of a run to the chosen one; a run whose training failed is never equivalent."""
    relation = comparison.relation(row.run)
    if relation == "equivalent" and has_failed(row.flags):
        return "not shown to differ"
    return relation


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def _add_group_scores(
    study: Study, evaluation: Evaluation, tables: Mapping[str, AnyPredictions], truth: AnyTruth
) -> Evaluation:
    """Add the scores of groups if the recipe names group columns."""
    ids = tables[evaluation.chosen].ids
    columns = study.group_values(ids)
    memberships = list(groupings(columns))
    if not memberships:
        return evaluation
    units, can_fit_thresholds = study.groups(ids), evaluation.part != "test"
    predictions = {
        run: GroupPredictions(*align(truth, table.take(ids)), units, can_fit_thresholds)
        for run, table in tables.items()
    }
    # The groupings of single columns come first.
    biases = group_biases(predictions, memberships[: len(columns)])
    rows = [replace(row, biases=biases[row.run]) for row in evaluation.rows]
    return replace(evaluation, rows=rows, groupings=score_groups(predictions[evaluation.chosen], memberships))


def _add_copies(
    evaluation: Evaluation, copies: Copies, tables: Mapping[str, AnyPredictions], truth: AnyTruth, metric: Metric
) -> Evaluation:
    """Add the selection score on the rows without a copy in another part, if some rows have one."""
    clean_scores = {run: copies.score_without(metric, truth, table) for run, table in tables.items()}
    rows = [replace(row, scores=row.scores | clean_scores[row.run]) for row in evaluation.rows]
    warnings = [*evaluation.warnings, *copies.warnings(tables[evaluation.chosen].ids)]
    return replace(evaluation, rows=rows, warnings=warnings)
