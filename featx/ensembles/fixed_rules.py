"""Votes by a fixed rule: m answers in, one out, nothing learnt."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from featx.ensembles.combiners import Combiner, Learn, MemberOutputs, Outputs, VotingMethod, Weighing
from featx.metrics.row_scores import decided
from featx.specs.ensembling import EnsembleSpec
from featx.tables.decision_rule import DecisionRule, decided_codes
from featx.tables.target_values import TargetValues

TIE_SHARE = 1e-3  # of one vote: what the members' mean probability weighs, so that it only breaks ties
LEAST_SURE = 1e-9  # so that members none of which is sure weigh the same


class Mean(Weighing):
    """The weighted mean of what the members say.

    Examples
    --------
    >>> says = np.array([[[1.0, 0.0]], [[0.5, 0.5]]])
    >>> Mean(weights=(1, 1)).outputs(MemberOutputs("classes", ("no", "yes"), says)).tolist()
    [[0.75, 0.25]]
    """

    def outputs(self, ballots: MemberOutputs) -> Outputs:
        """See `Combiner`."""
        return np.asarray(np.average(ballots.outputs, axis=0, weights=self.weights))


class Majority(Weighing):
    """Counts the classes that the members decide for; of labels, whether each says that an image has it.

    A tie goes to the class with the larger mean probability among all members, and of a label to their mean. The
    answers are the shares of the votes, less than a thousandth of a vote apart from them (the tie-break); weights
    that differ by less than that count as equal.

    Examples
    --------
    >>> says = np.array([[[0.4, 0.6]], [[0.9, 0.1]]])
    >>> Majority(weights=(1, 1)).outputs(MemberOutputs("classes", ("no", "yes"), says)).round(2).tolist()
    [[0.5, 0.5]]
    >>> Majority(weights=(1, 1)).outputs(MemberOutputs("classes", ("no", "yes"), says)).argmax(1).tolist()
    [0]
    """

    def outputs(self, ballots: MemberOutputs) -> Outputs:
        """See `Combiner`."""
        shares = np.average(_guesses(ballots), axis=0, weights=self.weights)
        tie_break = TIE_SHARE / len(ballots)
        return np.asarray((shares + tie_break * ballots.outputs.mean(axis=0)) / (1 + tie_break))

    def decision(self, ballots: MemberOutputs) -> DecisionRule | None:
        """Return None: the members' rules are in their decisions already, and most votes decide."""
        return None


def _guesses(ballots: MemberOutputs) -> NDArray[np.float64]:
    """(m, n, k) 1 for the class that a member names, or each label; 0 elsewhere."""
    if ballots.kind == "labels":
        return decided(ballots.outputs).astype(np.float64)
    codes = [decided_codes(said, ballots.rule(member)) for member, said in enumerate(ballots.outputs)]
    return np.asarray(np.eye(len(ballots.names))[np.stack(codes)])


class Confidence(Combiner):
    """The mean of the members, each weighing as sure as it is of this row; of labels, of this row and label.

    A member is as sure as its entropy falls short of the largest one: 0 where it gives all classes the same
    probability, 1 where it gives one of them all. A member that claims too much is believed too much.
    """

    def outputs(self, ballots: MemberOutputs) -> Outputs:
        """See `Combiner`."""
        sure = certainty(ballots) + LEAST_SURE
        return np.asarray((sure * ballots.outputs).sum(axis=0) / sure.sum(axis=0))


def certainty(ballots: MemberOutputs) -> NDArray[np.float64]:
    """Return (m, n, 1) how sure members are of the class of each row, in [0, 1], or (m, n, t) of each label."""
    said = ballots.outputs
    if ballots.kind == "labels":
        return np.asarray(1 - (entr(said) + entr(1 - said)) / np.log(2)).clip(0, 1)
    lacks = entr(said).sum(axis=2, keepdims=True) / np.log(max(2, said.shape[2]))
    return np.asarray(1 - lacks).clip(0, 1)


class Median(Combiner):
    """The median of the members' numbers: one that is far off does no harm."""

    def outputs(self, ballots: MemberOutputs) -> Outputs:
        """See `Combiner`."""
        return np.asarray(np.median(ballots.outputs, axis=0))


def equally(combiner: type[Weighing]) -> Learn:
    """Return what gives all members the same weight."""

    def learn(ballots: MemberOutputs, facts: TargetValues, spec: EnsembleSpec) -> Combiner:
        return combiner(weights=(1 / len(ballots),) * len(ballots))

    return learn


majority = VotingMethod(equally(Majority), Majority, ("classes", "labels"), learns=False)
soft = VotingMethod(equally(Mean), Mean, learns=False)
mean = VotingMethod(equally(Mean), Mean, ("numbers",), learns=False)
median = VotingMethod(lambda ballots, facts, spec: Median(), Median, ("numbers",), learns=False)
confidence = VotingMethod(lambda ballots, facts, spec: Confidence(), Confidence, ("classes", "labels"), learns=False)
