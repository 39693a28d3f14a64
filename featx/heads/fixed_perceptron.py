"""Perceptrons with given weights, by which fitted models of scikit-learn compute what it has no class for."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import LabelBinarizer


def fixed_perceptron(
    weights: Sequence[Any], classes: Sequence[Any] | NDArray[Any], out_activation: Literal["identity", "softmax"]
) -> MLPClassifier:
    """Return a fitted classifier of given weights without offsets; hidden layers have the activation ``relu``.

    Parameters
    ----------
    weights
        (d, h), …, (h, k) weights of the layers, dense or sparse.
    classes
        The k classes, in order.
    out_activation
        Activation of the last layer: ``identity`` if its inputs are probabilities already, or ``softmax``.
    """
    sizes = [layer.shape[1] for layer in weights]
    perceptron = MLPClassifier(hidden_layer_sizes=tuple(sizes[:-1]), activation="relu")
    perceptron.coefs_, perceptron.intercepts_ = list(weights), [np.zeros(size) for size in sizes]
    perceptron.n_features_in_, perceptron.n_outputs_ = weights[0].shape[0], sizes[-1]
    perceptron.n_layers_, perceptron.out_activation_ = len(weights) + 1, out_activation
    perceptron.classes_ = np.asarray(classes)
    binarizer = LabelBinarizer().fit(classes)
    # One column for each class, also when there are only two.
    binarizer.y_type_ = "multiclass"
    perceptron._label_binarizer = binarizer
    return perceptron
