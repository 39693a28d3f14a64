"""The rule that turns probabilities of classes into a decision for one class.

Probabilities say how often each class is the true one. Which class to decide for also depends on what each error costs:
with costs in the proportion of class weights the expected cost is least for the class with the largest product of
probability and weight [1]_.

References
----------
.. [1] C. Elkan, The foundations of cost-sensitive learning, IJCAI 2001.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from featx.specs.base import Spec
from featx.tables.ids import Floats


class DecisionRule(Spec):
    """Decides for the class with the largest product of probability and weight; the first class wins a tie.

    Attributes
    ----------
    weights
        k class weights > 0 in the order of the classes; only their ratios matter.

    Examples
    --------
    >>> DecisionRule(weights=(1, 4)).codes(np.array([[0.9, 0.1], [0.7, 0.3]])).tolist()
    [0, 1]
    """

    weights: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=2)]

    def codes(self, proba: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the (…,) codes of the chosen classes, from (…, k) probabilities."""
        return np.asarray((proba * np.array(self.weights)).argmax(axis=-1), dtype=np.int64)

    def ordered(self, columns: Sequence[int]) -> "DecisionRule":
        """Return the same rule for the classes in the order of `columns`."""
        return DecisionRule(weights=tuple(self.weights[column] for column in columns))


def decide_codes(proba: NDArray[np.floating], rule: DecisionRule | None) -> NDArray[np.int64]:
    """Return the (…,) codes of the chosen classes; without a rule the most probable class, the first of a tie."""
    return np.asarray(proba.argmax(axis=-1), dtype=np.int64) if rule is None else rule.codes(proba)


def rule_from_weights(weights: Floats | None) -> DecisionRule | None:
    """Return the decision rule of (k,) class weights, scaled to mean 1; None if they are missing or all equal."""
    if weights is None or np.ptp(weights) == 0:
        return None
    return DecisionRule(weights=tuple((weights / weights.mean()).tolist()))


def combine_rules(rules: Sequence[DecisionRule | None], shares: Sequence[float]) -> DecisionRule | None:
    """Return the decision rule of a combination of models: the geometric mean of their class weights.

    Parameters
    ----------
    rules
        One decision rule per model; None counts as equal class weights.
    shares
        The weight of each model in the combination, ≥ 0, not all 0.
    """
    weighted_rules = [rule for rule in rules if rule is not None]
    if not weighted_rules:
        return None
    if all(rule == weighted_rules[0] for rule in rules):
        return weighted_rules[0]
    equal_weights = np.ones(len(weighted_rules[0].weights))
    logs = np.log([equal_weights if rule is None else np.array(rule.weights) / np.mean(rule.weights) for rule in rules])
    return rule_from_weights(np.exp(np.average(logs, axis=0, weights=np.asarray(shares, dtype=np.float64))))


def remove_class_weights(proba: Floats, weights: Floats) -> Floats:
    """Return the (…, k) probabilities that a model would give without the class weights it was trained with.

    A model trained on rows with weights w(y) estimates w(y) p(y | x), scaled to sum to 1; dividing by w and scaling
    again gives p(y | x).
    """
    unweighted_proba = np.asarray(proba / weights, dtype=np.float64)
    return np.asarray(unweighted_proba / unweighted_proba.sum(axis=-1, keepdims=True))
