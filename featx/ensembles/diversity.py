"""Diversity of ensemble members: how often they are right or wrong on different rows.

References
----------
.. [1] L. I. Kuncheva, C. J. Whitaker, Measures of diversity in classifier ensembles, Machine Learning 2003.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from featx.ensembles.combiners import MemberOutputs
from featx.metrics.score_kinds import Outputs
from featx.study.ensemble_metrics import Diversity, MemberPair, PairAgreement
from featx.tables.ids import Floats
from featx.tables.target_values import TargetValues

Correct = NDArray[np.bool_]


def diversity(names: Sequence[str], members: MemberOutputs, targets: TargetValues) -> Diversity:
    """Return the diversity of the members, whose names are given; all rows weigh the same."""
    indices = combinations(range(len(members)), 2)
    if targets.kind == "numbers":
        errors = members.outputs - targets.y
        pairs = [_number_pair(names[i], names[j], errors[i], errors[j], targets.names) for i, j in indices]
        return Diversity(oracle=float(np.abs(errors).min(axis=0).mean()), pairs=tuple(pairs))
    correct = np.stack(
        [targets.decided_by(members.rule(i)).are_right(outputs) for i, outputs in enumerate(members.outputs)]
    )
    parts = dict(_parts(correct, targets))
    pairs = [
        MemberPair(
            one=names[i],
            other=names[j],
            all=pair_agreement(correct[i], correct[j]),
            each={name: pair_agreement(part[i], part[j]) for name, part in parts.items()},
        )
        for i, j in indices
    ]
    return Diversity(oracle=float(correct.any(axis=0).mean()), pairs=tuple(pairs))


def _parts(correct: Correct, targets: TargetValues) -> Iterator[tuple[str, Correct]]:
    """Yield each class that occurs with the columns of its rows, or each label with its own columns."""
    for code, name in enumerate(targets.names):
        if targets.kind == "labels":
            yield name, correct[:, :, code]
        elif (is_of_class := targets.y == code).any():
            yield name, correct[:, is_of_class]


def pair_agreement(first: Correct, second: Correct) -> PairAgreement:
    """Return the agreement of two members from which predictions each gets right.

    Examples
    --------
    >>> agreement = pair_agreement(np.array([True, True, False, False]), np.array([True, False, True, False]))
    >>> agreement.disagreement, agreement.q, agreement.double_fault, agreement.error_correlation
    (0.5, 0.0, 0.25, 0.0)
    """
    both_right, both_wrong = float((first & second).mean()), float((~first & ~second).mean())
    only_first, only_second = float((first & ~second).mean()), float((~first & second).mean())
    spread = np.sqrt(
        (both_right + only_first) * (only_second + both_wrong) * (both_right + only_second) * (only_first + both_wrong)
    )
    product, cross_product = both_right * both_wrong, only_first * only_second
    return PairAgreement(
        disagreement=only_first + only_second,
        q=_ratio(product - cross_product, product + cross_product),
        double_fault=both_wrong,
        error_correlation=_ratio(product - cross_product, float(spread)),
        shared_errors=_ratio(both_wrong, only_first + only_second + both_wrong),
    )


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None


def _number_pair(
    first_name: str, second_name: str, first_errors: Outputs, second_errors: Outputs, names: Sequence[str]
) -> MemberPair:
    columns = [_error_agreement(a, b) for a, b in zip(first_errors.T, second_errors.T, strict=True)]
    correlations = [column.error_correlation for column in columns if column.error_correlation is not None]
    distance = float(np.mean([column.disagreement for column in columns]))
    mean_correlation = float(np.mean(correlations)) if correlations else None
    overall = _number_agreement(distance, mean_correlation)
    return MemberPair(one=first_name, other=second_name, all=overall, each=dict(zip(names, columns, strict=True)))


def _error_agreement(first: Floats, second: Floats) -> PairAgreement:
    have_spread = np.ptp(first) > 0 and np.ptp(second) > 0
    correlation = float(np.corrcoef(first, second)[0, 1]) if have_spread else None
    return _number_agreement(float(np.abs(first - second).mean()), correlation)


def _number_agreement(distance: float, correlation: float | None) -> PairAgreement:
    return PairAgreement(
        disagreement=distance, q=None, double_fault=None, error_correlation=correlation, shared_errors=None
    )
