"""Spec of a head and of its hyperparameter search."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from featx.registry import HEADS
from featx.specs.base import LabelText, Seed, Spec, check_registered

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
Solver = Literal["sklearn", "minibatch"]
# Larger ratios of weights exceed the precision of the numbers that estimators compute with.
ClassWeight = Literal["none", "balanced"] | dict[str, Annotated[float, Field(ge=1e-9, le=1e9)]]


class HeadSpec(Spec):
    """One head and its hyperparameter search.

    Attributes
    ----------
    name
        Name listed by ``featx heads``.
    trials
        Maximum number of settings that are tried. 0 fits the estimator once with its own defaults and `params`, on
        features without scaling.
    timeout_s
        Seconds after which the search starts no new trial.
    params
        Fixed parameters of the estimator, by the names of its constructor (or ``scaling`` and ``components`` of the
        Pipeline's first step). They are not searched; the other parameters are.
    space
        Ranges that replace those of the search: ``[low, high]`` for numbers, a list of alternatives for choices.
    metric
        Score that cross-validation inside train maximises (losses and errors are minimised); by default ``accuracy``
        for classes, ``quadratic_kappa`` for ordered ones, ``average_precision`` for labels, ``mae`` for numbers.
    class_weight
        ``none``, ``balanced`` (equal total weight for each class), or a weight for each class name. Probabilities are
        calibrated without it; the model predicts the class with the largest product of probability and weight.
    group_weight
        Names of ``[groups]`` joined by ``+``: each combination of their values gets equal total weight in training, not
        in calibration. Images without a value belong to no group and have weight 1.
    embeddings
        ``all``: all embeddings of the recipe, concatenated; ``search``: the search also chooses which of them are
        used, alone or concatenated; otherwise those with this name (`EmbeddingRequest.is_called`). A list is a
        grid, one run each.
    calibration
        Calibration of probabilities: ``none`` (the head's own), ``platt``, ``isotonic`` or ``temperature``; by default
        (``auto``) the one with the smallest log loss, cross-fitted over the folds. With ``none`` and a val part the
        chosen setting is fitted once, on all train rows, and has no out-of-fold predictions.
    solver
        Solver of the estimator: ``sklearn``, or ``minibatch``, which fits `logreg` and a linear `svm` by stochastic
        gradient descent.
    memory_gb
        Size in GB of the train rows' vectors above which they stay in the store: `logreg`, a linear `svm` (by
        minibatches) and `xgboost` then learn classes from them in passes, and their setting is searched on a sample. No
        limit by default.
    rule
        ``best``: the setting with the best mean over the folds; ``one_se``: the simplest setting within one standard
        error of it.
    warm_start
        Whether the search starts with the best setting of the last finished search for this head and target.
    nested
        Number of outer folds of nested cross-validation, which scores the whole search; 0 for none.
    folds
        Number of folds of the cross-validation.
    seed
        Seed of the folds, the search and the head.
    target
        Name of the only target that the head learns; by default all targets that it can learn.
    """

    name: str
    trials: Annotated[int, Field(ge=0)] = 20
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    space: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    metric: Metric | None = None
    class_weight: ClassWeight = "none"
    group_weight: str = "none"
    embeddings: str | Annotated[tuple[str, ...], Field(min_length=1)] = "all"
    calibration: Calibration = "auto"
    solver: Solver = "sklearn"
    memory_gb: Annotated[float, Field(gt=0)] | None = None
    rule: Literal["best", "one_se"] = "best"
    warm_start: bool = False
    nested: Annotated[int, Field(ge=0)] = 0
    folds: Annotated[int, Field(ge=2)] = 5
    seed: Seed = 0
    target: LabelText | None = None

    def identity(self) -> dict[str, Any]:
        """Return the fields that determine the head for a given target."""
        return {name: value for name, value in super().identity().items() if name != "target"}

    def largest_value(self, name: str) -> Any:
        """Return the largest value that `params` or `space` gives a parameter; 0 if neither names it."""
        return max((self.params[name],) if name in self.params else self.space.get(name, (0,)))

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        return check_registered(HEADS, name)

    def grid(self) -> "Iterator[HeadSpec]":
        """Yield one spec for each item of `embeddings`."""
        for name in (self.embeddings,) if isinstance(self.embeddings, str) else self.embeddings:
            yield self.model_copy(update={"embeddings": name})

    @field_validator("params")
    @classmethod
    def _check_params(cls, params: dict[str, Any]) -> dict[str, Any]:
        return {name: _checked_value(name, value) for name, value in params.items()}

    @field_validator("space")
    @classmethod
    def _check_space(cls, space: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        if empty_names := [name for name, values in space.items() if not values]:
            raise ValueError(f"{empty_names[0]}: found [], expected [low, high] or a list of alternatives")
        return {name: tuple(_checked_value(name, value) for value in values) for name, values in space.items()}

    @model_validator(mode="after")
    def _check_search(self) -> "HeadSpec":
        if repeated_names := sorted(self.params.keys() & self.space.keys()):
            raise ValueError(
                f"{repeated_names[0]!r} is in params and in space; fix it in params, or search it in space"
            )
        search_settings = {"space": bool(self.space), "embeddings = 'search'": self.embeddings == "search"}
        if self.trials == 0 and (unused_settings := [key for key, is_set in search_settings.items() if is_set]):
            raise ValueError(
                f"trials = 0 searches nothing, found {unused_settings[0]}; remove it, or set trials to 1 or more"
            )
        return self

    @field_validator("nested")
    @classmethod
    def _check_nested(cls, nested: int) -> int:
        if nested == 1:
            raise ValueError("expected 0 or two folds or more, found 1")
        return nested


def _checked_value(name: str, value: Any) -> Any:
    """Return a value of a parameter; lists become tuples.

    Raises
    ------
    ValueError
        The value is not finite, or neither a scalar nor a list of scalars.
    """
    if isinstance(value, list | tuple):
        return tuple(_checked_value(name, item) for item in value)
    if not isinstance(value, bool | int | float | str) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{name}: found {value!r}, expected a finite number, a text, true, false or a list of these")
    return value
