"""Fitted heads as torch modules with exact gradients: scaling, linear models, kernels, perceptrons and calibration.

A module returns scores in double precision: for classes the logarithms of probabilities up to a constant in each row,
so that their softmax is what the head predicts, for labels log-odds, for numbers the numbers. Probabilities close to 0
and 1 keep their gradients in this form.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import StackingClassifier
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, SGDClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from sklearn.svm import SVC, SVR
from torch import Tensor, nn
from torch.nn import functional

from featx.errors import UnsuitedError
from featx.robustness.support_vectors import KernelMachine, PairScores
from featx.tables.ids import Kind

LINEAR_MODELS = (LogisticRegression, LinearDiscriminantAnalysis, Ridge, RidgeClassifier, SGDClassifier)
# scikit-learn adds this to a probability before it takes the logarithm.
LOG_EPSILON = 1e-12
# Smallest probability whose logarithm is taken; isotonic regression returns 0 and 1.
MIN_PROBABILITY = 1e-12


def make_differentiable(model: Any, kind: Kind) -> nn.Module:
    """Return a fitted Pipeline as a module from (b, d) features to (b, k) scores, in double precision.

    Parameters
    ----------
    model
        Pipeline of a head, as ``model.joblib`` holds it.
    kind
        Kind of its target.

    Raises
    ------
    UnsuitedError
        The head has no gradient, such as trees or nearest neighbours.
    """
    *scaling, (_, estimator) = model.steps
    return nn.Sequential(*(_scaler(step) for _, step in scaling), _estimator(estimator, kind)).double()


class _Affine(nn.Module):
    """The map ``x @ weights + offsets``."""

    weights: Tensor
    offsets: Tensor

    def __init__(self, weights: NDArray[Any], offsets: NDArray[Any]) -> None:
        super().__init__()
        self.register_buffer("weights", torch.as_tensor(np.array(weights, dtype=np.float64)))
        self.register_buffer("offsets", torch.as_tensor(np.array(offsets, dtype=np.float64)))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weights + self.offsets


class _Scale(nn.Module):
    """The map ``x * factors + offsets``, column by column."""

    factors: Tensor
    offsets: Tensor

    def __init__(self, factors: NDArray[Any] | float, offsets: NDArray[Any] | float) -> None:
        super().__init__()
        self.register_buffer("factors", torch.as_tensor(np.array(factors, dtype=np.float64)))
        self.register_buffer("offsets", torch.as_tensor(np.array(offsets, dtype=np.float64)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factors + self.offsets


class _UnitLength(nn.Module):
    """Rows divided by their Euclidean length; a row of zeros stays."""

    def forward(self, x: Tensor) -> Tensor:
        length = x.norm(dim=1, keepdim=True)
        return x / torch.where(length > 0, length, 1)


class _TwoClasses(nn.Module):
    """Scores of two classes from the (b, 1) log-odds of the second one."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(x), x], dim=1)


class _OneAgainstRest(nn.Module):
    """Scores of classes whose probabilities are sigmoids of log-odds, divided by their sum."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.logsigmoid(x)


class _LogOdds(nn.Module):
    """Log-odds of the second of two classes from their scores."""

    def forward(self, scores: Tensor) -> Tensor:
        return scores[:, 1:] - scores[:, :1]


class _ConcatenatedOutputs(nn.Module):
    """The outputs of several modules for the same input, side by side."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.parts], dim=1)


class _Isotonic(nn.Module):
    """Scores of two classes, or one column of log-probabilities, by linear interpolation between knots."""

    knots: Tensor
    values: Tensor

    def __init__(self, calibrator: IsotonicRegression) -> None:
        super().__init__()
        self.register_buffer("knots", torch.as_tensor(np.asarray(calibrator.X_thresholds_, dtype=np.float64)))
        self.register_buffer("values", torch.as_tensor(np.asarray(calibrator.y_thresholds_, dtype=np.float64)))

    def forward(self, x: Tensor) -> Tensor:
        if len(self.knots) == 1:
            return self.values.expand_as(x)
        clipped_x = x.clamp(float(self.knots[0]), float(self.knots[-1]))
        segment = torch.searchsorted(self.knots[1:-1].contiguous(), clipped_x.detach().contiguous(), right=True)
        slopes = self.values.diff() / self.knots.diff()
        return self.values[segment] + slopes[segment] * (clipped_x - self.knots[segment])


class _ClassProbabilities(nn.Module):
    """Scores of classes from probabilities that are not normalised, or of two classes from that of the second."""

    def forward(self, proba: Tensor) -> Tensor:
        if proba.shape[1] == 1:
            proba = torch.cat([1 - proba, proba], dim=1)
        is_zero = proba.sum(dim=1, keepdim=True) == 0
        return torch.where(is_zero, 1.0, proba).clamp(min=MIN_PROBABILITY).log()


class _Columns(nn.Module):
    """Each column through a module of its own."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        columns = torch.split(x, 1, dim=1)
        return torch.cat([part(column) for part, column in zip(self.parts, columns, strict=True)], dim=1)


class _LogProbabilities(nn.Module):
    """Logarithms of probabilities plus a small number, as temperature scaling takes them."""

    def forward(self, scores: Tensor) -> Tensor:
        return (scores.softmax(dim=1) + LOG_EPSILON).log()


def _scaler(step: Any) -> nn.Module:
    """Return a scaling step."""
    if isinstance(step, FunctionTransformer):
        # Heads use it only as the identity.
        return nn.Identity()
    if isinstance(step, Pipeline):
        return nn.Sequential(*(_scaler(part) for _, part in step.steps))
    if isinstance(step, Normalizer):
        return _UnitLength()
    if isinstance(step, StandardScaler):
        return _Scale(1 / step.scale_, -step.mean_ / step.scale_)
    if isinstance(step, PCA):
        weights = step.components_.T / (np.sqrt(step.explained_variance_) if step.whiten else 1)
        return _Affine(weights, -step.mean_ @ weights)
    raise UnsuitedError(f"the scaling {type(step).__name__} has no gradient here")


def _estimator(estimator: Any, kind: Kind) -> nn.Module:
    """Return the last step of a Pipeline."""
    if isinstance(estimator, MultiOutputClassifier):
        return _ConcatenatedOutputs([nn.Sequential(_classifier(label), _LogOdds()) for label in estimator.estimators_])
    if isinstance(estimator, MultiOutputRegressor):
        return _ConcatenatedOutputs([_estimator(number, kind) for number in estimator.estimators_])
    if isinstance(estimator, TransformedTargetRegressor):
        scaler = estimator.transformer_
        return nn.Sequential(_estimator(estimator.regressor_, kind), _Scale(scaler.scale_, scaler.mean_))
    return _decisions(estimator) if kind != "classes" else _classifier(estimator)


def _classifier(estimator: Any) -> nn.Module:
    """Return a classifier of one target: (b, d) features to (b, k) scores."""
    if isinstance(estimator, Pipeline):
        return _with_class_weights(estimator)
    if isinstance(estimator, CalibratedClassifierCV):
        (inner,) = estimator.calibrated_classifiers_
        return _calibrated(inner)
    if isinstance(estimator, StackingClassifier):
        return PairScores(estimator.estimators_[0])
    decisions = _decisions(estimator)
    if len(estimator.classes_) == 2:
        return nn.Sequential(decisions, _TwoClasses())
    is_one_against_rest = isinstance(estimator, SGDClassifier)
    return nn.Sequential(decisions, _OneAgainstRest()) if is_one_against_rest else decisions


def _decisions(estimator: Any) -> nn.Module:
    """Return the decision values of a classifier, one column for two classes, or the numbers of a regressor."""
    if isinstance(estimator, LINEAR_MODELS):
        coef = np.atleast_2d(estimator.coef_)
        return _Affine(coef.T, np.broadcast_to(estimator.intercept_, len(coef)))
    if isinstance(estimator, SVC) and len(estimator.classes_) > 2:
        raise UnsuitedError("its votes of pairs of classes have no gradient; run 'featx fit --force' to fit it again")
    if isinstance(estimator, SVC | SVR):
        return KernelMachine(estimator)
    if isinstance(estimator, MLPClassifier | MLPRegressor):
        layers: list[nn.Module] = []
        for weights, offsets in zip(estimator.coefs_, estimator.intercepts_, strict=True):
            layers += [_Affine(weights, offsets), nn.ReLU()]
        return nn.Sequential(*layers[:-1])
    raise UnsuitedError(
        f"{type(estimator).__name__} has no gradient; white-box attacks need a linear model, a kernel machine, "
        "a perceptron or a network: attack it by 'transfer' and 'square'"
    )


def _with_class_weights(model: Pipeline) -> nn.Module:
    """Return a Pipeline of `featx.heads.decisions` without its decision rule, which the caller applies."""
    (_, voting), *steps = model.steps
    inner = _classifier(voting.estimators_[0])
    divisors = [step.scale_ for name, step in steps if name == "prior"]
    return nn.Sequential(inner, *(_Scale(1.0, -np.log(divisor)) for divisor in divisors))


def _calibrated(inner: Any) -> nn.Module:
    """Return a calibrated classifier."""
    n_classes = len(inner.classes)
    if inner.method == "temperature":
        return nn.Sequential(*_temperature_inputs(inner, n_classes), _Scale(float(inner.calibrators[0].beta_), 0.0))
    scores = _calibration_scores(inner.estimator)
    if isinstance(inner.calibrators[0], IsotonicRegression):
        return nn.Sequential(scores, _Columns(list(map(_Isotonic, inner.calibrators))), _ClassProbabilities())
    slopes = np.array([calibrator.a_ for calibrator in inner.calibrators])
    offsets = np.array([calibrator.b_ for calibrator in inner.calibrators])
    return nn.Sequential(scores, _Scale(-slopes, -offsets), _TwoClasses() if n_classes == 2 else _OneAgainstRest())


def _calibration_scores(estimator: Any) -> nn.Module:
    """Return the input of calibration: decision values or probabilities, one column for two classes."""
    if hasattr(estimator, "decision_function") and not isinstance(estimator, Pipeline):
        return _decisions(estimator)
    proba = nn.Sequential(_classifier(estimator), nn.Softmax(dim=1))
    return nn.Sequential(proba, _SecondClass()) if len(estimator.classes_) == 2 else proba


class _SecondClass(nn.Module):
    """The second of two columns."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 1:]


class _Mirrored(nn.Module):
    """A column beside its negative, negative first."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([-x, x], dim=1)


def _temperature_inputs(inner: Any, n_classes: int) -> list[nn.Module]:
    if not hasattr(inner.estimator, "decision_function") or isinstance(inner.estimator, Pipeline):
        return [_classifier(inner.estimator), _LogProbabilities()]
    return [_decisions(inner.estimator), *([_Mirrored()] if n_classes == 2 else [])]
