"""Stacking: a small model learns from what the members say; what it learnt is kept as plain numbers.

References
----------
.. [1] D. H. Wolpert, Stacked generalization, Neural Networks 1992.
.. [2] K. M. Ting, I. H. Witten, Issues in stacked generalization, JAIR 1999.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.preprocessing import StandardScaler

from featx.ensembles.combiners import Combiner, MemberOutputs, Outputs, VotingMethod
from featx.errors import DataError, UnsuitedError
from featx.specs.base import Spec
from featx.specs.ensembling import EnsembleSpec
from featx.tables.target_values import TargetValues

Features = NDArray[np.float64]
EDGE = 1e-3  # probabilities are moved so far from 0 and 1: beyond it, log-odds say more than members know
STRENGTH = 0.1  # C of the logistic regression, on features of variance 1
ALPHAS = tuple(np.logspace(-2, 4, 7).tolist())  # of which ridge takes the best, each row left out once
TREES: dict[str, Any] = {"max_depth": 2, "eta": 0.1, "min_child_weight": 1.0, "nthread": 1}
ROUNDS = 50


class Linear(Spec):
    """``x @ coef.T + intercept``.

    Attributes
    ----------
    coef, intercept
        (k, f) and (k,) for k outputs from f features.
    """

    coef: tuple[tuple[float, ...], ...]
    intercept: tuple[float, ...]

    def __call__(self, x: Features) -> Outputs:
        """Return (n, k)."""
        return np.asarray(x @ np.array(self.coef).T + np.array(self.intercept))

    @classmethod
    def of(cls, scaler: StandardScaler, coef: NDArray[Any], intercept: NDArray[Any]) -> "Linear":
        """Take the scaling of the features into the coefficients."""
        coef = coef / scaler.scale_
        return cls(coef=tuple(map(tuple, coef.tolist())), intercept=tuple((intercept - coef @ scaler.mean_).tolist()))


class Trees(Spec):
    """Boosted trees, as XGBoost writes them in JSON."""

    model: str

    def __call__(self, x: Features) -> Outputs:
        """Return (n, k) margins."""
        from xgboost import Booster, DMatrix

        booster = Booster({"nthread": 1})
        booster.load_model(bytearray(self.model.encode()))
        return np.asarray(booster.predict(DMatrix(x), output_margin=True), dtype=np.float64).reshape(len(x), -1)


class Stack(Combiner):
    """What a meta-learner learnt [1]_.

    Attributes
    ----------
    stacker
        Its name.
    names
        The columns in the order in which it learnt them.
    learnt
        One model for all classes, or one for each label or number.
    """

    stacker: Literal["logistic", "ridge", "xgboost"]
    names: tuple[str, ...]
    learnt: tuple[Linear | Trees, ...]

    def outputs(self, ballots: MemberOutputs) -> Outputs:
        """See `Combiner`."""
        known = ballots.ordered(self.names)
        each = zip(self.learnt, features(known, self.stacker), strict=True)
        raw = np.hstack([learnt(x) for learnt, x in each])
        found = self._linked(ballots.kind, raw)
        return found[:, [self.names.index(name) for name in ballots.names]]

    def _linked(self, kind: str, raw: Outputs) -> Outputs:
        """Turn what the models say into probabilities, or leave it where it is numbers."""
        if kind == "numbers":
            return raw
        if self.stacker == "ridge":
            clipped = raw.clip(EDGE, 1 - EDGE)
            return clipped / clipped.sum(axis=1, keepdims=True) if kind == "classes" else clipped
        return np.asarray(softmax(raw, axis=1) if kind == "classes" else expit(raw))


def features(ballots: MemberOutputs, stacker: str) -> list[Features]:
    """Return what the models see: one (n, f) for all classes, or one for each label or number.

    Of classes the log of each probability less the mean log [2]_, of labels the log-odds, for ridge the probabilities
    themselves; of numbers these. A label's or number's model sees what members say of it alone.
    """
    said = ballots.outputs
    if ballots.kind != "numbers":
        said = said.clip(EDGE, 1 - EDGE)
        if stacker != "ridge":
            logs = np.log(said)
            said = logs - logs.mean(axis=2, keepdims=True) if ballots.kind == "classes" else logit(said)
    if ballots.kind == "classes":
        return [np.hstack(list(said))]
    return [np.ascontiguousarray(column.T) for column in np.moveaxis(said, 2, 0)]


def stack(ballots: MemberOutputs, facts: TargetValues, spec: EnsembleSpec) -> Combiner:
    """Learn how to combine the members.

    Raises
    ------
    DataError
        a class or label does not occur in the rows, or all of them have a label.
    UnsuitedError
        the meta-learner does not answer this kind of target.
    """
    stacker = spec.stacker or ("ridge" if facts.kind == "numbers" else "logistic")
    if (stacker, facts.kind) == ("logistic", "numbers"):
        raise UnsuitedError("stacker 'logistic' answers classes and labels, found numbers; say 'ridge' or 'xgboost'")
    _check_all_occur(facts)
    learn = {"logistic": _logistic, "ridge": _ridge, "xgboost": _xgboost}[stacker]
    learnt = tuple(learn(lesson) for lesson in _lessons(ballots.ordered(facts.names), facts, stacker))
    return Stack(stacker=stacker, names=facts.names, learnt=learnt)


def _check_all_occur(facts: TargetValues) -> None:
    if facts.kind == "numbers":
        return
    shares = facts.y.mean(0) if facts.kind == "labels" else np.bincount(facts.y, minlength=facts.n_outputs) / len(facts)
    what = "label" if facts.kind == "labels" else "class"
    for name, share in zip(facts.names, shares, strict=True):
        if share in {0, 1}:
            who = "none" if share == 0 else "each"
            raise DataError(
                f"stacking cannot learn {what} {name!r}: {who} of the {len(facts)} rows that teach has it; give val "
                "more rows, or vote by another method"
            )


@dataclass(frozen=True)
class MetaFeatures:
    """What one model learns: (n, f) features, what is known of them, how much each row counts, and of how many classes.

    Attributes
    ----------
    n_classes
        1 for whether an image has a label, 0 for a number.
    """

    x: Features
    y: NDArray[Any]
    weights: NDArray[np.float64] | None
    n_classes: int


def _lessons(ballots: MemberOutputs, facts: TargetValues, stacker: str) -> list[MetaFeatures]:
    """Return what each model learns; soft labels teach each class by its share."""
    seen = features(ballots, stacker)
    if facts.kind != "classes":
        n_classes = 1 if facts.kind == "labels" else 0
        each = zip(seen, facts.columns, strict=True)
        return [MetaFeatures(x, column, facts.weights, n_classes) for x, column in each]
    (x,) = seen
    if facts.shares is None:
        return [MetaFeatures(x, facts.y, facts.weights, facts.n_outputs)]
    own = np.ones(len(facts)) if facts.weights is None else facts.weights
    rows, codes = np.nonzero(facts.shares)
    return [MetaFeatures(x[rows], codes, facts.shares[rows, codes] * own[rows], facts.n_outputs)]


def _logistic(lesson: MetaFeatures) -> Linear:
    scaler = StandardScaler().fit(lesson.x)
    model = LogisticRegression(C=STRENGTH, max_iter=1000)
    model.fit(scaler.transform(lesson.x), lesson.y, sample_weight=lesson.weights)
    coef, intercept = model.coef_, model.intercept_
    if lesson.n_classes == 2:  # scikit-learn gives the second class's only
        coef, intercept = np.vstack([np.zeros_like(coef), coef]), np.append(0.0, intercept)
    return Linear.of(scaler, coef, intercept)


def _ridge(lesson: MetaFeatures) -> Linear:
    scaler = StandardScaler().fit(lesson.x)
    y = np.eye(lesson.n_classes)[lesson.y] if lesson.n_classes > 1 else lesson.y
    model = RidgeCV(ALPHAS).fit(scaler.transform(lesson.x), y, sample_weight=lesson.weights)
    return Linear.of(scaler, np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_))


def _xgboost(lesson: MetaFeatures) -> Trees:
    import xgboost

    objectives: dict[int, dict[str, Any]]
    objectives = {0: {"objective": "reg:squarederror"}, 1: {"objective": "binary:logistic"}}
    several = {"objective": "multi:softprob", "num_class": lesson.n_classes}
    rows = xgboost.DMatrix(lesson.x, lesson.y, weight=lesson.weights)
    grown = xgboost.train(TREES | objectives.get(lesson.n_classes, several), rows, ROUNDS)
    return Trees(model=grown.save_raw("json").decode())


stacking = VotingMethod(stack, Stack)
