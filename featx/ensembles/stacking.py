"""Stacking: a small meta-learner is fitted to the members' outputs and stored as plain numbers.

References
----------
.. [1] D. H. Wolpert, Stacked generalization, Neural Networks 1992.
.. [2] K. M. Ting, I. H. Witten, Issues in stacked generalization, JAIR 1999.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.preprocessing import StandardScaler

from featx.ensembles.combiners import Combiner, EnsembleMethod, MemberOutputs
from featx.errors import DataError, UnsuitedError
from featx.metrics.score_kinds import Outputs
from featx.specs.base import Spec
from featx.specs.ensembling import EnsembleSpec
from featx.tables.ids import Floats
from featx.tables.target_values import TARGET_KINDS, ClassTargets, LabelTargets, NumberTargets, TargetValues

Features = Floats
# Probabilities are clipped to this distance from 0 and 1; log-odds beyond it would claim more than members can know.
PROBABILITY_MARGIN = 1e-3
# C of the logistic regression, for features of variance 1.
LOGISTIC_C = 0.1
# Ridge penalties to choose from by leave-one-out validation.
RIDGE_ALPHAS = tuple(np.logspace(-2, 4, 7).tolist())
XGBOOST_PARAMS: dict[str, Any] = {"max_depth": 2, "eta": 0.1, "min_child_weight": 1.0, "nthread": 1}
N_BOOSTING_ROUNDS = 50


class LinearModel(Spec):
    """The linear model ``x @ coef.T + intercept``.

    Attributes
    ----------
    coef
        (k, f) coefficients for k outputs from f features.
    intercept
        (k,) intercepts.
    """

    coef: tuple[tuple[float, ...], ...]
    intercept: tuple[float, ...]

    def __call__(self, x: Features) -> Outputs:
        """Return the (n, k) outputs for (n, f) features."""
        return np.asarray(x @ np.array(self.coef).T + np.array(self.intercept))

    @classmethod
    def of(cls, scaler: StandardScaler, coef: NDArray[Any], intercept: NDArray[Any]) -> "LinearModel":
        """Return the model of unscaled features from one of scaled features."""
        coef = coef / scaler.scale_
        return cls(coef=tuple(map(tuple, coef.tolist())), intercept=tuple((intercept - coef @ scaler.mean_).tolist()))


class BoostedTrees(Spec):
    """Boosted trees of XGBoost.

    Attributes
    ----------
    model
        The booster in XGBoost's JSON format.
    """

    model: str

    def __call__(self, x: Features) -> Outputs:
        """Return the (n, k) margins for (n, f) features."""
        from xgboost import Booster, DMatrix

        booster = Booster({"nthread": 1})
        booster.load_model(bytearray(self.model.encode()))
        return np.asarray(booster.predict(DMatrix(x), output_margin=True), dtype=np.float64).reshape(len(x), -1)


class Stack(Combiner):
    """A fitted meta-learner [1]_.

    Attributes
    ----------
    stacker
        Name of the meta-learner.
    names
        Names of the classes, labels or numbers, in the order of the columns in the fit.
    learnt
        One model for all classes, or one for each label or number.
    """

    stacker: Literal["logistic", "ridge", "xgboost"]
    names: tuple[str, ...]
    learnt: tuple[LinearModel | BoostedTrees, ...]

    def outputs(self, members: MemberOutputs) -> Outputs:
        """Return the (n, k) outputs of the meta-learner."""
        inputs = features(members.ordered(self.names), self.stacker)
        raw = np.hstack([model(x) for model, x in zip(self.learnt, inputs, strict=True)])
        outputs = self._to_outputs(TARGET_KINDS[members.kind], raw)
        return outputs[:, [self.names.index(name) for name in members.names]]

    def _to_outputs(self, kind: type[TargetValues], raw: Outputs) -> Outputs:
        """Return the models' raw outputs as probabilities, or unchanged for numbers."""
        return kind.normalise(_clip(kind, raw)) if self.stacker == "ridge" else kind.from_logits(raw)


def _clip(kind: type[TargetValues], outputs: Outputs) -> Outputs:
    """Return probabilities at a distance from 0 and 1, or numbers as they are."""
    return outputs if kind is NumberTargets else outputs.clip(PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)


def features(members: MemberOutputs, stacker: str) -> list[Features]:
    """Return the (n, f) features of each model: of the one for all classes, or of one for each label or number.

    Features of classes are centred log-probabilities [2]_, of labels log-odds, for ridge the probabilities themselves;
    features of numbers are the numbers. The model of a label or number gets the members' outputs for it alone.
    """
    kind = TARGET_KINDS[members.kind]
    values = _clip(kind, members.outputs)
    if kind is ClassTargets:
        logs = np.log(values)
        return [np.hstack(list(values if stacker == "ridge" else logs - logs.mean(axis=2, keepdims=True)))]
    if kind is LabelTargets and stacker != "ridge":
        values = logit(values)
    return [np.ascontiguousarray(column.T) for column in np.moveaxis(values, 2, 0)]


def fit_stack(members: MemberOutputs, targets: TargetValues, spec: EnsembleSpec) -> Combiner:
    """Return a meta-learner fitted to the members' outputs.

    Raises
    ------
    DataError
        A class or label does not occur in the rows, or all rows have a label.
    UnsuitedError
        The meta-learner cannot predict this kind of target.
    """
    stacker = spec.stacker or ("ridge" if targets.kind == "numbers" else "logistic")
    if (stacker, targets.kind) == ("logistic", "numbers"):
        raise UnsuitedError("stacker 'logistic' predicts classes and labels, found numbers; use 'ridge' or 'xgboost'")
    _check_all_occur(targets)
    fit = {"logistic": _fit_logistic, "ridge": _fit_ridge, "xgboost": _fit_xgboost}[stacker]
    models = tuple(fit(data) for data in _meta_features(members.ordered(targets.names), targets, stacker))
    return Stack(stacker=stacker, names=targets.names, learnt=models)


def _check_all_occur(targets: TargetValues) -> None:
    n = len(targets)
    for name, count in targets.counts.items():
        if count in {0, n}:
            raise DataError(
                f"stacking cannot learn {targets.noun} {name!r}: {'all' if count else 'none'} of the {n} training rows "
                "have it; put more rows in val, or use another method"
            )


@dataclass(frozen=True)
class MetaFeatures:
    """Training data of one model of the meta-learner.

    Attributes
    ----------
    x
        (n, f) features.
    y
        (n,) class codes, labels in {0, 1}, or numbers.
    weights
        (n,) weights of the rows; None if all rows weigh the same.
    n_classes
        Number of classes; 1 for a label, 0 for a number.
    """

    x: Features
    y: NDArray[Any]
    weights: Floats | None
    n_classes: int


def _meta_features(members: MemberOutputs, targets: TargetValues, stacker: str) -> list[MetaFeatures]:
    """Return the training data of each model; a row with soft labels is repeated for each class, weighted by it."""
    inputs = features(members, stacker)
    if targets.kind != "classes":
        n_classes = 1 if targets.kind == "labels" else 0
        pairs = zip(inputs, targets.columns, strict=True)
        return [MetaFeatures(x, column, targets.weights, n_classes) for x, column in pairs]
    (x,) = inputs
    if targets.shares is None:
        return [MetaFeatures(x, targets.y, targets.weights, targets.n_outputs)]
    rows, codes = np.nonzero(targets.shares)
    weights = targets.shares[rows, codes] * targets.row_weights[rows]
    return [MetaFeatures(x[rows], codes, weights, targets.n_outputs)]


def _fit_logistic(data: MetaFeatures) -> LinearModel:
    scaler = StandardScaler().fit(data.x)
    model = LogisticRegression(C=LOGISTIC_C, max_iter=1000)
    model.fit(scaler.transform(data.x), data.y, sample_weight=data.weights)
    coef, intercept = model.coef_, model.intercept_
    if data.n_classes == 2:
        # With two classes, scikit-learn has coefficients of the second class only.
        coef, intercept = np.vstack([np.zeros_like(coef), coef]), np.append(0.0, intercept)
    return LinearModel.of(scaler, coef, intercept)


def _fit_ridge(data: MetaFeatures) -> LinearModel:
    scaler = StandardScaler().fit(data.x)
    y = np.eye(data.n_classes)[data.y] if data.n_classes > 1 else data.y
    model = RidgeCV(RIDGE_ALPHAS).fit(scaler.transform(data.x), y, sample_weight=data.weights)
    return LinearModel.of(scaler, np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_))


def _fit_xgboost(data: MetaFeatures) -> BoostedTrees:
    import xgboost

    objectives: dict[int, dict[str, Any]]
    objectives = {0: {"objective": "reg:squarederror"}, 1: {"objective": "binary:logistic"}}
    multiclass = {"objective": "multi:softprob", "num_class": data.n_classes}
    matrix = xgboost.DMatrix(data.x, data.y, weight=data.weights)
    booster = xgboost.train(XGBOOST_PARAMS | objectives.get(data.n_classes, multiclass), matrix, N_BOOSTING_ROUNDS)
    return BoostedTrees(model=booster.save_raw("json").decode())


stacking = EnsembleMethod(fit_stack, Stack)
