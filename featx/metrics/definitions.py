"""Every score, defined once: sums over rows, and what the sums come to.

A score is a `Summed`, a function of a few columns' sums over the rows, or a `Ranked`, a function of the rows in the
order of what was said. Both take a weight for each row and any number of weightings at a time: ones give the plain
score, a confidence the weighted one, the counts of a bootstrap draw that draw's, and membership a group's.

Scores of decisions use the rule that `TargetValues.decision` holds; scores of probabilities do not. Where labels are
soft, a row counts for each class by the share that it has in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import xlogy

from featx.metrics.reliability import binned, binned_by_class, expected_error, shares_of, squared_distances
from featx.tables.decision_rule import decided_codes
from featx.tables.ids import Kind
from featx.tables.target_values import TargetValues

Floats = NDArray[np.float64]
Outputs = NDArray[np.float64]  # (n, k) probabilities of classes, (n, t) of labels, or (n, t) numbers
Columns = Any  # (n, c) array, or a sparse one where most of it is 0
LEAST_PROBABILITY = 1e-15
FEWEST_DECIDED = 0.5  # the probability from which an image is said to have a label
LEAST_SPREAD = 1e-13  # of the mean square: less is rounding


@dataclass(frozen=True)
class Summed:
    """A score that is a function of sums over rows.

    Attributes
    ----------
    rows
        (facts, outputs) → (n, c); scores with the same function share its sums.
    finish
        (c, m) sums under m weightings, and the (m,) weights of all rows → (m,).
    """

    rows: Callable[[TargetValues, Outputs], Columns]
    finish: Callable[[Floats, Floats], Floats]


@dataclass(frozen=True)
class Ranked:
    """A score that is a mean over classes or labels of an area; one in which the area means nothing is left out.

    Attributes
    ----------
    area
        (g, m) weights of the rows that have it and of those that have not, from the lowest output to the highest,
        equal outputs together → (m,), nan where it means nothing.
    joins
        Whether neighbours of which all have it may stand together too, as those of which none has may: an area that
        asks only how many of the others lie below.
    """

    area: Callable[[Floats, Floats], Floats]
    joins: bool


Score = Summed | Ranked


def ratio(above: Floats, below: Floats, otherwise: float = np.nan) -> Floats:
    """Divide; `otherwise` where there is nothing to divide by."""
    above, below = np.broadcast_arrays(above, below)
    return np.asarray(np.divide(above, below, out=np.full(below.shape, otherwise), where=below != 0))


# Means over rows


def _column(of: Callable[[TargetValues, Outputs], Floats]) -> Callable[[TargetValues, Outputs], Columns]:
    """Return (n, 1) rows whose mean `_mean` takes."""
    return lambda facts, outputs: of(facts, outputs)[:, None]


def _mean(sums: Floats, total: Floats) -> Floats:
    return ratio(sums[0], total)


def right(facts: TargetValues, outputs: Outputs) -> Floats:
    """(n,) 1 where a decision is right, 0 where it is wrong; of labels, the share of them that is.

    Where labels are soft, the share of the class decided for.
    """
    if facts.kind == "classes":
        return shares_of(facts, guessed(facts, outputs))
    return np.asarray((decided(outputs) == facts.y).mean(1))


def guessed(facts: TargetValues, outputs: Outputs) -> NDArray[np.int64]:
    """Return (n,) the class that each row is decided for."""
    return decided_codes(outputs, facts.decision)


def decided(outputs: Outputs) -> NDArray[np.int64]:
    """Return the labels whose probability is a half or more, (n, t) in {0, 1}."""
    return (outputs >= FEWEST_DECIDED).astype(np.int64)


def _all_right(facts: TargetValues, outputs: Outputs) -> Floats:
    return np.asarray((decided(outputs) == facts.y).all(1), dtype=np.float64)


def log_losses(facts: TargetValues, outputs: Outputs) -> Floats:
    """(n,) -log of the probability given to the truth, in nats; probabilities are clipped at 1e-15.

    Soft labels count each class by its share. Of labels, the mean over them.
    """
    given = np.clip(outputs, LEAST_PROBABILITY, 1.0)
    if facts.kind == "labels":
        not_given = np.clip(1 - outputs, LEAST_PROBABILITY, 1.0)
        return np.asarray(-(xlogy(facts.y, given) + xlogy(1 - facts.y, not_given)).mean(1))
    if facts.shares is not None:
        return np.asarray(-xlogy(facts.shares, given).sum(1))
    return np.asarray(-np.log(given[np.arange(len(facts)), facts.y]))


def _steps(facts: TargetValues, outputs: Outputs) -> Floats:
    return np.asarray(np.abs(guessed(facts, outputs) - facts.y), dtype=np.float64)


def _bins(facts: TargetValues, outputs: Outputs) -> Columns:
    """(n, bins) probability minus share that came true in each bin, a row's answers counting 1 in all."""
    return _in_bins(facts, *binned(facts, outputs))


def _bins_by_class(facts: TargetValues, outputs: Outputs) -> Columns:
    """(n, k bins) the same, each class or label in bins of its own, so that their errors cannot cancel."""
    return _in_bins(facts, *binned_by_class(facts, outputs))


def _in_bins(facts: TargetValues, at: NDArray[np.intp], apart: Floats) -> Columns:
    rows = np.repeat(np.arange(len(facts)), at.shape[1])
    shape = (len(facts), int(at.max(initial=0)) + 1)
    return sparse.csr_array((apart.ravel() / at.shape[1], (rows, at.ravel())), shape=shape)


def _ece(sums: Floats, total: Floats) -> Floats:
    return expected_error(sums, total)


# Counts of classes and labels


def _tallies(facts: TargetValues, outputs: Outputs) -> Columns:
    """(n, 3 k) which class or labels are true, which are guessed, and which both."""
    n, k = len(facts), facts.n_outputs
    if facts.kind == "labels":
        had = decided(outputs)
        return sparse.csr_array(np.concatenate([facts.y, had, facts.y * had], axis=1).astype(np.float64))
    codes = guessed(facts, outputs)
    if facts.shares is not None:
        decisions = np.eye(k)[codes]
        return sparse.csr_array(np.concatenate([facts.shares, decisions, facts.shares * decisions], axis=1))
    hits = np.flatnonzero(codes == facts.y)
    rows = np.concatenate([np.arange(n), np.arange(n), hits])
    at = np.concatenate([facts.y, codes + k, facts.y[hits] + 2 * k])
    return sparse.csr_array((np.ones(len(rows)), (rows, at)), shape=(n, 3 * k))


def _counts(sums: Floats) -> Floats:
    """(3, k, m) true, guessed, both."""
    return sums.reshape(3, -1, sums.shape[-1])


def _precisions(true: Floats, guessed: Floats, both: Floats) -> Floats:
    return ratio(both, guessed, 0.0)


def _recalls(true: Floats, guessed: Floats, both: Floats) -> Floats:
    return ratio(both, true, 0.0)


def _f1s(true: Floats, guessed: Floats, both: Floats) -> Floats:
    return ratio(2 * both, true + guessed, 0.0)


EACH = {"precision": _precisions, "recall": _recalls, "f1": _f1s}


def _averaged(each: Callable[[Floats, Floats, Floats], Floats], *, by_size: bool) -> Callable[[Floats, Floats], Floats]:
    def finish(sums: Floats, _: Floats) -> Floats:
        true, guessed, both = _counts(sums)
        values = each(true, guessed, both)
        return ratio((true * values).sum(0), true.sum(0)) if by_size else np.asarray(values.mean(0))

    return finish


def _balanced(sums: Floats, _: Floats) -> Floats:
    true, _, both = _counts(sums)
    return ratio(ratio(both, true, 0.0).sum(0), (true > 0).sum(0).astype(np.float64))


def _kappa(sums: Floats, n: Floats) -> Floats:
    """Cohen's kappa; 0 where truth and guesses are one and the same single class (0/0 in the formula)."""
    true, guessed, both = _counts(sums)
    by_chance = (true * guessed).sum(0)
    return np.where(n > 0, ratio(n * both.sum(0) - by_chance, n * n - by_chance, 0.0), np.nan)


def _mcc(sums: Floats, n: Floats) -> Floats:
    """Matthews' correlation of truth and guesses over all classes; 0 where either is a single class."""
    true, guessed, both = _counts(sums)
    common = n * both.sum(0) - (true * guessed).sum(0)
    spreads = (n * n - (true * true).sum(0)) * (n * n - (guessed * guessed).sum(0))
    return np.where(n > 0, ratio(common, np.sqrt(np.maximum(spreads, 0)), 0.0), np.nan)


def _squared_steps(facts: TargetValues, outputs: Outputs) -> Columns:
    """(n, 5) code, its square, guess, its square, and the square of their distance."""
    true, found = facts.y.astype(np.float64), guessed(facts, outputs).astype(np.float64)
    columns = [true, true**2, found, found**2, (true - found) ** 2]
    return np.stack(columns, axis=1)


def _quadratic_kappa(sums: Floats, n: Floats) -> Floats:
    true, true2, guessed, guessed2, apart = sums
    by_chance = n * true2 - 2 * true * guessed + n * guessed2
    return np.where(n > 0, ratio(by_chance - n * apart, by_chance, 0.0), np.nan)


# Numbers


def _moments(facts: TargetValues, outputs: Outputs) -> Columns:
    """(n, 9 t) of each number: error, its size, its square; true, its square, found, its square, product; sign.

    True and found are told from one of their values, so that squares lose no digits and constants are exactly 0.
    """
    error = outputs - facts.y
    true, found = (of - _middle(of) for of in (facts.y, outputs))
    agree = (np.sign(outputs) == np.sign(facts.y)).astype(np.float64)
    columns = [error, np.abs(error), error**2, true, true**2, found, found**2, true * found, agree]
    return np.concatenate(columns, axis=1)


def _middle(values: Floats) -> Floats:
    """(t,) the value of each column that lies closest to its mean."""
    at = np.abs(values - values.mean(0)).argmin(0)
    return np.asarray(values[at, np.arange(values.shape[1])])


def _of_moments(of: Callable[[Floats], Floats]) -> Callable[[Floats, Floats], Floats]:
    """Return the mean over the numbers of what `of` makes of their (9, t, m) mean moments."""

    def finish(sums: Floats, total: Floats) -> Floats:
        moments = sums.reshape(9, -1, sums.shape[-1])
        return np.asarray(of(ratio(moments, total)).mean(0))

    return finish


def _variance(mean: Floats, square: Floats) -> Floats:
    found = square - mean * mean
    return np.where(found > LEAST_SPREAD * square, found, 0.0)


def _mae(mean: Floats) -> Floats:
    return np.asarray(mean[1])


def _rmse(mean: Floats) -> Floats:
    return np.asarray(np.sqrt(mean[2]))


def _r2(mean: Floats) -> Floats:
    return 1 - ratio(mean[2], _variance(mean[3], mean[4]))


def _pearson(mean: Floats) -> Floats:
    spread = _variance(mean[3], mean[4]) * _variance(mean[5], mean[6])
    return ratio(mean[7] - mean[3] * mean[5], np.sqrt(spread))


def _ccc(mean: Floats) -> Floats:
    below = _variance(mean[3], mean[4]) + _variance(mean[5], mean[6]) + mean[0] ** 2
    return ratio(2 * (mean[7] - mean[3] * mean[5]), below)


def _sagr(mean: Floats) -> Floats:
    return np.asarray(mean[8])


def _shares_of_truth(facts: TargetValues, outputs: Outputs) -> Floats:
    return np.asarray((np.abs(outputs - facts.y) / np.abs(facts.y)).mean(1))


# Areas


def _roc_area(inside: Floats, outside: Floats) -> Floats:
    """Share of pairs, one of each side, that stand in the right order; equals count half."""
    below = np.cumsum(outside, axis=0)
    total = below[-1].copy()
    below -= outside / 2
    return ratio(np.einsum("gm,gm->m", inside, below), inside.sum(0) * total)


def _precision_area(inside: Floats, outside: Floats) -> Floats:
    """Area under precision over recall, step by step from the highest output."""
    found = np.cumsum(inside[::-1], axis=0)
    precision = ratio(found, found + np.cumsum(outside[::-1], axis=0), 0.0)
    return ratio(np.einsum("gm,gm->m", inside[::-1], precision), found[-1])


@dataclass(frozen=True)
class Order:
    """The rows by what was said of one class or label.

    Attributes
    ----------
    inside, outside
        (g, n) by how much a row of each side stands at the g-th place.
    """

    inside: Any
    outside: Any

    @classmethod
    def of(cls, side: Floats, rank: NDArray[np.intp], *, joins: bool) -> "Order":
        """Sort the rows; neighbours that need no places of their own share one.

        Parameters
        ----------
        side, rank
            (n,) by what share a row has it, and which different output it got, the lowest 0.
        joins
            As of `Ranked`.
        """
        both = (side, 1 - side)
        n_inside, n_outside = (np.bincount(rank, weights=one, minlength=int(rank.max()) + 1) for one in both)
        alone = np.ones(len(n_inside), dtype=bool)
        alone[1:] = (n_inside[1:] > 0) | (n_inside[:-1] > 0)
        if joins:
            alone[1:] &= (n_outside[1:] > 0) | (n_outside[:-1] > 0)
        place = np.cumsum(alone) - 1
        shape = (int(place[-1]) + 1, len(rank))
        rows = [np.flatnonzero(one) for one in both]
        return cls(
            *(
                sparse.csr_array((one[at], (place[rank[at]], at)), shape=shape)
                for one, at in zip(both, rows, strict=True)
            )
        )


def _orders(facts: TargetValues, outputs: Outputs, *, joins: bool) -> list[Order]:
    """Return the order of the rows for each class against the rest, or each label.

    Of two classes whose orders are each other's mirror one is enough: the areas are equal.
    """
    if not len(facts):
        return []
    if facts.kind == "labels":
        sides = [column.astype(np.float64) for column in facts.columns]
    else:
        sides = [shares_of(facts, np.full(len(facts), code)) for code in range(facts.n_outputs)]
    ranks = [np.unique(column, return_inverse=True)[1] for column in outputs.T]
    if facts.kind == "classes" and len(ranks) == 2 and np.array_equal(ranks[0].max() - ranks[0], ranks[1]):
        sides, ranks = sides[1:], ranks[1:]
    return [Order.of(side, rank, joins=joins) for side, rank in zip(sides, ranks, strict=True)]


def _mean_of_areas(areas: Sequence[Floats]) -> Floats:
    stacked = np.stack(areas)
    has = np.isfinite(stacked)
    return ratio(np.where(has, stacked, 0.0).sum(0), has.sum(0).astype(np.float64))


ACCURACY = Summed(_column(right), _mean)
LOG_LOSS = Summed(_column(log_losses), _mean)
BRIER = Summed(_column(squared_distances), _mean)
ECE = Summed(_bins, _ece)
CLASSWISE_ECE = Summed(_bins_by_class, _ece)
MACRO_F1 = Summed(_tallies, _averaged(_f1s, by_size=False))
SCORES: dict[Kind, dict[str, Score]] = {
    "classes": {
        "accuracy": ACCURACY,
        "balanced_accuracy": Summed(_tallies, _balanced),
        **{
            f"{average}_{name}": Summed(_tallies, _averaged(of, by_size=average == "weighted"))
            for average in ("macro", "weighted")
            for name, of in EACH.items()
        },
        "kappa": Summed(_tallies, _kappa),
        "mcc": Summed(_tallies, _mcc),
        "auc_ovr": Ranked(_roc_area, joins=True),
        "log_loss": LOG_LOSS,
        "brier": BRIER,
        "ece": ECE,
        "classwise_ece": CLASSWISE_ECE,
        "quadratic_kappa": Summed(_squared_steps, _quadratic_kappa),
        "mae_steps": Summed(_column(_steps), _mean),
    },
    "labels": {
        "accuracy": ACCURACY,
        "exact_match": Summed(_column(_all_right), _mean),
        "macro_f1": MACRO_F1,
        "average_precision": Ranked(_precision_area, joins=False),
        "auc": Ranked(_roc_area, joins=True),
        "log_loss": LOG_LOSS,
        "brier": BRIER,
        "ece": ECE,
        "classwise_ece": CLASSWISE_ECE,
    },
    "numbers": {
        **{
            name: Summed(_moments, _of_moments(of))
            for name, of in {
                "mae": _mae,
                "rmse": _rmse,
                "r2": _r2,
                "pearson": _pearson,
                "ccc": _ccc,
                "sagr": _sagr,
            }.items()
        },
        "mape": Summed(_column(_shares_of_truth), _mean),
    },
}
OF_ORDERED = {"quadratic_kappa", "mae_steps"}
LESS_IS_BETTER = {"log_loss", "brier", "ece", "classwise_ece", "mae_steps", "mae", "rmse", "mape"}


def is_better_less(name: str) -> bool:
    """Whether a smaller value of a score is the better one."""
    return name in LESS_IS_BETTER or name.startswith("mae.")


def _error_of(at: int, facts: TargetValues, outputs: Outputs) -> Floats:
    return np.asarray(np.abs(outputs[:, at] - facts.y[:, at]))


def scores_of(facts: TargetValues) -> dict[str, Score]:
    """Return the scores that mean something for these rows."""
    found = dict(SCORES[facts.kind])
    if facts.kind == "classes" and not facts.ordered:
        found = {name: of for name, of in found.items() if name not in OF_ORDERED}
    if facts.kind == "classes" and facts.n_outputs == 2:
        del found["classwise_ece"]  # equal to the expected calibration error of the second class
    if facts.kind == "numbers":
        if (facts.y == 0).any():
            del found["mape"]
        if facts.n_outputs > 1:
            each = {f"mae.{name}": partial(_error_of, at) for at, name in enumerate(facts.names)}
            found |= {name: Summed(_column(of), _mean) for name, of in each.items()}
    return found


class Scorer:
    """One model's answers to n rows, ready to be scored under any weights of the rows.

    Parameters
    ----------
    names
        Of the scores; all that mean something by default.
    """

    def __init__(self, facts: TargetValues, outputs: Outputs, names: Sequence[str] | None = None) -> None:
        known = SCORES[facts.kind] | scores_of(facts)
        every = scores_of(facts) if names is None else {name: known[name] for name in names}
        self.facts, self.outputs, self._scores = facts, outputs, every
        blocks = {of.rows: sparse.csr_array(of.rows(facts, outputs)) for of in every.values() if isinstance(of, Summed)}
        edges = np.cumsum([0, *(block.shape[1] for block in blocks.values())])
        self._at = {rows: slice(*edges[i : i + 2]) for i, rows in enumerate(blocks)}
        self._columns = sparse.hstack(list(blocks.values()), format="csr").T if blocks else None
        self._orders = {
            name: _orders(facts, outputs, joins=of.joins) for name, of in every.items() if isinstance(of, Ranked)
        }

    def __len__(self) -> int:
        return len(self.facts)

    @property
    def names(self) -> list[str]:
        """Of the scores."""
        return list(self._scores)

    def at(self, weights: Floats) -> dict[str, Floats]:
        """Return each score under m weightings.

        Parameters
        ----------
        weights
            (n, m).

        Returns
        -------
        dict
            name → (m,); nan where a score means nothing.
        """
        sums = None if self._columns is None else self._columns @ weights
        total = weights.sum(0)
        found = {}
        for name, of in self._scores.items():
            if isinstance(of, Summed):
                assert sums is not None
                found[name] = of.finish(sums[self._at[of.rows]], total)
            else:  # one order at a time: each is as large as the weights
                orders = self._orders[name]
                found[name] = _mean_of_areas([of.area(one.inside @ weights, one.outside @ weights) for one in orders])
        return found

    def plain(self, weights: Floats | None = None) -> dict[str, float]:
        """Return each score once, all rows counting the same, or by (n,) weights."""
        weights = np.ones(len(self)) if weights is None else weights
        return {name: float(values[0]) for name, values in self.at(weights[:, None]).items()}


def per_output(facts: TargetValues, outputs: Outputs) -> list[dict[str, Any]]:
    """Precision, recall, F1 and number of rows of each class or label, in their order.

    Where labels are soft, the number of rows of a class is the sum of its shares, to 3 decimals.
    """
    counts = _counts(_tallies(facts, outputs).T @ np.ones((len(facts), 1)))[..., 0]
    columns = [of(*counts).tolist() for of in EACH.values()]
    n_rows = counts[0].astype(int) if facts.shares is None else counts[0].round(3)
    return [
        {"class": name, **dict(zip(EACH, values, strict=True)), "n": n}
        for name, *values, n in zip(facts.names, *columns, n_rows.tolist(), strict=True)
    ]
