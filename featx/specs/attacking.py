"""Specs of attacks on finished runs: one attack, and a section of a recipe, which is a grid of attacks."""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from featx.registry import ATTACKS
from featx.specs.base import LabelText, Seed, Spec, check_registered

Norm = Literal["linf", "l2"]
# Pixels are in [0, 1]; a limit above this is a number of levels in 0 … 255.
MAX_EPS_IN_PIXELS = 1.0
# Runs without gradient are searched by the Square attack within the limit of these.
DEFAULT_METHODS = ("fgsm", "pgd")
DEFAULT_EPS = 8 / 255
DEFAULT_STEPS, DEFAULT_QUERIES, DEFAULT_IMAGES = 20, 100, 32


def parse_fraction(value: Any) -> Any:
    """Return the value of a number or of a fraction such as ``8/255``; values that are not text stay as they are.

    Raises
    ------
    ValueError
        the text is neither.

    Examples
    --------
    >>> parse_fraction("1/4"), parse_fraction("0.03")
    (0.25, 0.03)
    """
    if not isinstance(value, str):
        return value
    numerator, slash, denominator = value.partition("/")
    try:
        fraction = float(numerator) / (float(denominator) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        fraction = math.nan
    if not math.isfinite(fraction):
        raise ValueError(f"found {value!r}, expected a number such as 0.03 or a fraction such as 8/255")
    return fraction


def check_patch_share(share: float) -> float:
    """Return the side of a patch as a share of the image's side; a patch larger than the image is refused."""
    if share > 1:
        raise ValueError(
            f"found {share:g}: a patch is not larger than the image; expected a share of its shorter side up to 1"
        )
    return share


Eps = Annotated[float, BeforeValidator(parse_fraction), Field(ge=0)]
PatchShare = Annotated[float, Field(gt=0), AfterValidator(check_patch_share)]


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
        Steps of the gradient.
    queries
        Queries of an image by the Square attack, alone and within ``standard``.
    restarts
        Random starts, or weights that ``cw`` tries, which are five at least.
    patch_share
        Side of the square of ``patch`` as a share of the shorter side of the image.
    seed
        Seed of all random choices.
    """

    method: str
    norm: Norm = "linf"
    eps: Eps = DEFAULT_EPS
    steps: Annotated[int, Field(ge=1)] = DEFAULT_STEPS
    queries: Annotated[int, Field(ge=1)] = DEFAULT_QUERIES
    restarts: Annotated[int, Field(ge=1)] = 1
    patch_share: PatchShare = 0.25
    seed: Seed = 0

    @field_validator("method")
    @classmethod
    def _check_method(cls, method: str) -> str:
        return check_registered(ATTACKS, method)

    @field_validator("eps")
    @classmethod
    def _check_unit(cls, eps: float, info: ValidationInfo) -> float:
        return check_unit(eps, [info.data.get("norm", "l2")])


def check_unit(eps: float, norms: list[str]) -> float:
    """Return a limit; one for ``linf`` that is a number of levels in 0 … 255 is refused."""
    if "linf" in norms and eps > MAX_EPS_IN_PIXELS:
        raise ValueError(
            f"found {eps:g} for pixels in [0, 1], which any image would exceed; if levels of 0 … 255 were meant, "
            f"write {eps / 255:.4g} ({eps:g}/255)"
        )
    return eps


class AttackSection(Spec):
    """An ``[[attack]]`` of a recipe: a grid of attacks, one for each method, norm and limit.

    A method takes the norms that it can limit; ``cw`` and ``patch`` have no limit and are made once.

    Attributes
    ----------
    methods
        Names registered in ``featx.attacks``.
    norms
        Norms of perturbations, ``linf`` and ``l2``; empty for the first one that each method can limit.
    eps
        Limits as numbers or as fractions such as ``"8/255"``, for pixels in [0, 1].
    target
        Name of the attacked target; needed if there are several.
    runs
        Names, short names or beginnings of names of the attacked runs; empty for all.
    images
        Number of images, a sample in which each class keeps its share.
    white_box
        Whether runs without gradient are refused; otherwise they are attacked by transfer and by ``square``.
    steps
        Steps of the gradient.
    queries
        Queries of an image by the Square attack, alone and within ``standard``.
    restarts
        Random starts, or weights that ``cw`` tries, which are five at least.
    patch_share
        Side of the square of ``patch`` as a share of the shorter side of the image.
    seed
        Seed of all random choices.
    """

    methods: Annotated[tuple[str, ...], Field(min_length=1)] = DEFAULT_METHODS
    norms: tuple[Norm, ...] = ()
    eps: Annotated[tuple[Eps, ...], Field(min_length=1)] = (DEFAULT_EPS,)
    target: LabelText | None = None
    runs: tuple[str, ...] = ()
    images: Annotated[int, Field(ge=1)] = DEFAULT_IMAGES
    white_box: bool = False
    steps: Annotated[int, Field(ge=1)] = DEFAULT_STEPS
    queries: Annotated[int, Field(ge=1)] = DEFAULT_QUERIES
    restarts: Annotated[int, Field(ge=1)] = 1
    patch_share: PatchShare = 0.25
    seed: Seed = 0

    @field_validator("methods")
    @classmethod
    def _check_methods(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_registered(ATTACKS, method) for method in methods)

    @field_validator("eps")
    @classmethod
    def _check_units(cls, limits: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if 0 in limits:
            raise ValueError("found 0, expected more: results have the accuracy without perturbation anyway")
        norms = list(info.data.get("norms", ())) or ["linf"]
        return tuple(check_unit(eps, norms) for eps in limits)

    @property
    def job(self) -> tuple[str | None, tuple[str, ...], int, int, bool]:
        """Target, runs, images, seed and white box: sections in which these are equal attack the same images."""
        return self.target, self.runs, self.images, self.seed, self.white_box
