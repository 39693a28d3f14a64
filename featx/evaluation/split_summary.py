"""Scores of runs over repeated outer splits: means, spreads, and differences to the choice made inside each split.

References
----------
.. [1] C. Nadeau, Y. Bengio, Inference for the generalization error, Machine Learning 2003.
.. [2] G. C. Cawley, N. L. C. Talbot, On over-fitting in model selection and subsequent selection bias in performance
   evaluation, JMLR 2010.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import BaseModel

from featx.evaluation.evaluation_table import Evaluation
from featx.evaluation.paired_tests import corrected_interval, corrected_t_test, holm
from featx.metrics.definitions import find_score
from featx.metrics.score_texts import ScoreFormat
from featx.tables.ids import Floats

# Row of the run that was chosen inside each split, whichever it was.
CHOSEN = "chosen"


def _rows_name(part: str) -> str:
    """Return the name of a part of which scores are: ``out-of-fold``, ``val`` or ``test``."""
    return "out-of-fold" if part == "oof" else part


class SplitScores(BaseModel):
    """Scores of all runs of one target in one outer split.

    Attributes
    ----------
    target
        Name of the target.
    part
        Rows that are scored: ``test``, or the selection rows ``val`` or ``oof``.
    metric
        Score that runs are compared in.
    chosen
        Label of the run that was chosen on the selection rows of this split.
    chosen_by
        Selection score and the rows that it was computed on.
    n_train, n_scored
        Number of training rows and of scored rows.
    fit_s
        Seconds that all runs took.
    scores
        Label of a run → name of a score → value; undefined scores are left out.
    """

    target: str
    part: str
    metric: str
    chosen: str
    chosen_by: str
    n_train: int
    n_scored: int
    fit_s: float
    scores: dict[str, dict[str, float]]

    @property
    def rows_name(self) -> str:
        """``out-of-fold``, ``val`` or ``test``."""
        return _rows_name(self.part)

    @classmethod
    def of(cls, evaluation: Evaluation, n_train: int, n_scored: int, fit_s: float) -> "SplitScores":
        """Return the scores in an evaluation of the runs of one split."""
        scores = {
            row.label: {name: float(value) for name, value in row.scores.items() if math.isfinite(value)}
            for row in evaluation.rows
        }
        return cls(
            target=evaluation.target,
            part=evaluation.part,
            metric=evaluation.compared,
            chosen=evaluation.label(evaluation.chosen),
            chosen_by=evaluation.chosen_by,
            n_train=n_train,
            n_scored=n_scored,
            fit_s=fit_s,
            scores=scores,
        )

    @property
    def chosen_score(self) -> float:
        """Value of `metric` of the chosen run."""
        return self.scores[self.chosen].get(self.metric, math.nan)


@dataclass(frozen=True)
class RunOverSplits:
    """One run over all outer splits.

    Attributes
    ----------
    run
        Label of the run, or ``chosen``: in each split, the run that was chosen on its selection rows [2]_.
    n_chosen
        Number of splits in which it was chosen.
    scores
        Name of a score → its value in each split, nan where it is undefined.
    means, sds
        Name of a score → its mean and standard deviation over the splits.
    intervals
        Name of a score → 95 % interval of its mean, corrected for the overlap of the splits [1]_.
    difference, difference_low, difference_high
        Mean difference to ``chosen`` over the same splits, and its corrected 95 % interval; None for ``chosen``.
    p
        p-value of no difference by the corrected resampled t-test, Holm-corrected; None for ``chosen``.
    """

    run: str
    n_chosen: int
    scores: dict[str, list[float]]
    means: dict[str, float]
    sds: dict[str, float]
    intervals: dict[str, list[float]]
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class SplitSummary:
    """All runs of one target over repeated outer splits.

    Attributes
    ----------
    target
        Name of the target.
    part
        Rows that are scored: ``test``, or the selection rows ``val`` or ``oof``.
    metric
        Score that runs are compared in.
    chosen_by
        Selection score and the rows that it was computed on.
    n_splits
        Number of outer splits.
    n_train, n_scored
        Mean number of training rows and of scored rows.
    fit_s
        Seconds that the runs of all splits took.
    rows
        The row ``chosen``, then the runs, best mean first. Runs that some split lacks come last.
    """

    target: str
    part: str
    metric: str
    chosen_by: str
    n_splits: int
    n_train: float
    n_scored: float
    fit_s: float
    rows: list[RunOverSplits]

    @property
    def score_names(self) -> list[str]:
        """Names of the scores that some run has in all splits; `metric` is one of them even if no run has it."""
        return list(dict.fromkeys([*(name for row in self.rows for name in row.means), self.metric]))

    def score_format(self, score: str) -> ScoreFormat:
        """Return the formats of a score of all runs, of its deviations and of its differences."""
        return ScoreFormat.of(score, [row.means.get(score) for row in self.rows])

    @property
    def rows_name(self) -> str:
        """``out-of-fold``, ``val`` or ``test``."""
        return _rows_name(self.part)


def summarize_splits(splits: Sequence[SplitScores]) -> SplitSummary:
    """Return the means over the outer splits of one target, and the differences of all runs to the chosen ones.

    Parameters
    ----------
    splits
        Scores in two or more splits.
    """
    first_split = splits[0]
    share = float(np.mean([split.n_scored for split in splits]) / np.mean([split.n_train for split in splits]))
    labels = list(dict.fromkeys(label for split in splits for label in split.scores))
    rows = {label: _summarize_run(label, [split.scores.get(label, {}) for split in splits], share) for label in labels}
    chosen_summary = _summarize_run(CHOSEN, [split.scores[split.chosen] for split in splits], share)
    values = {label: _scores_of(rows[label], first_split.metric, len(splits)) for label in labels}
    signed = find_score(first_split.metric).signed
    # A mean over a part of the splits is not comparable, so such runs come last.
    order = sorted(
        labels, key=lambda label: -signed(float(values[label].mean())) if _is_whole(values[label]) else math.inf
    )
    reference = _scores_of(chosen_summary, first_split.metric, len(splits))
    differences = [values[label] - reference for label in order]
    max_difference = find_score(first_split.metric).max_difference
    p = holm(
        [
            corrected_t_test(paired_differences, share) if _is_whole(paired_differences) else math.nan
            for paired_differences in differences
        ]
    )
    counts = Counter(split.chosen for split in splits)
    compared_runs = [
        _with_difference(
            replace(rows[label], n_chosen=counts[label]), paired_differences, share, max_difference, p_value
        )
        for label, paired_differences, p_value in zip(order, differences, p, strict=True)
    ]
    return SplitSummary(
        target=first_split.target,
        part=first_split.part,
        metric=first_split.metric,
        chosen_by=first_split.chosen_by,
        n_splits=len(splits),
        n_train=float(np.mean([split.n_train for split in splits])),
        n_scored=float(np.mean([split.n_scored for split in splits])),
        fit_s=round(sum(split.fit_s for split in splits), 2),
        rows=[replace(chosen_summary, n_chosen=len(splits)), *compared_runs],
    )


def _summarize_run(label: str, splits: Sequence[Mapping[str, float]], share: float) -> RunOverSplits:
    names = dict.fromkeys(name for scores in splits for name in scores if name != "n")
    values = {name: np.array([scores.get(name, math.nan) for scores in splits]) for name in names}
    means = {name: float(x.mean()) for name, x in values.items() if _is_whole(x)}
    return RunOverSplits(
        run=label,
        n_chosen=0,
        scores={name: x.tolist() for name, x in values.items()},
        means=means,
        sds={name: float(values[name].std(ddof=1)) for name in means},
        intervals={name: list(corrected_interval(values[name], share, find_score(name).limits)) for name in means},
    )


def _scores_of(run: RunOverSplits, metric: str, n_splits: int) -> Floats:
    """Return a score of a run in each split; nan in all of them where it is undefined everywhere."""
    return np.array(run.scores.get(metric, [math.nan] * n_splits))


def _with_difference(
    run: RunOverSplits, differences: Floats, share: float, max_difference: float, p: float
) -> RunOverSplits:
    if not _is_whole(differences):
        return run
    low, high = corrected_interval(differences, share, (-max_difference, max_difference))
    return replace(run, difference=float(differences.mean()), difference_low=low, difference_high=high, p=p)


def _is_whole(values: Floats) -> bool:
    return bool(np.isfinite(values).all())
