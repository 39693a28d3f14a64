"""Spec of the evaluation of finished runs on corrupted images."""

from typing import Annotated

from pydantic import Field, field_validator

from featx.registry import CORRUPTIONS
from featx.specs.base import Count, Spec, check_registered

# Names of groups of kinds (`featx.robustness.corruptions.corruption.expand_kinds`).
GROUPS_OF_KINDS = ("noise", "blur", "weather", "light", "compression", "geometry", "probe", "imagenet-c")
SEVERITIES = (1, 2, 3, 4, 5)
Severity = Annotated[int, Field(ge=SEVERITIES[0], le=SEVERITIES[-1])]


class CorruptionSpec(Spec):
    """The section ``[corruption]`` of a recipe: how runs are evaluated on corrupted images.

    Attributes
    ----------
    kinds
        Kinds of corruptions and probes, or groups of them: ``noise``, ``blur``, ``weather``, ``light``,
        ``compression``, ``geometry``, ``probe``, or ``imagenet-c`` for the 15 kinds of its mean corruption error. All
        kinds by default.
    severities
        Severities 1 (weakest) to 5; probes have their own.
    images
        Number of images, a sample in which each class keeps its share.
    reference
        Run that the mean corruption error is relative to, or the beginning of its name; without one there is no such
        error.
    seed
        Seed of the sample.
    """

    kinds: tuple[str, ...] = ()
    severities: Annotated[tuple[Severity, ...], Field(min_length=1)] = SEVERITIES
    images: Count = 100
    reference: str | None = None
    seed: int = 0

    @field_validator("kinds")
    @classmethod
    def _check_kinds(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(kind if kind in GROUPS_OF_KINDS else check_registered(CORRUPTIONS, kind) for kind in kinds)

    @field_validator("severities")
    @classmethod
    def _sort_severities(cls, severities: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(severities)))
