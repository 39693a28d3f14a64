"""Spec of an attack on finished runs: its method, the limit of the perturbation, and its effort."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from featx.specs.base import Spec

# Pixels are in [0, 1]; a limit above this is a number of levels in 0 … 255.
MAX_EPS_IN_PIXELS = 1.0


class AttackSpec(Spec):
    """An attack with the limit of its perturbations.

    Attributes
    ----------
    method
        Name registered in ``featx.attacks``.
    norm
        Norm of perturbations: ``linf``, the largest change of a pixel, or ``l2``, the root of the sum of squares.
    eps
        Largest norm, for pixels in [0, 1]: 8 levels of 255 are 0.0314.
    steps
        Steps of the gradient, or queries of an image.
    restarts
        Random starts, or bisections of ``cw``.
    seed
        Seed of all random choices.
    """

    method: str
    norm: Literal["linf", "l2"] = "linf"
    eps: Annotated[float, Field(ge=0)] = 8 / 255
    steps: Annotated[int, Field(ge=1)] = 20
    restarts: Annotated[int, Field(ge=1)] = 1
    seed: int = 0

    @field_validator("eps")
    @classmethod
    def _check_unit(cls, eps: float, info: object) -> float:
        norm = getattr(info, "data", {}).get("norm")
        if norm == "linf" and eps > MAX_EPS_IN_PIXELS:
            raise ValueError(
                f"found {eps:g} for pixels in [0, 1], which any image would exceed; if levels of 0 … 255 were meant, "
                f"write {eps / 255:.4g} ({eps:g}/255)"
            )
        return eps
