"""A head and its search, written down."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from featx.registry import HEADS
from featx.specs.base import Count, Spec, known_name

Metric = Literal[
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "log_loss",
    "quadratic_kappa",
    "average_precision",
    "exact_match",
    "mae",
    "rmse",
    "r2",
    "pearson",
    "ccc",
]
Calibration = Literal["auto", "none", "platt", "isotonic", "temperature"]
Solver = Literal["sklearn", "intel", "minibatch"]
ClassWeight = Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0)]]


class HeadSpec(Spec):
    """One head and its search.

    Attributes
    ----------
    name
        A name from ``featx heads``.
    trials, timeout_s
        How many settings are tried, and for how long at most.
    metric
        What cross-validation inside train maximises (losses and errors are minimised); by default ``accuracy`` of
        classes, ``quadratic_kappa`` where they are ordered, ``average_precision`` of labels, ``mae`` of numbers.
    class_weight
        ``none``, ``balanced`` (each class weighs the same), or a weight for each class name. Probabilities are
        calibrated without it; the model decides for the class whose product of probability and weight is the largest.
    group_weight
        Names of ``[groups]`` joined by ``+``: each of their combinations weighs the same in learning, not in
        calibration.
    embeddings
        ``all``: what the recipe extracts stands side by side; ``search``: which of it, alone or side by side, is one
        more choice of the search; otherwise those that are called so (`EmbeddingRequest.is_called`). A list is a grid,
        one run each.
    calibration
        How outputs become probabilities: ``none`` (the head's own), ``platt``, ``isotonic`` or ``temperature``; by
        default (``auto``) what has the least log loss, cross-fitted over the folds.
    solver
        ``sklearn``; or ``intel`` (extra ``intel``), which fits `svm` in a part of the time where a search cannot keep
        its matrices, and in the end. What is written is scikit-learn's own all the same. ``minibatch`` fits `logreg`
        and a linear `svm` by stochastic gradient descent.
    memory_gb
        Of the train rows' vectors beyond which they stay in the store: `logreg`, a linear `svm` (by minibatches) and
        `xgboost` learn classes from them in passes, their setting searched on a sample. No bound by default.
    rule
        ``best``: the setting with the best mean over the folds; ``one_se``: the simplest within a standard error of it.
    warm
        Begin with the setting that the last finished search for this head and target found.
    nested
        Folds by which the whole search is scored from outside; 0 for none.
    folds
        Of the cross-validation.
    seed
        Of the folds, the search and the head.
    """

    added_later: ClassVar[Mapping[str, object]] = {
        "group_weight": "none",
        "embeddings": "all",
        "calibration": "auto",
        "solver": "sklearn",
        "memory_gb": None,
        "rule": "best",
        "warm": False,
        "nested": 0,
    }

    name: str
    trials: Count = 20
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    metric: Metric | None = None
    class_weight: ClassWeight = "none"
    group_weight: str = "none"
    embeddings: str | Annotated[tuple[str, ...], Field(min_length=1)] = "all"
    calibration: Calibration = "auto"
    solver: Solver = "sklearn"
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    rule: Literal["best", "one_se"] = "best"
    warm: bool = False
    nested: Annotated[int, Field(ge=0)] = 0
    folds: Annotated[int, Field(ge=2)] = 5
    seed: int = 0

    @field_validator("name")
    @classmethod
    def _head_is_known(cls, name: str) -> str:
        return known_name(HEADS, name)

    def grid(self) -> "Iterator[HeadSpec]":
        """Yield one spec for each item of `embeddings`."""
        for name in (self.embeddings,) if isinstance(self.embeddings, str) else self.embeddings:
            yield self.model_copy(update={"embeddings": name})

    @field_validator("nested")
    @classmethod
    def _one_fold_is_none(cls, nested: int) -> int:
        if nested == 1:
            raise ValueError("expected 0 or two folds or more, found 1")
        return nested
