"""Spec of the comparison of finished runs."""

from typing import Annotated

from pydantic import Field

from featx.specs.base import Spec


class EvaluationSpec(Spec):
    """The section ``[evaluation]`` of a recipe.

    Attributes
    ----------
    margin
        Largest difference of the selection score without practical consequence, in units of the score. By default .02
        for scores up to 1, and 5 % of the chosen run's value for losses and errors.
    """

    margin: Annotated[float, Field(gt=0)] | None = None
