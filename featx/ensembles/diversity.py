"""How members differ: what a vote can gain from.

References
----------
.. [1] L. I. Kuncheva, C. J. Whitaker, Measures of diversity in classifier ensembles, Machine Learning 2003.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from featx.ensembles.combiners import MemberOutputs, Outputs
from featx.metrics.row_scores import decided, guessed
from featx.tables.target_values import TargetValues

Right = NDArray[np.bool_]


@dataclass(frozen=True)
class PairAgreement:
    """How alike two members are in what they get right and wrong [1]_; None where it is 0/0, or of numbers.

    Attributes
    ----------
    disagreement
        Share of answers that exactly one of them gets right; of numbers how far they lie apart, on average.
    q
        Yule's Q of right and wrong, in [-1, 1]: 0 for independent members, 1 for such as are wrong together.
    double_fault
        Share of answers that both get wrong.
    error_correlation
        Of being wrong, in [-1, 1]; of numbers, of the errors.
    shared_errors
        Of the answers that either gets wrong, the share that both do.
    """

    disagreement: float | None
    q: float | None
    double_fault: float | None
    error_correlation: float | None
    shared_errors: float | None


@dataclass(frozen=True)
class MemberPair:
    """Two members and how alike they are, in all and on the rows of each class, or for each label or number."""

    one: str
    other: str
    all: PairAgreement
    each: dict[str, PairAgreement]


@dataclass(frozen=True)
class Diversity:
    """What there is among the members.

    Attributes
    ----------
    oracle
        Share of answers that at least one member gets right; of numbers the mean error of the nearest member.
    pairs
        Each two members.
    """

    oracle: float
    pairs: list[MemberPair]


def diversity(names: Sequence[str], ballots: MemberOutputs, facts: TargetValues) -> Diversity:
    """Compare the members with one another; all rows count alike."""
    pairs = combinations(range(len(ballots)), 2)
    if facts.kind == "numbers":
        errors = ballots.outputs - facts.y
        found = [_of_numbers(names[i], names[j], errors[i], errors[j], facts.names) for i, j in pairs]
        return Diversity(float(np.abs(errors).min(axis=0).mean()), found)
    rules = [facts.decided_by(ballots.rule(member)) for member in range(len(ballots))]
    right = np.stack([are_right(of_member, said) for of_member, said in zip(rules, ballots.outputs, strict=True)])
    parts = dict(_parts(right, facts))
    found = [
        MemberPair(
            names[i], names[j], likeness(right[i], right[j]), {k: likeness(v[i], v[j]) for k, v in parts.items()}
        )
        for i, j in pairs
    ]
    return Diversity(float(right.any(axis=0).mean()), found)


def are_right(facts: TargetValues, outputs: Outputs) -> Right:
    """Return which decisions are right, (n,) of classes, (n, t) of labels; of soft labels by the likeliest class."""
    if facts.kind == "classes":
        return np.asarray(guessed(facts, outputs) == facts.y)
    return np.asarray(decided(outputs) == facts.y)


def _parts(right: Right, facts: TargetValues) -> Iterator[tuple[str, Right]]:
    """Yield the members' answers to the rows of each class that occurs, or for each label."""
    for code, name in enumerate(facts.names):
        if facts.kind == "labels":
            yield name, right[:, :, code]
        elif (of_class := facts.y == code).any():
            yield name, right[:, of_class]


def likeness(one: Right, other: Right) -> PairAgreement:
    """Compare two members by what they get right.

    Examples
    --------
    >>> found = likeness(np.array([True, True, False, False]), np.array([True, False, True, False]))
    >>> found.disagreement, found.q, found.double_fault, found.error_correlation
    (0.5, 0.0, 0.25, 0.0)
    """
    both, neither = float((one & other).mean()), float((~one & ~other).mean())
    first, second = float((one & ~other).mean()), float((~one & other).mean())
    spread = np.sqrt((both + first) * (second + neither) * (both + second) * (first + neither))
    product, crossed = both * neither, first * second
    return PairAgreement(
        disagreement=first + second,
        q=_ratio(product - crossed, product + crossed),
        double_fault=neither,
        error_correlation=_ratio(product - crossed, float(spread)),
        shared_errors=_ratio(neither, first + second + neither),
    )


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def _of_numbers(one: str, other: str, first: Outputs, second: Outputs, names: Sequence[str]) -> MemberPair:
    columns = [_of_errors(a, b) for a, b in zip(first.T, second.T, strict=True)]
    known = [found.error_correlation for found in columns if found.error_correlation is not None]
    apart = float(np.mean([found.disagreement for found in columns]))
    whole = PairAgreement(apart, None, None, float(np.mean(known)) if known else None, None)
    return MemberPair(one, other, whole, dict(zip(names, columns, strict=True)))


def _of_errors(first: NDArray[np.float64], second: NDArray[np.float64]) -> PairAgreement:
    varied = np.ptp(first) > 0 and np.ptp(second) > 0
    alike = float(np.corrcoef(first, second)[0, 1]) if varied else None
    return PairAgreement(float(np.abs(first - second).mean()), None, None, alike, None)
