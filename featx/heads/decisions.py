"""Class weights in scikit-learn's own objects: probabilities without them, and decisions that use them.

scikit-learn's `FixedThresholdClassifier` decides between two classes only. The Pipelines here decide between any number
of classes; they consist of scikit-learn's classes only and load without featx. Their last step is a perceptron of one
layer whose weights are the identity, so that ``predict_proba`` returns its input. The binarizer by which the perceptron
turns outputs into classes multiplies them by the class weights first, so that ``predict`` returns the class with the
largest product.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import VotingClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import LabelEncoder, Normalizer, StandardScaler

from featx.heads.fixed_perceptron import fixed_perceptron
from featx.tables.decision_rule import DecisionRule
from featx.tables.ids import Floats


def add_decision_rule(classifier: Any, rule: DecisionRule | None) -> Any:
    """Return a fitted classifier with the same probabilities that decides by a rule; itself if there is none."""
    if rule is None:
        return classifier
    weights = np.array(rule.weights)
    return Pipeline(
        [("proba", _proba_transformer(classifier)), ("decision", _weighted_decider(classifier.classes_, weights))]
    )


def divide_by_class_weights(classifier: Any, weights: Floats) -> Pipeline:
    """Return a classifier whose probabilities are those of a fitted one, divided by the class weights of its training.

    The formula is that of `featx.tables.decision_rule.remove_class_weights`.
    """
    steps = [("proba", _proba_transformer(classifier)), ("prior", _column_divider(weights)), ("sum", Normalizer("l1"))]
    return Pipeline([*steps, ("decision", _weighted_decider(classifier.classes_, np.ones(len(weights))))])


def _proba_transformer(classifier: Any) -> VotingClassifier:
    """Return a transformer from (n, d) features to the (n, k) probabilities of a fitted classifier."""
    transformer = VotingClassifier([("model", classifier)], voting="soft")
    transformer.estimators_ = [classifier]
    transformer.le_ = LabelEncoder().fit(classifier.classes_)
    transformer.classes_ = transformer.le_.classes_
    return transformer


def _column_divider(weights: Floats) -> StandardScaler:
    """Return a transformer that divides columns by weights; its inverse multiplies by them."""
    scaler = StandardScaler(with_mean=False)
    scaler.mean_, scaler.var_, scaler.scale_ = np.zeros_like(weights), weights**2, weights
    scaler.n_features_in_, scaler.n_samples_seen_ = len(weights), 1
    return scaler


def _weighted_decider(classes: Sequence[Any], weights: Floats) -> MLPClassifier:
    """Return a classifier that passes probabilities on and predicts the class with the largest weighted one."""
    classifier = fixed_perceptron([np.eye(len(weights))], classes, "identity")
    classifier._label_binarizer = Pipeline(
        [("classes", classifier._label_binarizer), ("weights", _column_divider(weights))]
    )
    return classifier
