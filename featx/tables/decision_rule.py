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

Floats = NDArray[np.floating]


class DecisionRule(Spec):
    """Decides for the class whose product of probability and weight is the largest; of equal ones for the first.

    Attributes
    ----------
    weights
        k numbers > 0 in the order of the classes; only their ratio counts.

    Examples
    --------
    >>> DecisionRule(weights=(1, 4)).codes(np.array([[0.9, 0.1], [0.7, 0.3]])).tolist()
    [0, 1]
    """

    weights: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=2)]

    def codes(self, proba: Floats) -> NDArray[np.int64]:
        """Return (…,) the code of the class decided for, from (…, k) probabilities."""
        return np.asarray((proba * np.array(self.weights)).argmax(axis=-1), dtype=np.int64)

    def ordered(self, columns: Sequence[int]) -> "DecisionRule":
        """Return the same rule for classes in another order."""
        return DecisionRule(weights=tuple(self.weights[column] for column in columns))


def decided_codes(proba: Floats, rule: DecisionRule | None) -> NDArray[np.int64]:
    """Return (…,) the code of the class decided for; without a rule the most probable one, of equals the first."""
    return np.asarray(proba.argmax(axis=-1), dtype=np.int64) if rule is None else rule.codes(proba)


def rule_of_weights(weights: Floats | None) -> DecisionRule | None:
    """Return the rule of (k,) class weights, scaled to mean 1; None where they are missing or all the same."""
    if weights is None or np.ptp(weights) == 0:
        return None
    return DecisionRule(weights=tuple((weights / weights.mean()).tolist()))


def combined_rule(rules: Sequence[DecisionRule | None], shares: Sequence[float]) -> DecisionRule | None:
    """Return the rule for a combination of models: the geometric mean of the models' weights.

    Parameters
    ----------
    rules
        One for each model; None counts as equal weights.
    shares
        The weight of each model in the combination, ≥ 0, not all 0.
    """
    given = [rule for rule in rules if rule is not None]
    if not given:
        return None
    if all(rule == given[0] for rule in rules):
        return given[0]
    equal = np.ones(len(given[0].weights))
    logs = np.log([equal if rule is None else np.array(rule.weights) / np.mean(rule.weights) for rule in rules])
    return rule_of_weights(np.exp(np.average(logs, axis=0, weights=np.asarray(shares, dtype=np.float64))))


def without_weights(proba: Floats, weights: Floats) -> NDArray[np.float64]:
    """Return the probabilities that a model would give without the class weights that it was trained with.

    A model of rows that weigh w(y) estimates w(y) p(y | x), scaled to sum to 1; dividing by w and scaling again gives
    p(y | x).
    """
    found = np.asarray(proba / weights, dtype=np.float64)
    return np.asarray(found / found.sum(axis=-1, keepdims=True))
