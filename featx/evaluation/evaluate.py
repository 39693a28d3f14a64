"""Score every run of a recipe on the same rows; open the sealed test split when told to."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from scipy.stats import norm

from featx.disk import read_json, write_json
from featx.evaluation.beliefs import Beliefs
from featx.evaluation.leakage import Copies, copied
from featx.facts import Facts
from featx.metrics import chosen_metric, confusion, per_class, per_label, score, scores
from featx.progress import Watch, unwatched
from featx.recipe import Recipe
from featx.specs import Metric, fingerprint
from featx.tables import Answered, Kind, Known, Predictions, Truth
from featx.workspace import RunFolder, Study

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Row:
    """One run's scores on one part.

    Attributes
    ----------
    scores
        See `featx.metrics.scores`, `Beliefs` and `featx.evaluation.leakage.Copies.score_without`.
    accuracy_low, accuracy_high
        Wilson's interval at 95 %, of classes.
    per_class
        Precision, recall, F1 and n of each class or label.
    confusion
        (k, k) counts; row = true class.
    marks
        What went wrong in its training, in a word or two each.
    """

    run: str
    is_ensemble: bool
    scores: dict[str, float]
    accuracy_low: float
    accuracy_high: float
    per_class: list[dict[str, Any]]
    confusion: list[list[int]]
    marks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Evaluation:
    """All runs of one target on one part.

    Attributes
    ----------
    part
        ``val``, ``oof`` (where there is no val split) or ``test``.
    rows
        Best first by the score that chooses.
    chosen
        The run with the best score on the rows that choose (never test); of equals the first by name.
    chosen_by
        That score's name and part.
    n_looks
        How often the test split of this target has been opened.
    kind
        ``classes``, ``labels`` or ``numbers``; only classes have intervals and confusion.
    warnings
        What should be known of the rows.
    """

    target: str
    classes: list[str]
    part: str
    rows: list[Row]
    chosen: str
    chosen_by: str
    n_looks: int
    kind: Kind = "classes"
    warnings: list[str] = field(default_factory=list)

    @property
    def scores(self) -> list[str]:
        """Names of the scores that all runs have."""
        return [name for name in self.rows[0].scores if name != "n"]

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Evaluation":
        """Undo `dataclasses.asdict`."""
        return cls(**fields | {"rows": [Row(**row) for row in fields["rows"]]})


def evaluate(  # noqa: PLR0913 (all but the first are options by name, one each for the command's)
    recipe: str | Path | Recipe | None = None,
    *,
    target: str | None = None,
    final: bool = False,
    coverage: float | None = None,
    abstain_below: float | None = None,
    watch: Watch = unwatched,
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

    Raises
    ------
    IncompleteError
        there is no finished run.
    DataError
        there are no test rows.
    """
    study = Study.open(recipe)
    beliefs = Beliefs(coverage, abstain_below)
    copies = copied(study, watch)
    return [_evaluate(study, name, final, beliefs, copies) for name in _with_runs(study, target)]


def _with_runs(study: Study, target: str | None) -> list[str]:
    """Return the targets to evaluate: of several, those that have finished runs."""
    names = study.target_names(target)
    having = [name for name in names if study.has_runs(name)]
    return having or names


def _evaluate(study: Study, target: str, final: bool, beliefs: Beliefs, copies: Copies) -> Evaluation:
    runs = study.runs(target)
    truth = study.labels(target)
    of_classes = isinstance(truth, Truth) and not truth.ordered
    metric = study.recipe.ensemble.metric if of_classes else chosen_metric(Facts.of(truth), None)
    choosers = {run.name: run.chooser() for run in runs}
    rank = {name: score(metric, truth, table) for name, table in choosers.items()}
    ranked = sorted(runs, key=lambda run: (-rank[run.name], run.name))
    part = str(choosers[ranked[0].name].part[0])
    if final:
        test = study.open_test(target, [run.name for run in ranked])
        tables = {run.name: run.answers.of("test") for run in ranked}
        more = {run.name: beliefs.on_test(choosers[run.name], truth, tables[run.name], test) for run in ranked}
        rows = [_row(run, tables[run.name], test, more[run.name]) for run in ranked]
    else:
        rows = [_row(run, choosers[run.name], truth, beliefs.of(choosers[run.name], truth)) for run in ranked]
    found = Evaluation(
        target,
        list(truth.classes) if isinstance(truth, Truth) else [],
        "test" if final else part,
        rows,
        ranked[0].name,
        f"{'' if truth.weights is None else 'weighted '}{metric} on {part}",
        len(study.looks(target)),
        truth.kind,
    )
    found = _beside_copies(found, copies, *((tables, test) if final else (choosers, truth)), metric)
    if final:
        write_json(_final_file(study, target), asdict(found))
    return found


def _beside_copies(
    found: Evaluation, copies: Copies, tables: Mapping[str, Answered], known: Known, metric: Metric
) -> Evaluation:
    """Add the score that chooses on the rows without a copy in another part, where some have one."""
    clean = {run: copies.score_without(metric, known, table) for run, table in tables.items()}
    rows = [replace(row, scores=row.scores | clean[row.run]) for row in found.rows]
    return replace(found, rows=rows, warnings=copies.warnings(tables[found.chosen].ids))


def last_final(study: Study, target: str) -> Evaluation | None:
    """Return the test scores of the last opening on the current split and labels, None where there was none."""
    file = _final_file(study, target)
    return Evaluation.from_dict(read_json(file)) if file.is_file() else None


def _final_file(study: Study, target: str) -> Path:
    current = fingerprint([study.split_fingerprint(), study.labels_fingerprint(target)])
    return study.folder / f"final-{target}-{current[:8]}.json"


def _row(run: RunFolder, table: Answered, truth: Known, more: dict[str, float]) -> Row:
    found = scores(truth, table) | more
    if not (isinstance(truth, Truth) and isinstance(table, Predictions)):
        each = per_label(truth, table) if truth.kind == "labels" else []
        return Row(run.name, run.is_ensemble, found, float("nan"), float("nan"), each, [], run.marks)
    low, high = wilson(found["accuracy"], int(found["n"]))
    counts = confusion(truth, table).tolist()
    return Row(run.name, run.is_ensemble, found, low, high, per_class(truth, table), counts, run.marks)


def wilson(share: float, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return Wilson's interval of a share out of n.

    References
    ----------
    .. [1] E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.

    Examples
    --------
    >>> [round(edge, 4) for edge in wilson(0.9, 100)]
    [0.8256, 0.9448]
    """
    z = float(norm.ppf((1 + confidence) / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return centre - half, centre + half
