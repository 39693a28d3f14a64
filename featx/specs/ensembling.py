"""Spec of the ensembles that are built over finished runs."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from featx.registry import ENSEMBLE_METHODS
from featx.specs.base import LabelText, Seed, Spec, check_registered
from featx.specs.head import Metric

# Names of sections begin the names of folders.
SECTION_NAME = r"^\w[\w-]*$"
DEFAULT_METHODS = ("majority", "soft", "weighted", "greedy")
# Those that are not trained, so that few val rows are enough.
UNTRAINED_METHODS = ("majority", "soft")


class EnsembleSpec(Spec):
    """Ensembles to build over finished runs of one target, or of each target.

    Attributes
    ----------
    target
        Name of the only target whose runs are combined; by default all targets.
    name
        Beginning of the names of the resulting runs; by default they begin with the method.
    methods
        Names registered in ``featx.ensemble_methods``, ``[]`` for no ensembles; by default those of `DEFAULT_METHODS`
        that support the target.
    members
        Names of runs, or prefixes of names; by default all finished heads and networks.
    metric
        Score that ranks the runs of the target, and weights and selects members; by default the target's own. Sections
        of one target have the same.
    stacker
        Estimator of ``stacking``: ``logistic``, ``ridge`` or ``xgboost``; by default ``logistic``, and ``ridge`` for
        numbers.
    folds
        Number of folds of the cross-fitting by which trained ensembles are scored.
    seed
        Seed of this cross-fitting.
    """

    target: LabelText | None = None
    name: Annotated[str, Field(pattern=SECTION_NAME)] | None = None
    methods: tuple[str, ...] | None = None
    members: tuple[str, ...] | None = None
    metric: Metric | None = None
    stacker: Literal["logistic", "ridge", "xgboost"] | None = None
    folds: Annotated[int, Field(ge=2)] = 5
    seed: Seed = 0

    @field_validator("methods")
    @classmethod
    def _check_methods(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if names is None else tuple(check_registered(ENSEMBLE_METHODS, name) for name in names)
