"""Voting methods with a fixed rule: majority, mean, median and confidence; nothing is trained."""

import numpy as np
from scipy.special import entr

from featx.ensembles.combiners import Combiner, EnsembleMethod, Fit, MemberOutputs, WeightedCombiner
from featx.metrics.score_kinds import Outputs
from featx.specs.ensembling import EnsembleSpec
from featx.tables.decision_rule import DecisionRule
from featx.tables.ids import Floats
from featx.tables.target_values import TARGET_KINDS, TargetValues

# The weight of the members' mean probability in votes: so small that it only breaks ties.
TIE_BREAK_WEIGHT = 1e-3
# Added to each member's certainty, so that members of certainty 0 get equal weights.
MIN_CERTAINTY = 1e-9


class Mean(WeightedCombiner):
    """The weighted mean of the members' outputs.

    Examples
    --------
    >>> outputs = np.array([[[1.0, 0.0]], [[0.5, 0.5]]])
    >>> Mean(weights=(1, 1)).outputs(MemberOutputs("classes", ("no", "yes"), outputs)).tolist()
    [[0.75, 0.25]]
    """

    def outputs(self, members: MemberOutputs) -> Outputs:
        """Return the (n, k) weighted mean."""
        return np.asarray(np.average(members.outputs, axis=0, weights=self.weights))


class Majority(WeightedCombiner):
    """The weighted shares of members that predict each class; for labels, of members that predict each label.

    A tie goes to the class with the larger mean probability over all members, or for a label to that mean. To break
    ties, the outputs differ from the shares of votes by up to a thousandth of a vote; weights that differ by less count
    as equal.

    Examples
    --------
    >>> outputs = np.array([[[0.4, 0.6]], [[0.9, 0.1]]])
    >>> Majority(weights=(1, 1)).outputs(MemberOutputs("classes", ("no", "yes"), outputs)).round(2).tolist()
    [[0.5, 0.5]]
    >>> Majority(weights=(1, 1)).outputs(MemberOutputs("classes", ("no", "yes"), outputs)).argmax(1).tolist()
    [0]
    """

    def outputs(self, members: MemberOutputs) -> Outputs:
        """Return the (n, k) shares of votes, with the tie-break added."""
        shares = np.average(_votes(members), axis=0, weights=self.weights)
        tie_break = TIE_BREAK_WEIGHT / len(members)
        return np.asarray((shares + tie_break * members.outputs.mean(axis=0)) / (1 + tie_break))

    def decision_rule(self, members: MemberOutputs) -> DecisionRule | None:
        """Return None: the members' votes already use their rules, and the class with most votes wins."""
        return None


def _votes(members: MemberOutputs) -> Floats:
    """Return (m, n, k) votes: 1 for the class or the labels that a member predicts, 0 elsewhere."""
    kind = TARGET_KINDS[members.kind]
    decisions = [kind.decide(outputs, members.rule(member)) for member, outputs in enumerate(members.outputs)]
    return kind.indicators(np.stack(decisions), len(members.names)).astype(np.float64)


class CertaintyWeightedMean(Combiner):
    """The mean of the members, weighted in each row by their certainty; for labels, in each row and label.

    Certainty is 1 minus the entropy as a share of its maximum: 0 for equal probabilities of all classes, 1 if one class
    has probability 1. An overconfident member gets too much weight.
    """

    def outputs(self, members: MemberOutputs) -> Outputs:
        """Return the (n, k) mean, weighted by certainty."""
        weights = certainty(members) + MIN_CERTAINTY
        return np.asarray((weights * members.outputs).sum(axis=0) / weights.sum(axis=0))


def certainty(members: MemberOutputs) -> Floats:
    """Return the members' certainty in [0, 1]: (m, n, 1) for the class of each row, or (m, n, t) for each label."""
    proba = members.outputs
    if members.kind == "labels":
        return np.asarray(1 - (entr(proba) + entr(1 - proba)) / np.log(2)).clip(0, 1)
    relative_entropy = entr(proba).sum(axis=2, keepdims=True) / np.log(max(2, proba.shape[2]))
    return np.asarray(1 - relative_entropy).clip(0, 1)


class Median(Combiner):
    """The median of the members' numbers, which a single outlier does not move."""

    def outputs(self, members: MemberOutputs) -> Outputs:
        """Return the (n, t) median."""
        return np.asarray(np.median(members.outputs, axis=0))


def fit_equal_weights(combiner: type[WeightedCombiner]) -> Fit:
    """Return the fit function of a combiner that weighs all members equally."""

    def fit(members: MemberOutputs, targets: TargetValues, spec: EnsembleSpec) -> Combiner:
        return combiner(weights=(1 / len(members),) * len(members))

    return fit


majority = EnsembleMethod(fit_equal_weights(Majority), Majority, ("classes", "labels"), is_trained=False)
soft = EnsembleMethod(fit_equal_weights(Mean), Mean, is_trained=False)
mean = EnsembleMethod(fit_equal_weights(Mean), Mean, ("numbers",), is_trained=False)
median = EnsembleMethod(lambda members, targets, spec: Median(), Median, ("numbers",), is_trained=False)
confidence = EnsembleMethod(
    lambda members, targets, spec: CertaintyWeightedMean(),
    CertaintyWeightedMean,
    ("classes", "labels"),
    is_trained=False,
)
