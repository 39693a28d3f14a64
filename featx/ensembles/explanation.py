"""Explanation of an ensemble in one paragraph: counts against its best member, and the members' diversity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from featx.metrics.score_kinds import Outputs
from featx.metrics.score_texts import ScoreFormat
from featx.study.ensemble_metrics import Disagreements, Diversity, MemberPair
from featx.tables.ids import Floats, Kind
from featx.tables.target_values import TargetValues
from featx.text.four_digits import four_digits

MAX_SIGNIFICANT_P = 0.05
# Sums up to this share of their summands' absolute values are due to rounding.
MAX_ROUNDING_ERROR = 1e-9


def count_disagreements(
    member: str,
    ensemble: tuple[TargetValues, Outputs],
    best_member: tuple[TargetValues, Outputs],
    groups: NDArray[Any] | None = None,
) -> Disagreements:
    """Return the disagreements of an ensemble with its best member.

    Parameters
    ----------
    member
        Name of the best member.
    ensemble, best_member
        True values with the decision rule of each, and (n, k) outputs of each.
    groups
        (n,) groups that the split keeps whole, each of which is a unit of the sign test; by default each row is one.

    Notes
    -----
    The labels or numbers of one image depend on each other, as do the images of one group, so that the sign test counts
    units: those with more weight of predictions that only one of the two gets right.
    """
    (targets, outputs), (member_targets, member_outputs) = ensemble, best_member
    if targets.kind == "numbers":
        errors, member_errors = np.abs(outputs - targets.y), np.abs(member_outputs - targets.y)
        ensemble_right, member_right = errors < member_errors, member_errors < errors
        is_different = ensemble_right | member_right
    else:
        is_different = targets.decisions(outputs) != member_targets.decisions(member_outputs)
        ensemble_right = is_different & targets.are_right(outputs)
        member_right = is_different & member_targets.are_right(member_outputs)
    n_won, n_lost = int(ensemble_right.sum()), int(member_right.sum())
    signs = _signs_of_units(ensemble_right.astype(np.int64) - member_right, targets.row_weights, groups)
    n_ahead, n_behind = int((signs > 0).sum()), int((signs < 0).sum())
    return Disagreements(
        member=member,
        n=is_different.size,
        n_different=int(is_different.sum()),
        n_ensemble_right=n_won,
        n_member_right=n_lost,
        p=float(binomtest(n_ahead, n_ahead + n_behind).pvalue) if n_ahead + n_behind else 1.0,
        n_units_ensemble=n_ahead,
        n_units_member=n_behind,
        by_group=groups is not None,
    )


def _signs_of_units(differences: NDArray[np.int64], weights: Floats, groups: NDArray[Any] | None) -> Floats:
    """Return the sign of the weighted sum of the (n,) or (n, t) differences of each unit."""
    units = np.arange(len(weights)) if groups is None else np.unique(groups.astype(str), return_inverse=True)[1]
    rows = weights * differences.reshape(len(weights), -1).sum(axis=1)
    sums, sizes = np.bincount(units, weights=rows), np.bincount(units, weights=np.abs(rows))
    # Rounding must not decide between equal sums of weights.
    return np.where(np.abs(sums) > MAX_ROUNDING_ERROR * sizes, np.sign(sums), 0.0)


@dataclass(frozen=True)
class _Wording:
    """Texts about the predictions of one kind of target.

    Attributes
    ----------
    unit
        Noun for the predictions.
    comparison
        Comparison of the ensemble with its best member.
    similarity, lowest
        Similarity of the errors of two members, and of the least similar pair.
    oracle
        Value of `Diversity.oracle`.
    """

    unit: str
    comparison: str = (
        "The ensemble and its best member, {0.member}, differ on {0.n_different} of {0.n} {rows}: the ensemble is "
        "right on {0.n_ensemble_right}, the member on {0.n_member_right}."
    )
    similarity: str = "{} share {:.0%} of their errors"
    lowest: str = "share {:.0%}"
    oracle: str = "At least one member is right on {:.1%} of the {unit}."


WORDINGS: dict[Kind, _Wording] = {
    "classes": _Wording("images"),
    "labels": _Wording("predictions"),
    "numbers": _Wording(
        "predictions",
        "The ensemble is closer to the truth than its best member, {0.member}, on {0.n_ensemble_right} of {0.n} "
        "{rows}, and farther from it on {0.n_member_right}.",
        "the errors of {} have a correlation of {:.2f}",
        "have a correlation of {:.2f}",
        "The closest member to the truth is off by {error} on average.",
    ),
}


def explain(
    targets: TargetValues,
    part: str,
    disagreements: Disagreements,
    diversity: Diversity,
    contributions: dict[str, float],
) -> str:
    """Return a paragraph that compares an ensemble with its best member and describes its members.

    Parameters
    ----------
    part
        Part of the rows: ``val`` or ``oof``.
    contributions
        Name of each member → its contribution, by `CrossFitting.contributions`.
    """
    wording = WORDINGS[targets.kind]
    return " ".join(
        [
            _compare_with_best(disagreements, f"{part} {wording.unit}", wording),
            _describe_similarity(diversity.pairs, wording),
            wording.oracle.format(diversity.oracle, unit=wording.unit, error=four_digits(diversity.oracle)),
            _describe_contributions(
                contributions,
                ScoreFormat.of_numbers(contributions.values()) if targets.kind == "numbers" else ScoreFormat(),
            ),
        ]
    )


def _compare_with_best(disagreements: Disagreements, rows: str, wording: _Wording) -> str:
    n_ahead, n_behind = disagreements.n_units_ensemble, disagreements.n_units_member
    if not disagreements.n_different:
        member, n = disagreements.member, disagreements.n
        return f"The ensemble and its best member, {member}, predict the same on all {n} {rows}."
    counts = wording.comparison.format(disagreements, rows=rows)
    if (n_ahead, n_behind) != (disagreements.n_ensemble_right, disagreements.n_member_right):
        counts += f" The ensemble is better on {n_ahead} {disagreements.units}, the member on {n_behind}."
    if n_ahead == n_behind:
        return counts
    better = "ensemble" if n_ahead > n_behind else "member"
    significance = "significant" if disagreements.p <= MAX_SIGNIFICANT_P else "not significant"
    return (
        f"{counts} The advantage of the {better} is {significance} (sign test over {disagreements.units}, p = "
        f"{disagreements.p:.2g})."
    )


def _describe_similarity(pairs: Sequence[MemberPair], wording: _Wording) -> str:
    similarity_pairs = [(pair.all.similarity, pair) for pair in pairs if pair.all.similarity is not None]
    if not similarity_pairs:
        return "No member makes an error."
    max_similarity, pair = max(similarity_pairs, key=lambda item: item[0])
    min_similarity = min(value for value, _ in similarity_pairs)
    if len(pairs) == 1:
        text = wording.similarity.format("its two members", max_similarity)
        return f"{text[0].upper()}{text[1:]}."
    return (
        f"Its most similar members are {pair.one} and {pair.other}: "
        f"{wording.similarity.format('the two', max_similarity)}. The least similar of the {len(pairs)} pairs "
        f"{wording.lowest.format(min_similarity)}."
    )


def _describe_contributions(contributions: dict[str, float], score_format: ScoreFormat) -> str:
    top, bottom = (choose(contributions, key=contributions.__getitem__) for choose in (max, min))
    if contributions[top] <= 0:
        return "No single member is needed: without any one of them the ensemble scores the same or better."
    # Contributions are positive where the member makes the score better, also a loss, which it makes smaller.
    text = f"Without {top} the ensemble's score becomes worse by {score_format.show(contributions[top])}, the most"
    if contributions[bottom] < 0 and bottom != top:
        text += f"; without {bottom} it becomes better by {score_format.show(-contributions[bottom])}"
    return f"{text}."
