"""How finished runs are compared."""

from typing import Annotated

from pydantic import Field

from featx.specs.base import Spec


class EvaluationSpec(Spec):
    """The section ``[evaluation]`` of a recipe.

    Attributes
    ----------
    margin
        Largest difference of the score that chooses which has no practical consequence, in units of the score. By
        default .02 of scores up to 1, and 5 % of the chosen run's value of losses and errors.
    """

    margin: Annotated[float, Field(gt=0)] | None = None
