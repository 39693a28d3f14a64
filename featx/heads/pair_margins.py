"""Class probabilities of support vector machines with more than two classes, from the margins of all pairs of classes.

scikit-learn's decision values count the pairs that a class wins, so that any calibration gives most rows the same
probability. Here the score of a class is minus the sum of the margins by which it loses pairs: loss-based decoding [1]_
with the loss max(0, -margin). A class that wins all of its pairs has the score 0 and all others have less, so that the
predicted class is the one of the machine wherever a class wins all of its pairs, which is nearly always.

References
----------
.. [1] E. Allwein, R. Schapire, Y. Singer, Reducing multiclass to binary: a unifying approach for margin classifiers,
   JMLR 2000.
"""

from itertools import combinations
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.preprocessing import LabelEncoder
from sklearn.svm import SVC, NuSVC

from featx.heads.fixed_perceptron import fixed_perceptron
from featx.tables.ids import Floats


def pair_indicators(n_classes: int) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Return two (k (k - 1) / 2, k) matrices with a 1 for the first and for the second class of each pair."""
    first_codes, second_codes = np.array(list(combinations(range(n_classes), 2))).T
    n_pairs = len(first_codes)
    first_indicators, second_indicators = (
        sparse.csr_array((np.ones(n_pairs), (np.arange(n_pairs), codes)), shape=(n_pairs, n_classes))
        for codes in (first_codes, second_codes)
    )
    return first_indicators, second_indicators


def is_pair_machine(estimator: Any, n_classes: int) -> bool:
    """Return whether an estimator fits a machine for each pair of the classes, of which there are more than two."""
    return isinstance(estimator, SVC | NuSVC) and n_classes > 2


class PairMachine(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """An unfitted machine of more than two classes that has probabilities as soon as it is fitted.

    scikit-learn calibrates with it; the fitted calibration holds `model_` instead (`add_class_probabilities`).

    Parameters
    ----------
    machine
        The unfitted machine.

    Attributes
    ----------
    model_
        The fitted machine with probabilities.
    classes_
        (k,) the classes, sorted.
    n_features_in_
        Number of features d.
    """

    def __init__(self, machine: SVC | NuSVC) -> None:
        self.machine = machine

    def fit(self, x: Floats, y: NDArray[Any], sample_weight: Floats | None = None) -> Self:
        """Fit the machine."""
        self.model_ = add_class_probabilities(clone(self.machine).fit(x, y, sample_weight))
        self.classes_, self.n_features_in_ = self.model_.classes_, self.model_.n_features_in_
        return self

    def predict(self, x: Floats) -> NDArray[Any]:
        """Return the most probable classes."""
        return np.asarray(self.model_.predict(x))

    def predict_proba(self, x: Floats) -> Floats:
        """Return the (n, k) probabilities of classes."""
        if hasattr(self.model_, "predict_proba"):
            return np.asarray(self.model_.predict_proba(x))
        # The rows of an inner fold may have two of the classes; their scores are 0 and minus the margin.
        proba = expit(self.model_.decision_function(x))
        return np.stack([1 - proba, proba], axis=1)


def add_class_probabilities(estimator: Any) -> Any:
    """Return a fitted machine of more than two classes, also inside a calibration, with probabilities of classes.

    The machine or the calibration is changed in place; any other estimator is returned as it is. The probabilities are
    the softmax of the scores. They need a calibration: the unit of margins has nothing to do with probabilities.
    """
    if isinstance(estimator, CalibratedClassifierCV) and isinstance(estimator.estimator, PairMachine):
        (inner,) = estimator.calibrated_classifiers_
        inner.estimator = estimator.estimator = inner.estimator.model_
    is_fitted_pair_machine = is_pair_machine(estimator, len(getattr(estimator, "classes_", ())))
    return _decode_margins(estimator) if is_fitted_pair_machine else estimator


def _decode_margins(machine: SVC | NuSVC) -> StackingClassifier:
    """Return the margins of all pairs by a fitted machine, followed by a perceptron of fixed weights."""
    machine.set_params(decision_function_shape="ovo")
    codes = np.arange(len(machine.classes_))
    first_indicators, second_indicators = pair_indicators(len(codes))
    n_pairs = len(codes) * (len(codes) - 1) // 2
    # The hidden layer holds the margins by which the first class and by which the second class of each pair loses.
    to_losses = sparse.hstack([-sparse.eye_array(n_pairs), sparse.eye_array(n_pairs)], format="csr")
    to_scores = sparse.csr_array(-sparse.vstack([first_indicators, second_indicators]))
    decoder = fixed_perceptron([to_losses, to_scores], codes, "softmax")
    model = StackingClassifier([("pairs", machine)], decoder, cv="prefit", stack_method="decision_function")
    model.estimators_, model.final_estimator_ = [machine], decoder
    model.stack_method_ = ["decision_function"]
    model._label_encoder = LabelEncoder().fit(machine.classes_)
    model.classes_ = model._label_encoder.classes_
    return model
