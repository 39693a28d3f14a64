"""Why a vote helped, or did not: one paragraph, from counts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from featx.ensembles.combiners import Outputs
from featx.ensembles.diversity import Diversity, MemberPair, are_right
from featx.metrics.row_scores import decided, guessed
from featx.tables.target_values import TargetValues

SURE = 0.05  # the largest p of a sign test that is not put down to chance


@dataclass(frozen=True)
class Disagreements:
    """Where a vote says another thing than its best member; of numbers, where it lies nearer to the truth or farther.

    Attributes
    ----------
    member
        The best one.
    n, n_overruled
        Answers, and those in which the two differ.
    n_vote_right, n_member_right
        Of these; the others are wrong either way. Of numbers: how often each lies nearer.
    p
        Of a sign test: how often chance alone makes so large a difference between the two counts.
    """

    member: str
    n: int
    n_overruled: int
    n_vote_right: int
    n_member_right: int
    p: float

    @classmethod
    def of(
        cls, member: str, of_vote: tuple[TargetValues, Outputs], of_best: tuple[TargetValues, Outputs]
    ) -> "Disagreements":
        """Compare a vote with its best member.

        Parameters
        ----------
        of_vote, of_best
            What is known of the rows, with the rule of decision, and what each says.
        """
        (facts, vote), (_, best) = of_vote, of_best
        if facts.kind == "numbers":
            ours, theirs = np.abs(vote - facts.y), np.abs(best - facts.y)
            differ, vote_right, member_right = ours != theirs, ours < theirs, theirs < ours
        else:
            said = [guessed(*of) if facts.kind == "classes" else decided(of[1]) for of in (of_vote, of_best)]
            differ = said[0] != said[1]
            vote_right, member_right = (differ & are_right(*of) for of in (of_vote, of_best))
        won, lost = int(vote_right.sum()), int(member_right.sum())
        p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
        return cls(member, differ.size, int(differ.sum()), won, lost, p)


def paragraph(
    facts: TargetValues, part: str, overruling: Disagreements, found: Diversity, contributions: dict[str, float]
) -> str:
    """Say in words what a vote does against its best member, and what there is to gain.

    Parameters
    ----------
    part
        The rows that it is about.
    contributions
        Of each member; see `Evidence.contributions`.
    """
    what = "images" if facts.kind == "classes" else "answers"
    said = [_against_the_best(overruling, f"{part} {what}", facts.kind == "numbers"), _most_alike(found.pairs, facts)]
    if facts.kind == "numbers":
        said.append(f"The nearest of all members is off by {found.oracle:.4g} on average.")
    else:
        said.append(f"At least one member is right in {found.oracle:.1%} of the {what}.")
    return " ".join([*said, _missed(contributions)])


def _against_the_best(of: Disagreements, rows: str, numbers: bool) -> str:
    if not of.n_overruled:
        return f"The vote says of all {of.n} {rows} what its best member says, {of.member}."
    won, lost = of.n_vote_right, of.n_member_right
    if numbers:
        counts = f"The vote is nearer to the truth than its best member, {of.member}, in {won} of {of.n} {rows}"
        counts += f" and farther in {lost}"
    else:
        times = f"{of.n_overruled} of {of.n} {rows}"
        counts = f"The vote overrules its best member, {of.member}, in {times}: it is right in {won} and the member in"
        counts += f" {lost}"
    if won == lost:
        return f"{counts}, so neither gains."
    gain = "helps" if won > lost else "does harm"
    by = "more than chance alone would" if of.p <= SURE else "no more than chance alone may"
    return f"{counts}, so it {gain}, {by} (sign test p = {of.p:.2g})."


def _most_alike(pairs: Sequence[MemberPair], facts: TargetValues) -> str:
    numbers = facts.kind == "numbers"
    alike = [(pair.all.error_correlation if numbers else pair.all.shared_errors, pair) for pair in pairs]
    known = [(value, pair) for value, pair in alike if value is not None]
    if not known:
        return "No member is ever wrong."
    most, pair = max(known, key=lambda one: one[0])
    least = min(value for value, _ in known)
    who = "its two members" if len(pairs) == 1 else f"{pair.one} and {pair.other}"
    said = f"the errors of {who} correlate by {most:.2f}" if numbers else f"{who} share {most:.0%} of their errors"
    if len(pairs) == 1:
        return f"{said[0].upper()}{said[1:]}."
    lowest = f"{least:.2f}" if numbers else f"{least:.0%}"
    return f"Of the {len(pairs)} pairs of members {said}, the least alike {lowest}."


def _missed(contributions: dict[str, float]) -> str:
    most, least = (choose(contributions, key=contributions.__getitem__) for choose in (max, min))
    if contributions[most] <= 0:
        return "None of them would be missed: without any one the vote does as well or better."
    said = f"It would miss {most} most ({-contributions[most]:+.4f} without it)"
    if contributions[least] < 0 and least != most:
        said += f", and do better without {least} ({-contributions[least]:+.4f})"
    return f"{said}."
