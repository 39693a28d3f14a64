"""Random changes of training images; equal seed numbers give equal images."""

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from featx.registry import CORRUPTIONS
from featx.specs.corrupting import kinds_in
from featx.specs.finetuning import AugmentSpec

if TYPE_CHECKING:
    from torchvision.transforms import v2

# Distinguishes the random numbers of corruptions from those of other uses of the same seed.
DAMAGE_STREAM = 1


@cache
def _transforms(spec: AugmentSpec) -> "v2.Compose":
    """Return torchvision's transforms for a spec."""
    # Torchvision takes seconds to import.
    from torchvision.transforms import v2

    transforms: list[v2.Transform] = [v2.Identity()]
    if spec.flip:
        transforms.append(v2.RandomHorizontalFlip())
    if spec.rotation_deg or spec.shift:
        shift = (spec.shift, spec.shift) if spec.shift else None
        bilinear = v2.InterpolationMode.BILINEAR
        transforms.append(v2.RandomAffine(spec.rotation_deg, translate=shift, interpolation=bilinear))
    if spec.colour:
        transforms.append(v2.ColorJitter(spec.colour, spec.colour, spec.colour))
    if spec.randaugment:
        transforms.append(v2.RandAugment(spec.randaugment))
    return v2.Compose(transforms)


def augment(pixels: NDArray[np.uint8], spec: AugmentSpec, seed_numbers: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a randomly changed copy of an image.

    Parameters
    ----------
    pixels
        (h, w, 3) pixels.
    spec
        The kinds and sizes of the changes.
    seed_numbers
        Seed of the random changes: equal numbers give an equal image.
    """
    seed = int(np.random.SeedSequence(seed_numbers).generate_state(1)[0])
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        channels_first = _transforms(spec)(torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1))
    augmented_pixels = np.asarray(channels_first.permute(1, 2, 0).numpy())
    return _damage(augmented_pixels, spec, np.random.default_rng([*seed_numbers, DAMAGE_STREAM]))


@cache
def _kinds(names: tuple[str, ...]) -> tuple[Any, ...]:
    """Return the kinds of corruptions (`featx.robustness.corruptions.corruption.Corruption`) that names mean."""
    return tuple(CORRUPTIONS.get(name) for name in kinds_in(names))


def _damage(pixels: NDArray[np.uint8], spec: AugmentSpec, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a copy of an image with a corruption of a random kind and severity, then with noise."""
    if spec.corruptions and rng.random() < spec.corruption_share:
        kinds = _kinds(spec.corruptions)
        corruption = kinds[rng.integers(len(kinds))]
        pixels = corruption.apply_to_values(pixels, int(rng.choice(corruption.severities)), rng)
    if not spec.noise:
        return pixels
    sigma = 255 * rng.uniform(0, spec.noise)
    return np.rint(np.clip(pixels + rng.normal(0, sigma, pixels.shape), 0, 255)).astype(np.uint8)
