"""Spec of an attack on finished runs: its method, the limit of the perturbation, and its effort."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from featx.registry import ATTACKS
from featx.specs.base import Spec, check_registered

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
        Steps of the gradient, or queries of an image for ``square``.
    n_queries
        Queries of an image by the Square attack within ``standard``.
    restarts
        Random starts, or bisections of ``cw``.
    patch_share
        Side of the square of ``patch`` as a share of the side of the image.
    seed
        Seed of all random choices.
    """

    method: str
    norm: Literal["linf", "l2"] = "linf"
    eps: Annotated[float, Field(ge=0)] = 8 / 255
    steps: Annotated[int, Field(ge=1)] = 20
    n_queries: Annotated[int, Field(ge=1)] = 500
    restarts: Annotated[int, Field(ge=1)] = 1
    patch_share: Annotated[float, Field(gt=0)] = 0.25
    seed: int = 0

    @field_validator("method")
    @classmethod
    def _check_method(cls, method: str) -> str:
        return check_registered(ATTACKS, method)

    @field_validator("patch_share")
    @classmethod
    def _check_patch(cls, share: float) -> float:
        if share > 1:
            raise ValueError(
                f"found {share:g}: a patch is not larger than the image; expected a share of its side up to 1"
            )
        return share

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
