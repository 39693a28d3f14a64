"""Random changes of training images; equal seed numbers give equal images."""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from featx.specs.finetuning import AugmentSpec

if TYPE_CHECKING:
    from torchvision.transforms import v2


@cache
def _transforms(spec: AugmentSpec) -> "v2.Compose":
    """Return torchvision's transforms for a spec."""
    # Torchvision takes seconds to import.
    from torchvision.transforms import v2

    transforms: list[v2.Transform] = []
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
    return np.asarray(channels_first.permute(1, 2, 0).numpy())
