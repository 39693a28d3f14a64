"""Learning and prediction of each kind of target: classification, multilabel classification and regression."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.compose import TransformedTargetRegressor
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from featx.artifacts.outputs import predict_outputs
from featx.heads.calibration import ClassifierOutputs
from featx.heads.folds import TrainRows
from featx.study.run_warnings import RunWarning
from featx.tables.ids import Floats, Kind
from featx.tables.target_values import TargetValues

# Function that returns an estimator fitted to (n,) target values.
Fit = Callable[[NDArray[Any]], Any]


class LearningProblem(ABC):
    """A kind of target, as estimators learn and predict it."""

    @abstractmethod
    def wrap(self, estimator: Any, n_outputs: int) -> Any:
        """Return an estimator of all outputs from an estimator of one column."""

    def fit_values(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return the target values in the shape that scikit-learn's estimators expect."""
        return y

    @abstractmethod
    def xgboost_objective(self, n_outputs: int) -> dict[str, Any]:
        """Return the options of XGBoost that name the objective."""

    @abstractmethod
    def predict_from_kernel(self, fit: Fit, y: NDArray[Any], kernel: Floats, n_outputs: int) -> Floats:
        """Return the (m, k) outputs of support vector machines, from the kernel of m held-out and n train rows."""

    def tree_outputs(self, values: Floats) -> Floats:
        """Return the (m, k) outputs of the values in a tree's leaves: (m, k) or (m, 1, k)."""
        return values.reshape(len(values), -1)

    @abstractmethod
    def predict_ranks(self, model: Pipeline, rows: TrainRows) -> Floats:
        """Return outputs that rank as probabilities do, also from an estimator without probabilities.

        Returns
        -------
        array
            (n, k) with a 1 for the predicted class; (n, t) numbers in [0, 1], a half where a label is undecided; or
            (n, t) numbers.
        """

    @abstractmethod
    def predict(self, model: Pipeline, rows: TrainRows, lacks_probabilities: bool) -> ClassifierOutputs:
        """Return the outputs of a fitted head for rows; numbers take the place of probabilities."""

    def prediction_warnings(self, targets: TargetValues, outputs: Floats) -> list[RunWarning]:
        """Return warnings of predictions out of fold that are all one class, or that never have a label."""
        return []


class Classification(LearningProblem):
    """Classes are learnt together."""

    def wrap(self, estimator: Any, n_outputs: int) -> Any:
        """Return the estimator itself."""
        return estimator

    def xgboost_objective(self, n_outputs: int) -> dict[str, Any]:
        """Return the objective for two or more classes."""
        if n_outputs == 2:
            return {"objective": "binary:logistic"}
        return {"objective": "multi:softprob", "num_class": n_outputs}

    def predict_from_kernel(self, fit: Fit, y: NDArray[Any], kernel: Floats, n_outputs: int) -> Floats:
        """Return a 1 for the predicted class."""
        return np.asarray(np.eye(n_outputs)[fit(y).predict(kernel)])

    def predict_ranks(self, model: Pipeline, rows: TrainRows) -> Floats:
        """Return a 1 for the predicted class."""
        return np.asarray(np.eye(rows.targets.n_outputs)[model.predict(rows.x)])

    def predict(self, model: Pipeline, rows: TrainRows, lacks_probabilities: bool) -> ClassifierOutputs:
        """Return the decision values, or without any the probabilities, as the input of the calibration."""
        has_decisions = hasattr(model, "decision_function")
        proba = predict_outputs(model, rows.x, "classes") if hasattr(model, "predict_proba") else None
        raw_outputs = (
            model.decision_function(rows.x).reshape(len(rows), -1).astype(np.float64) if has_decisions else proba
        )
        return ClassifierOutputs(raw_outputs, has_decisions, None if lacks_probabilities else proba)

    def prediction_warnings(self, targets: TargetValues, outputs: Floats) -> list[RunWarning]:
        """Return a warning if all rows are predicted as one class."""
        codes = np.unique(targets.decisions(outputs))
        if len(codes) > 1 or len(np.unique(targets.y)) == 1:
            return []
        name = targets.names[codes[0]]
        text = f"every image is predicted as {name!r}: the head learnt only the most frequent class; try "
        text += "class_weight = 'balanced' with metric = 'balanced_accuracy', or other embeddings"
        return [RunWarning("one class", text)]


class MultilabelClassification(LearningProblem):
    """Each label is learnt alone, or all together by an estimator that can."""

    def wrap(self, estimator: Any, n_outputs: int) -> Any:
        """Return an estimator with a classifier for each label."""
        return MultiOutputClassifier(estimator)

    def xgboost_objective(self, n_outputs: int) -> dict[str, Any]:
        """Return the objective of two classes."""
        return {"objective": "binary:logistic"}

    def predict_from_kernel(self, fit: Fit, y: NDArray[Any], kernel: Floats, n_outputs: int) -> Floats:
        """Return the decision values of the labels, squeezed to [0, 1]."""
        return np.asarray(expit(np.stack([fit(column).decision_function(kernel) for column in y.T], axis=1)))

    def tree_outputs(self, values: Floats) -> Floats:
        """Return the (m, t) shares of rows with each label, from (m, t, 2) shares without and with it."""
        return values[:, :, 1]

    def predict_ranks(self, model: Pipeline, rows: TrainRows) -> Floats:
        """Return the probabilities of the labels, or their decision values, squeezed to [0, 1]."""
        if hasattr(model, "predict_proba"):
            return predict_outputs(model, rows.x, "labels")
        return np.asarray(expit(_label_decisions(model, rows)))

    def predict(self, model: Pipeline, rows: TrainRows, lacks_probabilities: bool) -> ClassifierOutputs:
        """Return the decision values of the labels; one estimator of all labels has none."""
        proba = None if lacks_probabilities else predict_outputs(model, rows.x, "labels")
        if not isinstance(model[-1], MultiOutputClassifier):
            return ClassifierOutputs(None, False, proba)
        return ClassifierOutputs(_label_decisions(model, rows), True, proba)

    def prediction_warnings(self, targets: TargetValues, outputs: Floats) -> list[RunWarning]:
        """Return a warning that names the labels which are never predicted."""
        is_predicted = targets.decisions(outputs).max(0)
        missing_names = [
            name for name, has_predictions in zip(targets.names, is_predicted, strict=True) if not has_predictions
        ]
        if not missing_names:
            return []
        text = (
            f"no image is predicted to have {', '.join(missing_names)}; try metric = 'macro_f1', or add images with it"
        )
        return [RunWarning("never predicted", text)]


def _label_decisions(model: Pipeline, rows: TrainRows) -> Floats:
    """Return the (n, t) decision values of the labels' estimators."""
    scaled_x = model[:-1].transform(rows.x)
    columns = [estimator.decision_function(scaled_x) for estimator in model[-1].estimators_]
    return np.stack(columns, axis=1).astype(np.float64)


class Regression(LearningProblem):
    """Numbers are scaled to mean 0 and variance 1 where an estimator needs it."""

    def wrap(self, estimator: Any, n_outputs: int) -> Any:
        """Return a regressor of all columns, scaled to mean 0 and variance 1."""
        regressor = MultiOutputRegressor(estimator) if n_outputs > 1 else estimator
        return TransformedTargetRegressor(regressor, transformer=StandardScaler())

    def fit_values(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return a single column as (n,)."""
        return y[:, 0] if y.shape[1] == 1 else y

    def xgboost_objective(self, n_outputs: int) -> dict[str, Any]:
        """Return the squared error."""
        return {"objective": "reg:squarederror"}

    def predict_from_kernel(self, fit: Fit, y: NDArray[Any], kernel: Floats, n_outputs: int) -> Floats:
        """Return the predictions of the numbers, each scaled before the fit."""
        mean, std = y.mean(0), np.where(y.std(0) > 0, y.std(0), 1.0)
        columns = [fit(column).predict(kernel) for column in ((y - mean) / std).T]
        return np.asarray(np.stack(columns, axis=1) * std + mean)

    def predict_ranks(self, model: Pipeline, rows: TrainRows) -> Floats:
        """Return the predicted numbers."""
        return predict_outputs(model, rows.x, "numbers")

    def predict(self, model: Pipeline, rows: TrainRows, lacks_probabilities: bool) -> ClassifierOutputs:
        """Return the predicted numbers in the place of probabilities."""
        return ClassifierOutputs(None, False, self.predict_ranks(model, rows))


PROBLEMS: dict[Kind, LearningProblem] = {
    "classes": Classification(),
    "labels": MultilabelClassification(),
    "numbers": Regression(),
}
