"""Votes over finished runs, written down."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from featx.registry import VOTES
from featx.specs.base import Spec, known_name
from featx.specs.head import Metric

DEFAULT_VOTES = ("majority", "soft", "weighted", "greedy")


class EnsembleSpec(Spec):
    """Votes to hold over finished runs.

    Attributes
    ----------
    methods
        Names of ``featx.votes``; by default those of `DEFAULT_VOTES` that can answer the target.
    members
        Names of runs, or how they begin; all finished heads and networks by default.
    metric
        The score that chooses between runs, weighs members and selects them; the target's own by default.
    stacker
        What ``stacking`` learns with: ``logistic``, ``ridge`` or ``xgboost``; by default ``logistic``, and ``ridge`` of
        numbers.
    folds, seed
        Of the cross-fitting by which a vote that learns is scored.
    """

    added_later: ClassVar[Mapping[str, object]] = {"stacker": None}

    methods: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    members: tuple[str, ...] | None = None
    metric: Metric | None = None
    stacker: Literal["logistic", "ridge", "xgboost"] | None = None
    folds: Annotated[int, Field(ge=2)] = 5
    seed: int = 0

    @field_validator("methods")
    @classmethod
    def _methods_are_known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if names is None else tuple(known_name(VOTES, name) for name in names)
