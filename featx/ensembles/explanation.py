"""Explanation of an ensemble in one paragraph: counts against its best member, and the members' diversity."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest

from featx.ensembles.combiners import Outputs
from featx.ensembles.diversity import are_correct
from featx.metrics.row_scores import predict_classes, predict_labels
from featx.study.ensemble_metrics import Disagreements, Diversity, MemberPair
from featx.tables.target_values import TargetValues

MAX_SIGNIFICANT_P = 0.05


def count_disagreements(
    member: str, ensemble: tuple[TargetValues, Outputs], best_member: tuple[TargetValues, Outputs]
) -> Disagreements:
    """Return the disagreements of an ensemble with its best member.

    Parameters
    ----------
    member
        Name of the best member.
    ensemble, best_member
        True values with the decision rule of each, and (n, k) outputs of each.
    """
    (targets, outputs), (_, member_outputs) = ensemble, best_member
    if targets.kind == "numbers":
        errors, member_errors = np.abs(outputs - targets.y), np.abs(member_outputs - targets.y)
        differ, vote_right, member_right = (
            errors != member_errors,
            errors < member_errors,
            member_errors < errors,
        )
    else:
        pairs = (ensemble, best_member)
        decisions = [predict_classes(*pair) if targets.kind == "classes" else predict_labels(pair[1]) for pair in pairs]
        differ = decisions[0] != decisions[1]
        vote_right, member_right = (differ & are_correct(*pair) for pair in pairs)
    n_won, n_lost = int(vote_right.sum()), int(member_right.sum())
    p = float(binomtest(n_won, n_won + n_lost).pvalue) if n_won + n_lost else 1.0
    return Disagreements(
        member=member,
        n=differ.size,
        n_different=int(differ.sum()),
        n_ensemble_right=n_won,
        n_member_right=n_lost,
        p=p,
    )


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
    unit = "images" if targets.kind == "classes" else "predictions"
    has_numbers = targets.kind == "numbers"
    if has_numbers:
        oracle = f"The closest member to the truth is off by {diversity.oracle:.4g} on average."
    else:
        oracle = f"At least one member is right on {diversity.oracle:.1%} of the {unit}."
    return " ".join(
        [
            _compare_with_best(disagreements, f"{part} {unit}", has_numbers=has_numbers),
            _describe_similarity(diversity.pairs, has_numbers=has_numbers),
            oracle,
            _describe_contributions(contributions),
        ]
    )


def _compare_with_best(disagreements: Disagreements, rows: str, *, has_numbers: bool) -> str:
    n, member = disagreements.n, disagreements.member
    n_won, n_lost = disagreements.n_ensemble_right, disagreements.n_member_right
    if not disagreements.n_different:
        return f"The ensemble and its best member, {member}, predict the same on all {n} {rows}."
    if has_numbers:
        counts = f"The ensemble is closer to the truth than its best member, {member}, on {n_won} of {n} {rows}"
        counts = f"{counts}, and farther from it on {n_lost}."
    else:
        differing = f"{disagreements.n_different} of {n} {rows}"
        counts = f"The ensemble and its best member, {member}, differ on {differing}: the ensemble is right on {n_won},"
        counts = f"{counts} the member on {n_lost}."
    if n_won == n_lost:
        return counts
    better = "ensemble" if n_won > n_lost else "member"
    significance = "significant" if disagreements.p <= MAX_SIGNIFICANT_P else "not significant"
    return f"{counts} The advantage of the {better} is {significance} (sign test p = {disagreements.p:.2g})."


def _describe_similarity(pairs: Sequence[MemberPair], *, has_numbers: bool) -> str:
    similarities = [(pair.all.error_correlation if has_numbers else pair.all.shared_errors, pair) for pair in pairs]
    defined = [(value, pair) for value, pair in similarities if value is not None]
    if not defined:
        return "No member makes an error."
    highest, pair = max(defined, key=lambda item: item[0])
    lowest = min(value for value, _ in defined)
    template = "the errors of {} have a correlation of {:.2f}" if has_numbers else "{} share {:.0%} of their errors"
    if len(pairs) == 1:
        text = template.format("its two members", highest)
        return f"{text[0].upper()}{text[1:]}."
    shown = f"a correlation of {lowest:.2f}" if has_numbers else f"{lowest:.0%}"
    return (
        f"Its most similar members are {pair.one} and {pair.other}: {template.format('the two', highest)}. The least "
        f"similar of the {len(pairs)} pairs {'have' if has_numbers else 'share'} {shown}."
    )


def _describe_contributions(contributions: dict[str, float]) -> str:
    top, bottom = (choose(contributions, key=contributions.__getitem__) for choose in (max, min))
    if contributions[top] <= 0:
        return "No single member is needed: without any one of them the ensemble scores the same or better."
    text = f"Without {top} the ensemble loses most ({-contributions[top]:+.4f})"
    if contributions[bottom] < 0 and bottom != top:
        text += f"; without {bottom} it gains ({-contributions[bottom]:+.4f})"
    return f"{text}."
