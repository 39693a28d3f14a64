"""What happens at random to an image before it is learnt from; the same numbers give the same image."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms import v2

from featx.specs.finetuning import AugmentSpec


@cache
def _transforms(spec: AugmentSpec) -> v2.Compose:
    made: list[v2.Transform] = []
    if spec.flip:
        made.append(v2.RandomHorizontalFlip())
    if spec.rotation_deg or spec.shift:
        shift = (spec.shift, spec.shift) if spec.shift else None
        bilinear = v2.InterpolationMode.BILINEAR
        made.append(v2.RandomAffine(spec.rotation_deg, translate=shift, interpolation=bilinear))
    if spec.colour:
        made.append(v2.ColorJitter(spec.colour, spec.colour, spec.colour))
    if spec.randaugment:
        made.append(v2.RandAugment(spec.randaugment))
    return v2.Compose(made)


def augmented(pixels: NDArray[np.uint8], spec: AugmentSpec, chances: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an image, (h, w, 3), changed at random.

    Parameters
    ----------
    chances
        Numbers that stand for the dice: equal ones give an equal image.
    """
    seed = int(np.random.SeedSequence(chances).generate_state(1)[0])
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        found = _transforms(spec)(torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1))
    return np.asarray(found.permute(1, 2, 0).numpy())
