"""Adversarial patches: one picture that changes predictions wherever it is placed, under rotation, scale and light.

References
----------
.. [1] T. Brown et al., Adversarial patch, arXiv:1712.09665, 2017.
.. [2] A. Athalye et al., Synthesizing robust adversarial examples, ICML 2018.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from featx.robustness.attacks.attacked_images import GRADIENT_COST, AttackedImages, wrong_log_odds
from featx.specs.attacking import AttackSpec

LEARNING_RATE = 0.05
# Ranges of the random placement: rotation in degrees, size relative to the patch, and factor of its brightness.
MAX_ROTATION, SIZES, LIGHTS = 25.0, (0.8, 1.2), (0.8, 1.2)


def patch(images: AttackedImages, spec: AttackSpec) -> Tensor:
    """Return all images with one square patch, learnt on these images over random placements, each placed at random.

    The side of the patch is `spec.patch_share` of the shorter side of the image. The limit `eps` and the norm are not
    used. The logarithm of the probability of a wrong prediction is increased. The placements that are returned were not
    used for learning.
    """
    side = max(1, round(spec.patch_share * min(images.pixels.shape[-2:])))
    patch_logits = torch.logit((images.random(1, 3, side, side) + 1) / 2, eps=0.05).requires_grad_()
    optimiser = torch.optim.Adam([patch_logits], lr=LEARNING_RATE)
    for _ in range(spec.steps):
        scores = images.scores(_place(images, patch_logits.sigmoid()), cost=GRADIENT_COST)
        loss = -functional.logsigmoid(wrong_log_odds(scores, images)).mean()
        (patch_logits.grad,) = torch.autograd.grad(loss, patch_logits)
        optimiser.step()
    with torch.no_grad():
        return _place(images, patch_logits.sigmoid())


def _place(images: AttackedImages, square: Tensor) -> Tensor:
    """Return the images with a (1, 3, s, s) patch, each placed, turned, scaled and lit at random."""
    b, _, height, width = images.pixels.shape
    size, light = (_uniform(images, b, *limits) for limits in (SIZES, LIGHTS))
    # Side of the patch as a share of the width and of the height.
    width_shares, height_shares = (size * square.shape[-1] / length for length in (width, height))
    angle = _uniform(images, b, -math.radians(MAX_ROTATION), math.radians(MAX_ROTATION))
    cosine, sine = angle.cos(), angle.sin()
    # Coordinates are in [-1, 1]; the turned patch stays within the image where it fits.
    reach = cosine + sine.abs()
    x, y = (_uniform(images, b, -1, 1) * (1 - share * reach).clamp(min=0) for share in (width_shares, height_shares))
    # `affine_grid` maps positions of the image to those of the patch, which stays a square in pixels.
    rows = [
        torch.stack(
            [cosine / width_shares, sine / height_shares, -(cosine * x / width_shares + sine * y / height_shares)], 1
        ),
        torch.stack(
            [-sine / width_shares, cosine / height_shares, sine * x / width_shares - cosine * y / height_shares], 1
        ),
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.pixels.shape), align_corners=False)
    lit_patch = (square * light[:, None, None, None]).clamp(0, 1)
    placed_patch = functional.grid_sample(lit_patch, grid, padding_mode="border", align_corners=False)
    is_inside = (grid.abs() <= 1).all(dim=3)[:, None]
    return torch.where(is_inside, placed_patch, images.pixels)


def _uniform(images: AttackedImages, n: int, low: float, high: float) -> Tensor:
    return low + (high - low) * (images.random(n) + 1) / 2
