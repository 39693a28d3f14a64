"""Spec of the evaluation of finished runs on corrupted images, and names of groups of kinds."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, field_validator

from featx.registry import CORRUPTIONS, suggest_names
from featx.specs.base import Count, Seed, Spec

KIND_FAMILIES = ("noise", "blur", "weather", "light", "compression", "geometry", "probe")
# Probes are no damage: they are reported on their own, and not part of the mean corruption error.
PROBE = "probe"
IMAGENET_C = "imagenet-c"
# The 15 kinds over which ImageNet-C averages.
IMAGENET_C_KINDS = frozenset(
    {
        *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
        *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    }
)
GROUPS_OF_KINDS = (*KIND_FAMILIES, IMAGENET_C)
SEVERITIES = (1, 2, 3, 4, 5)
Severity = Annotated[int, Field(ge=SEVERITIES[0], le=SEVERITIES[-1])]


def check_kinds(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of kinds and of groups if all of them exist.

    Raises
    ------
    ValueError
        A name is neither; pydantic reports the message for the key that holds the name.
    """
    valid_names = [*CORRUPTIONS.names(), *GROUPS_OF_KINDS]
    if unknown_names := [name for name in names if name not in valid_names]:
        raise ValueError(
            f"no corruption is called {unknown_names[0]!r}; "
            f"{suggest_names(unknown_names[0], valid_names, len(valid_names))}"
        )
    return names


def kinds_in(names: Iterable[str]) -> tuple[str, ...]:
    """Return the kinds that names of kinds and of groups mean, by family, then by name; all kinds for no name.

    The kinds are loaded, since they know their families.
    """
    selected_names = set(names)
    families = {name: CORRUPTIONS.get(name).family for name in CORRUPTIONS.names()}
    groups = {
        name: {name, family, *([IMAGENET_C] if name in IMAGENET_C_KINDS else [])} for name, family in families.items()
    }
    ordered_names = sorted(families, key=lambda name: (KIND_FAMILIES.index(families[name]), name))
    return tuple(name for name in ordered_names if not selected_names or groups[name] & selected_names)


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
    seed: Seed = 0

    @field_validator("kinds")
    @classmethod
    def _check_kinds(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        return check_kinds(kinds)

    @field_validator("severities")
    @classmethod
    def _sort_severities(cls, severities: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(severities)))
