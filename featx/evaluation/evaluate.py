"""Score every run of a recipe on the same rows; open the sealed test split when told to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from featx.errors import IncompleteError
from featx.evaluation.comparison import Comparison, compare
from featx.evaluation.cost import cost_of
from featx.evaluation.coverage import CoverageCheck
from featx.evaluation.group_membership import groupings
from featx.evaluation.group_scores import Grouping, GroupPredictions, biases, for_whom
from featx.evaluation.leaks import Copies, copied
from featx.evaluation.verdicts import Recommendation, chosen_run, evidence_text, has_failed, recommend
from featx.file_names import file_name
from featx.files.atomic import sha256_of
from featx.files.seals import SEAL, read_sealed, write_sealed
from featx.metrics.scores import aligned, confusion, per_class, per_label, score, scores
from featx.progress import ProgressCallback, no_progress
from featx.specs.head import Metric
from featx.specs.recipe import Recipe
from featx.study.run_folder import PREDICTIONS, RunFolder
from featx.study.study import Study
from featx.tables.ids import Kind
from featx.tables.predictions import Answered, Predictions
from featx.tables.truth import Known, Truth


@dataclass(frozen=True)
class RunEvaluation:
    """One run's scores on one part.

    Attributes
    ----------
    scores
        See `featx.metrics.scores.scores`, `CoverageCheck` and `featx.evaluation.leaks.Copies.score_without`.
    accuracy_low, accuracy_high
        That of `intervals`, of classes.
    per_class
        Precision, recall, F1 and n of each class or label.
    confusion
        (k, k) counts; row = true class.
    marks
        What went wrong in its training, in a word or two each.
    intervals
        Low and high of each score at 95 % (`featx.evaluation.intervals`).
    difference, difference_low, difference_high
        To the chosen run, in the score that chooses, and its paired interval; None of the chosen run itself.
    p, p_holm
        Of no difference, and after Holm's correction.
    relation
        To the chosen run: ``equivalent``, ``not shown to differ``, ``worse``, ``better`` or ``too few rows``; of the
        chosen run itself ``reference`` (`featx.evaluation.comparison.Comparison.relation`).
    loss_bound
        Upper limit, at 95 % for all runs together, of how much better the best run is than this one.
    fit_s, images_per_s, n_bytes, n_models
        What it costs (`featx.evaluation.cost.Cost`); None where it is not known.
    biases
        By grouping, the largest difference between groups, and their mean absolute deviation from the overall score.
    """

    run: str
    is_ensemble: bool
    scores: dict[str, float]
    accuracy_low: float
    accuracy_high: float
    per_class: list[dict[str, Any]]
    confusion: list[list[float]]
    marks: list[str] = field(default_factory=list)
    intervals: dict[str, Sequence[float]] = field(default_factory=dict)
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    relation: str = ""
    loss_bound: float | None = None
    fit_s: float | None = None
    images_per_s: float | None = None
    n_bytes: int | None = None
    n_models: int = 1
    biases: dict[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """All runs of one target on one part.

    Attributes
    ----------
    part
        ``val``, ``oof`` (where there is no val split) or ``test``.
    rows
        Best first by the score that chooses, the chosen run first of equals.
    chosen
        The run with the best score on the rows that choose (never test), of equals the simplest and cheapest one. A run
        whose training failed is chosen only where all did.
    chosen_by
        That score's name and part.
    n_looks
        How often the test split of this target has been opened.
    kind
        ``classes``, ``labels`` or ``numbers``; only classes have confusion.
    score, test
        What is compared between runs, and by which test; empty where an older featx wrote it.
    margin
        Largest difference without practical consequence, in units of the score.
    equivalent
        Runs that are shown, on the rows that choose, to be as good as the chosen one within the margin.
    recommended
        The cheapest of the chosen run and of those of them that can take its place
        (`featx.evaluation.comparison.Comparison.is_safe`).
    verdict
        That in words.
    test_evidence
        What the test rows say against the choice; empty before the split was opened.
    groupings
        For whom the chosen run works, by each of the recipe's groups and where two of them meet.
    warnings
        What should be known of the rows.
    log_problems
        What is wrong with the log that `n_looks` was counted in; empty where it is complete.
    """

    target: str
    classes: list[str]
    part: str
    rows: list[RunEvaluation]
    chosen: str
    chosen_by: str
    n_looks: int
    kind: Kind = "classes"
    score: str = ""
    test: str = ""
    margin: float = math.nan
    equivalent: list[str] = field(default_factory=list)
    recommended: str = ""
    verdict: str = ""
    test_evidence: str = ""
    groupings: list[Grouping] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    log_problems: list[str] = field(default_factory=list)

    @property
    def compared(self) -> str:
        """The score that runs are compared in, as their scores name it: the one by weight where rows have some."""
        by_weight = f"confidence_{self.score}"
        return by_weight if by_weight in self.rows[0].scores else self.score

    @property
    def scores(self) -> list[str]:
        """Names of the scores that all runs have."""
        return [name for name in self.rows[0].scores if name != "n"]

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Evaluation":
        """Undo `dataclasses.asdict`."""
        groupings = [Grouping.from_dict(one) for one in fields.get("groupings", [])]
        return cls(**fields | {"rows": [RunEvaluation(**row) for row in fields["rows"]], "groupings": groupings})


class FinalTable(BaseModel):
    """What ``final-*.json`` holds: an evaluation, and the sha256 of each run's predictions."""

    answers: dict[str, str]
    evaluation: dict[str, Any]


def evaluate(  # noqa: PLR0913 (all but the first are options by name, one each for the command's)
    recipe: str | Path | Recipe | None = None,
    *,
    target: str | None = None,
    final: bool = False,
    coverage: float | None = None,
    abstain_below: float | None = None,
    who: str | None = None,
    progress: ProgressCallback = no_progress,
) -> list[Evaluation]:
    """Score all finished runs, one table a target.

    Parameters
    ----------
    target
        One of the recipe's targets; all by default.
    final
        Open the sealed test split; the look is logged. Otherwise runs are scored on val, or on the out-of-fold rows.
    coverage
        Adds how often prediction sets made for this coverage hold the truth, and their size; of numbers, intervals.
    abstain_below
        Adds the share of images whose guess has at least this probability, and the accuracy on these.
    who
        With `final`: the name that the log and reports show; by default a hash of the login name.

    Raises
    ------
    IncompleteError
        there is no finished run.
    DataError
        there are no test rows.
    """
    study = Study.open(recipe)
    beliefs = CoverageCheck(coverage, abstain_below)
    copies = copied(study, progress)
    return [_evaluate(study, name, final, beliefs, copies, who) for name in _with_runs(study, target)]


def _with_runs(study: Study, target: str | None) -> list[str]:
    """Return the targets to evaluate: of several, those that have finished runs."""
    names = study.target_names(target)
    if len(names) == 1:
        return names
    having = [name for name in names if study.has_runs(name)]
    return having or names


def _evaluate(  # noqa: PLR0913 (as `evaluate`)
    study: Study, target: str, final: bool, beliefs: CoverageCheck, copies: Copies, who: str | None
) -> Evaluation:
    runs = study.runs(target)
    truth = study.labels(target)
    metric = study.metric(target)
    choosers = {run.name: run.chooser() for run in runs}
    costs = {run.name: cost_of(study, run) for run in runs}
    merits = {name: score(metric, truth, table) for name, table in choosers.items()}
    failed = {run.name for run in runs if has_failed(run.marks)}
    chosen = chosen_run(merits, failed, costs)
    ranked = sorted(runs, key=lambda run: (-merits[run.name], run.name != chosen, run.name))
    part = str(choosers[chosen].part[0])
    if final:
        test = study.open_test(target, [run.name for run in ranked], who)
        tables = {run.name: run.answers.of("test") for run in ranked}
        more = {
            run.name: beliefs.on_test((choosers[run.name], truth), (tables[run.name], test), study.groups)
            for run in ranked
        }
        on = test
    else:
        tables, on = {run.name: choosers[run.name] for run in ranked}, truth
        more = {name: beliefs.of(table, truth, study.groups) for name, table in tables.items()}
    rows = [replace(_row(run, tables[run.name], on, more[run.name]), **asdict(costs[run.name])) for run in ranked]
    selection = _comparison(study, truth, choosers, chosen, metric)
    found = Evaluation(
        target,
        list(truth.classes) if isinstance(truth, Truth) else [],
        "test" if final else part,
        rows,
        chosen,
        f"{'' if truth.weights is None else 'weighted '}{metric} on {part}",
        len(study.looks(target)),
        truth.kind,
        warnings=[f"left out: {run.damage}" for run in study.damaged()],
        log_problems=study.log_problems(),
    )
    last, problem = (None, "") if final else _read_final(study, target)
    found = replace(found, warnings=[*found.warnings, *_test_warnings(found, problem)])
    advice = recommend(selection, costs, failed, _rows_text(selection, part))
    if final:
        on_test = _comparison(study, on, tables, chosen, metric)
        evidence = evidence_text(on_test, selection, advice.run, _rows_text(on_test, "test"))
        found = replace(_compared(found, on_test, advice), test_evidence=evidence)
    else:
        found = replace(_compared(found, selection, advice), test_evidence=_earlier_evidence(last, found))
    found = _for_whom(study, found, tables, on)
    found = _beside_copies(found, copies, tables, on, metric)
    if final:
        answers = {run.name: sha256_of(run.path / PREDICTIONS) for run in ranked}
        opening = study.looks(target)[-1][SEAL]
        final_scores = {"answers": answers, "opening": opening, "evaluation": asdict(found)}
        write_sealed(_final_file(study, target), final_scores)
    return found


def _comparison(study: Study, known: Known, tables: Mapping[str, Answered], chosen: str, metric: Metric) -> Comparison:
    """Compare all runs with the chosen one."""
    ordered = {chosen: tables[chosen], **tables}
    return compare(known, ordered, metric, study.groups(tables[chosen].ids), study.recipe.evaluation.margin)


def _rows_text(compared: Comparison, part: str) -> str:
    units = f"groups of {part} rows" if compared.by_group else f"{part} rows"
    return f"{compared.n_units} {units}"


def _earlier_evidence(last: Evaluation | None, found: Evaluation) -> str:
    """Return what the last opening of the test split said of the run that is chosen now."""
    return last.test_evidence if last is not None and last.chosen == found.chosen else ""


def _beside_copies(
    found: Evaluation, copies: Copies, tables: Mapping[str, Answered], known: Known, metric: Metric
) -> Evaluation:
    """Add the score that chooses on the rows without a copy in another part, where some have one."""
    clean = {run: copies.score_without(metric, known, table) for run, table in tables.items()}
    rows = [replace(row, scores=row.scores | clean[row.run]) for row in found.rows]
    return replace(found, rows=rows, warnings=[*found.warnings, *copies.warnings(tables[found.chosen].ids)])


def _test_warnings(found: Evaluation, problem: str) -> list[str]:
    """Return what makes the count of openings doubtful, and the `problem` with the scores of the last one."""
    lines = []
    if found.log_problems:
        lines.append(
            f"the log of openings is not complete ({'; '.join(found.log_problems)}): the test split may have been "
            "opened more often than is counted"
        )
    return [*lines, f"the test scores of the last opening are left out: {problem}"] if problem else lines


def last_final(study: Study, target: str) -> Evaluation | None:
    """Return the test scores of the last opening on the current data and runs; None where there are none of these."""
    return _read_final(study, target)[0]


def _read_final(study: Study, target: str) -> tuple[Evaluation | None, str]:
    """Return `last_final`, and why it cannot be read where its file was changed."""
    if not (study.knows_copies and any(study.folder.glob("final-*.json"))):
        return None, ""
    file = _final_file(study, target)
    if not file.is_file():
        return None, ""
    try:
        last = read_sealed(file, "run 'featx evaluate --final' again, or remove the file", FinalTable)
    except IncompleteError as error:
        return None, str(error)
    for name, sha256 in last.answers.items():
        predictions = study.folder / name / PREDICTIONS
        if not predictions.is_file() or sha256_of(predictions) != sha256:
            return None, ""
    return Evaluation.from_dict(last.evaluation), ""


def _final_file(study: Study, target: str) -> Path:
    return study.folder / f"{file_name(f'final-{target}', study.final_state(target)[:8])}.json"


def _row(run: RunFolder, table: Answered, truth: Known, more: dict[str, float]) -> RunEvaluation:
    found = scores(truth, table) | more
    if not (isinstance(truth, Truth) and isinstance(table, Predictions)):
        each = per_label(truth, table) if truth.kind == "labels" else []
        return RunEvaluation(run.name, run.is_ensemble, found, float("nan"), float("nan"), each, [], run.marks)
    counts, nan = confusion(truth, table).tolist(), float("nan")
    return RunEvaluation(run.name, run.is_ensemble, found, nan, nan, per_class(truth, table), counts, run.marks)


def _compared(found: Evaluation, compared: Comparison, advice: Recommendation) -> Evaluation:
    """Add intervals, differences to the chosen run, and the recommendation."""
    rows = []
    for row in found.rows:
        one = compared.runs[row.run]
        low, high = one.intervals["accuracy"] if found.kind == "classes" else (math.nan, math.nan)
        rows.append(
            replace(
                row,
                accuracy_low=low,
                accuracy_high=high,
                intervals={name: list(edges) for name, edges in one.intervals.items()},
                difference=_said(one.difference),
                difference_low=_said(one.difference_interval[0]),
                difference_high=_said(one.difference_interval[1]),
                p=_said(one.p),
                p_holm=_said(one.p_holm),
                relation=_relation(compared, row),
                loss_bound=one.loss_bound if math.isfinite(one.loss_bound) else None,
            )
        )
    return replace(
        found,
        rows=rows,
        score=compared.score,
        test=compared.test,
        margin=compared.margin,
        equivalent=advice.equivalent,
        recommended=advice.run,
        verdict=advice.text,
    )


def _relation(compared: Comparison, row: RunEvaluation) -> str:
    """Return how a run relates to the chosen one; a run whose training failed is never equivalent."""
    relation = compared.relation(row.run)
    if relation == "equivalent" and has_failed(row.marks):
        return "not shown to differ"
    return relation


def _for_whom(study: Study, found: Evaluation, tables: Mapping[str, Answered], known: Known) -> Evaluation:
    """Add the scores of groups, where the recipe names some."""
    ids = tables[found.chosen].ids
    members = list(groupings(study.group_values(ids)))
    if not members:
        return found
    units, may_choose = study.groups(ids), found.part != "test"
    answers = {
        run: GroupPredictions(*aligned(known, table.take(ids)), units, may_choose) for run, table in tables.items()
    }
    rows = [
        replace(row, biases={name: list(two) for name, two in biases(answers[row.run], members).items()})
        for row in found.rows
    ]
    return replace(found, rows=rows, groupings=for_whom(answers[found.chosen], members))


def _said(value: float) -> float | None:
    return None if math.isnan(value) else value
