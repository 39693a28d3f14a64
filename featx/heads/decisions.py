"""Class weights in scikit-learn's own objects: probabilities without them, and decisions that use them.

scikit-learn's `FixedThresholdClassifier` decides between two classes only. The Pipelines here do so between any number;
they are made of nothing but scikit-learn's classes and load without featx. Their last step is a perceptron of one layer
that changes nothing, so that ``predict_proba`` returns its input; the binarizer by which it turns outputs into classes
multiplies them by the weights first, so that ``predict`` returns the class with the largest product.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import VotingClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import LabelBinarizer, LabelEncoder, Normalizer, StandardScaler

from featx.tables.decision_rule import DecisionRule

Floats = NDArray[np.float64]


def with_decision(classifier: Any, rule: DecisionRule | None) -> Any:
    """Return a fitted classifier with the same probabilities that decides by a rule; itself where there is none."""
    if rule is None:
        return classifier
    weights = np.array(rule.weights)
    return Pipeline([("proba", _probabilities(classifier)), ("decision", _decider(classifier.classes_, weights))])


def without_class_weights(classifier: Any, weights: Floats) -> Pipeline:
    """Return a classifier that gives the probabilities of a fitted one, the class weights of its training divided out.

    See `featx.tables.decision_rule.without_weights`.
    """
    divided = _scaler(weights)
    steps = [("proba", _probabilities(classifier)), ("prior", divided), ("sum", Normalizer("l1"))]
    return Pipeline([*steps, ("decision", _decider(classifier.classes_, np.ones(len(weights))))])


def _probabilities(classifier: Any) -> VotingClassifier:
    """Return a transformer from features to a fitted classifier's probabilities, (n, d) to (n, k)."""
    found = VotingClassifier([("model", classifier)], voting="soft")
    found.estimators_ = [classifier]
    found.le_ = LabelEncoder().fit(classifier.classes_)
    found.classes_ = found.le_.classes_
    return found


def _scaler(weights: Floats) -> StandardScaler:
    """Return a transformer that divides columns by weights, and multiplies by them in the inverse."""
    found = StandardScaler(with_mean=False)
    found.mean_, found.var_, found.scale_ = np.zeros_like(weights), weights**2, weights
    found.n_features_in_, found.n_samples_seen_ = len(weights), 1
    return found


def _decider(classes: Sequence[Any], weights: Floats) -> MLPClassifier:
    """Return a classifier of probabilities that returns them as they are and decides by their product with weights."""
    k = len(weights)
    binarizer = LabelBinarizer().fit(classes)
    binarizer.y_type_ = "multiclass"  # also of two classes: a column for each
    found = MLPClassifier(hidden_layer_sizes=(), activation="identity")
    found.coefs_, found.intercepts_ = [np.eye(k)], [np.zeros(k)]
    found.n_layers_, found.n_outputs_, found.out_activation_ = 2, k, "identity"
    found.n_features_in_, found.classes_ = k, np.asarray(classes)
    found._label_binarizer = Pipeline([("classes", binarizer), ("weights", _scaler(weights))])
    return found
