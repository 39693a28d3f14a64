"""For whom a run works: scores of groups with intervals, how far they lie apart, and whether that is more than chance.

References
----------
.. [1] S. Bird et al., Fairlearn: a toolkit for assessing and improving fairness in AI, Microsoft 2020.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.evaluation.comparison import SIGNIFICANT, drawable
from featx.evaluation.group_membership import GroupMembership
from featx.evaluation.group_tests import apart_by_chance, errors, own_thresholds
from featx.evaluation.intervals import Resamples, drawn_scores, intervals
from featx.evaluation.paired_tests import holm
from featx.metrics.definitions import Floats, Scorer, is_better_less
from featx.metrics.row_scores import guessed
from featx.tables.target_values import TargetValues

FEWEST = 20  # rows of a group that is compared
# Number of units, as patients are, of a group that is compared: fewer show neither an interval nor a difference.
MIN_UNITS = 5
MOST_GROUPS = 40  # of a grouping that are shown, the largest


@dataclass(frozen=True)
class Group:
    """One group's scores.

    Attributes
    ----------
    scores
        As `featx.metrics.scores.scores` has them; nan where a score means nothing, as the AUC of a group of one class.
    n_units
        Number of units, as patients are, that its rows come from; None where each row is one.
    is_compared
        Whether it has rows and units enough, and so have all others together; if not, it has no intervals and no p.
    intervals
        Of each score, at 95 %, from draws of its own rows or units.
    p_holm
        Of errors like all others', after Holm's correction for all groups of all groupings.
    is_flagged
        Whether its errors are larger than the others' by more than chance.
    answered
        Of two classes, the share of rows that the second is said of.
    threshold, score_by_threshold
        Of two classes, its own one by cross-fitting, and the accuracy that it then has.
    """

    name: str
    n: int
    scores: dict[str, float]
    is_compared: bool
    n_units: int | None = None
    intervals: dict[str, Sequence[float]] = field(default_factory=dict)
    p_holm: float | None = None
    is_flagged: bool = False
    answered: float | None = None
    threshold: float | None = None
    score_by_threshold: float | None = None


@dataclass(frozen=True)
class Grouping:
    """All groups of one column, or of two columns that meet; figures are of the groups that are compared.

    Attributes
    ----------
    score, overall
        What groups are compared in, accuracy or mean absolute error, and its value over all rows that have a group.
    n_missing, n_hidden
        Rows without a value, and groups left out since there are too many.
    largest_difference, ratio
        Between the best and the worst group, and the smaller score over the larger [1]_.
    mean_deviation
        Mean absolute deviation of the groups' scores from the overall one.
    step
        Where groups stand in an order: by how much the error grows from one to the next, by least squares over rows.
    parity_difference
        Of two classes, how far the groups' shares of the second class lie apart [1]_; none of more classes.
    largest_difference_by_thresholds
        As `largest_difference`, if each group had its own threshold.
    """

    name: str
    groups: list[Group]
    score: str
    overall: float
    ordered: bool
    n_missing: int
    n_hidden: int
    largest_difference: float | None = None
    ratio: float | None = None
    mean_deviation: float | None = None
    step: float | None = None
    parity_difference: float | None = None
    largest_difference_by_thresholds: float | None = None

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Grouping":
        """Undo `dataclasses.asdict`."""
        return cls(**fields | {"groups": [Group(**group) for group in fields["groups"]]})


@dataclass(frozen=True)
class GroupPredictions:
    """What a run said of rows whose truth is known.

    Attributes
    ----------
    units
        (n,) what a split keeps whole; None where rows stand for themselves.
    may_choose
        Whether these rows may choose thresholds; test rows may not.
    """

    facts: TargetValues
    outputs: Floats
    units: NDArray[Any] | None = None
    may_choose: bool = True

    @property
    def unit_codes(self) -> NDArray[np.intp]:
        """(n,) codes of the units; each row is one where `units` is None."""
        return Resamples.of(len(self.facts), self.units).units

    @property
    def score(self) -> str:
        """What groups are compared in."""
        return "mae" if self.facts.kind == "numbers" else "accuracy"

    @property
    def is_binary(self) -> bool:
        """Whether there are two classes."""
        return self.facts.kind == "classes" and self.facts.n_outputs == 2

    def plain(self) -> "GroupPredictions":
        """Return the same, all rows counting alike."""
        return GroupPredictions(replace(self.facts, weights=None), self.outputs, self.units, self.may_choose)


def for_whom(answers: GroupPredictions, members: Sequence[GroupMembership]) -> list[Grouping]:
    """Return the groups' scores of each grouping, and flag those that pay.

    Parameters
    ----------
    members
        Over the rows of `answers`; see `featx.evaluation.group_membership.groupings`.

    Notes
    -----
    Groups of fewer than 20 rows or 5 units have scores and nothing else. Errors are tested against those of all other
    rows of the grouping by Fisher's exact test or by permutations of the rows; where a split keeps units whole, by
    permutations of the units. Holm corrects for all tests together. Two groups that hold all rows are one test.
    """
    answers = answers.plain()
    resamples = Resamples.of(len(answers.facts), answers.units)
    shown = [_largest(each) for each in members]
    compared = [_compared(each, which, resamples.units) for each, which in zip(members, shown, strict=True)]
    tested = [_tested(each, among) for each, among in zip(members, compared, strict=True)]
    p = [_p(answers, each, which) for each, which in zip(members, tested, strict=True)]
    corrected = iter(holm([one for some in p for one in some]))
    found = []
    for each, which, among, tests in zip(members, shown, compared, tested, strict=True):
        by_test = {group: next(corrected) for group in tests}
        by_group = {group: by_test.get(group, by_test[tests[0]]) for group in among}
        found.append(_grouping(answers, each, which, by_group, resamples))
    return found


def _largest(each: GroupMembership) -> list[int]:
    """Return the groups that are shown, in their order."""
    sizes = np.bincount(each.codes[each.known], minlength=len(each.groups))
    return sorted(np.argsort(-sizes, kind="stable")[: min(MOST_GROUPS, int((sizes > 0).sum()))].tolist())


def _compared(each: GroupMembership, which: Sequence[int], units: NDArray[np.intp]) -> list[int]:
    """Return the groups of which there are rows and units enough, inside and outside of them."""
    return [
        group
        for group in which
        if all(
            rows.sum() >= FEWEST and len(np.unique(units[rows])) >= MIN_UNITS
            for rows in (each.of(group), each.known & ~each.of(group))
        )
    ]


def _tested(each: GroupMembership, compared: list[int]) -> list[int]:
    """Return the groups whose tests differ: each of two groups that hold all rows is apart from the other one only."""
    is_pair = len(compared) == 2 and np.isin(each.codes[each.known], compared).all()
    return compared[:1] if is_pair else compared


def _p(answers: GroupPredictions, each: GroupMembership, which: Sequence[int]) -> list[float]:
    """Return for each group the p of errors like those of the other rows with a value."""
    known = each.known
    wrong = errors(answers.facts, answers.outputs)
    units = None if answers.units is None else answers.unit_codes[known]
    return apart_by_chance(wrong[known], [each.of(group)[known] for group in which], units)


def _grouping(
    answers: GroupPredictions,
    each: GroupMembership,
    which: Sequence[int],
    p_holm: dict[int, float],
    resamples: Resamples,
) -> Grouping:
    facts, name = answers.facts, answers.score
    wrong = errors(facts, answers.outputs)
    mean_wrong = wrong[each.known].mean() if each.known.any() else math.nan
    groups = []
    for group in which:
        rows = each.of(group)
        scorer = Scorer(facts.take(np.flatnonzero(rows)), answers.outputs[rows])
        corrected = p_holm.get(group)
        groups.append(
            Group(
                each.groups[group],
                int(rows.sum()),
                scorer.plain(),
                corrected is not None,
                None if answers.units is None else len(np.unique(answers.unit_codes[rows])),
                _intervals(scorer, resamples.within(rows)) if corrected is not None else {},
                corrected,
                corrected is not None and corrected < SIGNIFICANT and bool(wrong[rows].mean() > mean_wrong),
                float((guessed(facts, answers.outputs)[rows] == 1).mean()) if answers.is_binary else None,
            )
        )
    known = np.flatnonzero(each.known)
    overall = Scorer(facts.take(known), answers.outputs[known], [name]).plain()[name] if len(known) else math.nan
    n_missing, n_hidden = len(facts) - len(known), len(each.groups) - len(which)
    found = Grouping(each.name, groups, name, overall, each.ordered, n_missing, n_hidden)
    found = _with_bias(found, each, wrong)
    return _with_thresholds(found, answers, each, which) if answers.is_binary and answers.may_choose else found


def _intervals(scorer: Scorer, resamples: Resamples) -> dict[str, Sequence[float]]:
    (draws,) = drawn_scores([Scorer(scorer.facts, scorer.outputs, drawable(scorer.facts))], resamples)
    return {name: list(edges) for name, edges in intervals(scorer, draws, resamples).items()}


def _spread(values: Floats, overall: float) -> tuple[float, float]:
    """Return the largest difference of some groups' scores, and their mean absolute deviation from the overall one."""
    return float(np.ptp(values)), float(np.abs(values - overall).mean())


def biases(answers: GroupPredictions, members: Sequence[GroupMembership]) -> dict[str, tuple[float, float]]:
    """Return the largest difference and the mean deviation of each grouping with two groups to compare."""
    wrong = errors(answers.facts, answers.outputs)
    found = {}
    for each in members:
        compared = _compared(each, _largest(each), answers.unit_codes)
        if len(compared) > 1:
            values = np.array([wrong[each.of(group)].mean() for group in compared])
            found[each.name] = _spread(values, float(wrong[each.known].mean()))
    return found


def _with_bias(found: Grouping, each: GroupMembership, wrong: Floats) -> Grouping:
    """Add how far the compared groups lie apart."""
    compared = [group for group in found.groups if group.is_compared]
    if len(compared) < 2:
        return found
    values = np.array([group.scores[found.score] for group in compared])
    largest, deviation = _spread(values, found.overall)
    shares = [group.answered for group in compared if group.answered is not None]
    known = each.known
    spread = each.codes[known].var()
    step = float(np.cov(each.codes[known], wrong[known], ddof=0)[0, 1] / spread) if found.ordered and spread else None
    return replace(
        found,
        largest_difference=largest,
        ratio=float(values.min() / values.max()) if values.max() else None,
        mean_deviation=deviation,
        step=step,
        parity_difference=float(np.ptp(shares)) if shares else None,
    )


def _with_thresholds(
    found: Grouping, answers: GroupPredictions, each: GroupMembership, which: Sequence[int]
) -> Grouping:
    """Add what thresholds of their own would change."""
    thresholds, is_right = own_thresholds(each.codes, answers.facts.y, answers.outputs[:, 1], FEWEST)
    groups = [
        replace(group, threshold=float(thresholds[code]), score_by_threshold=float(is_right[each.of(code)].mean()))
        if group.is_compared
        else group
        for code, group in zip(which, found.groups, strict=True)
    ]
    values = [group.score_by_threshold for group in groups if group.score_by_threshold is not None]
    return replace(
        found, groups=groups, largest_difference_by_thresholds=float(np.ptp(values)) if len(values) > 1 else None
    )


def bias_text(found: Grouping) -> str:
    """Say in a line how far the groups of a grouping lie apart, and which groups are too small to be compared."""
    return "; ".join(filter(None, [_difference_text(found), _too_few_text(found)]))


def _difference_text(found: Grouping) -> str:
    if found.largest_difference is None or found.mean_deviation is None:
        has_units = any(group.n_units is not None for group in found.groups)
        units = f" and {MIN_UNITS} units" if has_units else ""
        return f"{found.name}: no two groups of {FEWEST} rows{units} or more to compare"
    what = "mean absolute errors" if is_better_less(found.score) else "accuracies"
    apart = [group for group in found.groups if group.p_holm is not None and group.p_holm < SIGNIFICANT]
    worse = [group.name for group in apart if group.is_flagged]
    better = [group.name for group in apart if not group.is_flagged]
    both = (("worse", worse), ("better", better))
    differing = [f"{how} than for the others, beyond chance: {', '.join(names)}" for how, names in both if names]
    by = f"{found.largest_difference:.4f}, {found.mean_deviation:.4f} from the overall {found.overall:.4f} on average"
    return f"{found.name}: {what} lie apart by up to {by}; {'; '.join(differing) or 'no more than chance'}"


def size_text(group: Group) -> str:
    """Return the number of rows of a group, and of its units where rows come in units."""
    return f"{group.n} rows" if group.n_units is None else f"{group.n} rows of {group.n_units} units"


def _too_few_text(found: Grouping) -> str:
    """Name the groups that have rows enough, but too few units; small groups are many, and the table has them."""
    few = [group for group in found.groups if not group.is_compared and group.n_units is not None and group.n >= FEWEST]
    listed = ", ".join(f"{group.name} ({size_text(group)})" for group in few)
    return f"too few units to compare, expected {MIN_UNITS} or more inside and outside: {listed}" if few else ""
