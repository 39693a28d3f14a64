"""Tables with the scores of all runs of one target."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from featx.evaluation.certified_runs import CertifiedRun
from featx.evaluation.group_biases import GroupBias
from featx.evaluation.group_scores import Grouping
from featx.metrics.definitions import MAIN_SCORES, WEIGHTED_PREFIX
from featx.metrics.score_texts import ScoreFormat
from featx.specs.head import Metric
from featx.tables.ids import Kind


@dataclass(frozen=True)
class RunEvaluation:
    """Scores of one run on one part of the split.

    Attributes
    ----------
    run
        Name of the run.
    is_ensemble
        Whether the run is an ensemble.
    scores
        Score name → value, from `featx.metrics.scores.scores`, `featx.evaluation.coverage.CoverageCheck` and
        `featx.evaluation.leaks.Copies.score_without`.
    accuracy_low, accuracy_high
        95 % interval of the accuracy; nan unless the target has classes.
    per_class
        Precision, recall, F1 and n of each class or label.
    confusion
        (k, k) counts; row = true class. Empty unless the target has classes.
    flags
        Names of the warnings of its training, for example ``nan``, and ``one class`` or ``one number`` if it predicts
        the same for all rows.
    intervals
        Score name → low and high edge of its 95 % interval (`featx.evaluation.intervals`).
    difference, difference_low, difference_high
        Difference to the chosen run in the selection score, and its paired 95 % interval; None for the chosen run.
    p, p_holm
        p-value of no difference to the chosen run, before and after Holm's correction; None for the chosen run.
    relation
        Relation to the chosen run: ``equivalent``, ``not shown to differ``, ``worse``, ``better`` or ``too few rows``;
        ``reference`` for the chosen run (`featx.evaluation.comparison.Comparison.relation`).
    max_gap_to_best
        Upper limit, at 95 % for all runs together, of how much better the best run is than this one.
    fit_s, images_per_s, n_bytes, n_models
        Costs of the run (`featx.evaluation.cost.Cost`); None where a cost is not known.
    biases
        Name of a group column → differences between the errors of its groups.
    label, settings
        Label that is unique among the rows, and the settings in which runs of this kind differ, as JSON values by name
        (`featx.study.run_settings`).
    train_scores
        Score name → value on the rows that the run was trained on; empty if it was not measured.
    """

    run: str
    is_ensemble: bool
    scores: dict[str, float]
    accuracy_low: float
    accuracy_high: float
    per_class: list[dict[str, Any]]
    confusion: list[list[float]]
    flags: list[str] = field(default_factory=list)
    intervals: dict[str, Sequence[float]] = field(default_factory=dict)
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    relation: str = ""
    max_gap_to_best: float | None = None
    fit_s: float | None = None
    images_per_s: float | None = None
    n_bytes: int | None = None
    n_models: int = 1
    biases: dict[str, GroupBias] = field(default_factory=dict)
    label: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    train_scores: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "RunEvaluation":
        """Return the row whose `dataclasses.asdict` is given."""
        return cls(**fields | {"biases": {name: GroupBias(**bias) for name, bias in fields["biases"].items()}})


@dataclass(frozen=True)
class Evaluation:
    """Scores of all runs of one target on one part of the split.

    Attributes
    ----------
    target
        Name of the target.
    classes
        Names of the classes; empty unless the target has classes.
    part
        ``val``, ``oof`` (out-of-fold rows, where there is no val split) or ``test``.
    rows
        One row per run, best first by the selection score; the chosen run comes first among equal ones.
    chosen
        Name of the run with the best score on the selection rows (never test). Among equal runs it is the simplest and
        cheapest one. Runs whose training failed, or whose scores leak train rows, are chosen only if there are
        no others (`featx.evaluation.recommendation.find_excluded_runs`).
    chosen_by
        Name of the selection score and of the part that it was computed on, as ``accuracy on val``.
    n_openings
        Number of times that the test split was opened for this target.
    kind
        ``classes``, ``labels`` or ``numbers``; only classes have a confusion matrix.
    score, test
        Names of the score that runs are compared in, and of the statistical test.
    margin
        Largest difference without practical consequence, in units of the score.
    equivalent
        Names of the runs that are shown, on the selection rows, to be equivalent to the chosen run within the margin.
    recommended
        Name of the cheapest run among the chosen one and those equivalent runs that can replace it
        (`featx.evaluation.comparison.Comparison.can_replace_reference`).
    recommendation
        Recommendation and its reasons as text.
    test_evidence
        Evidence of the test rows against the choice, as text; empty before the test split was opened.
    groupings
        Scores of the chosen run by group, for each of the recipe's group columns and for each pair of them.
    warnings
        Warnings about the scored rows.
    log_problems
        Problems of the log that `n_openings` was counted in; empty if the log is complete.
    n_test
        Number of images of the test part; 0 if there is no such part.
    unfinished
        Heads and networks of the recipe of which there are fewer finished runs than planned, one text each.
    certificates
        Certified accuracy of the smoothed runs, on a sample of val.
    """

    target: str
    classes: list[str]
    part: str
    rows: list[RunEvaluation]
    chosen: str
    chosen_by: str
    n_openings: int
    kind: Kind = "classes"
    score: str = ""
    test: str = ""
    margin: float = math.nan
    equivalent: list[str] = field(default_factory=list)
    recommended: str = ""
    recommendation: str = ""
    test_evidence: str = ""
    groupings: list[Grouping] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    log_problems: list[str] = field(default_factory=list)
    n_test: int = 0
    unfinished: list[str] = field(default_factory=list)
    certificates: list[CertifiedRun] = field(default_factory=list)

    @property
    def compared(self) -> str:
        """Key, in the scores of the runs, of the score that runs are compared in: the weighted one if there is one."""
        weighted_score = f"{WEIGHTED_PREFIX}{self.score}"
        return weighted_score if weighted_score in self.rows[0].scores else self.score

    def label(self, run: str) -> str:
        """Return the label of a run."""
        return next(row.label for row in self.rows if row.run == run)

    def score_format(self, score: str) -> ScoreFormat:
        """Return the formats of a score of all runs, of its intervals and of its differences."""
        return ScoreFormat.of(score, [row.scores.get(score) for row in self.rows])

    def bias_format(self, measure: str) -> ScoreFormat:
        """Return the formats of a measure of the differences between groups; a ratio has no unit."""
        return ScoreFormat() if measure == "ratio" else self.score_format(self.main_score)

    @property
    def scores(self) -> list[str]:
        """Names of the scores that all runs have."""
        return [name for name in self.rows[0].scores if name != "n"]

    @property
    def has_train_scores(self) -> bool:
        """Whether the score of a run on the rows that it was trained on was measured."""
        return any(self.score in row.train_scores for row in self.rows)

    @property
    def main_score(self) -> Metric:
        """Name of the score that every run has: accuracy, or mean absolute error."""
        return MAIN_SCORES[self.kind]

    @property
    def scores_by_column(self) -> dict[str, list[str]]:
        """Name of each of several numbers → names of its scores; all other scores have an empty name."""
        columns: dict[str, list[str]] = {}
        for name in self.scores:
            columns.setdefault(name.partition(".")[2], []).append(name)
        return columns

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Evaluation":
        """Return the evaluation whose `dataclasses.asdict` is given."""
        groupings = [Grouping.from_dict(grouping) for grouping in fields["groupings"]]
        rows = [RunEvaluation.from_dict(row) for row in fields["rows"]]
        certificates = [CertifiedRun.from_dict(run) for run in fields.get("certificates", [])]
        return cls(**fields | {"rows": rows, "groupings": groupings, "certificates": certificates})
