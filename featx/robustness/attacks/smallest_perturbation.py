"""The attack of Carlini and Wagner: the smallest Euclidean perturbation that changes the prediction.

References
----------
.. [1] N. Carlini, D. Wagner, Towards evaluating the robustness of neural networks, IEEE S&P 2017.
"""

import math

import torch
from torch import Tensor

from featx.robustness.attacks.attacked_images import GRADIENT_COST, AttackedImages, is_wrong, l2_norms, margin
from featx.specs.attacking import AttackSpec

# Pixels of 0 and 1 have no inverse of the hyperbolic tangent.
MAX_ABS_TANH = 1 - 1e-6
FIRST_WEIGHT, MAX_WEIGHT = 1e-2, 1e10
# Number of weights that are tried at least: one weight leaves most images whose margin it does not outweigh.
MIN_WEIGHTS = 5
# Length of a step of the optimiser for each number, and at most for an image: successful perturbations are not longer
# in images of more pixels.
LEARNING_RATE, MAX_STEP = 1e-2, 0.5


def cw(images: AttackedImages, spec: AttackSpec) -> Tensor:
    """Return the images with the smallest perturbation that changes the prediction, the original if there is none [1]_.

    The weight of the margin against the length is searched by bisection for each image: `spec.restarts` weights, and at
    least `MIN_WEIGHTS`. The limit `eps` is not used: the caller counts the perturbations below any limit.
    """
    n = len(images.pixels)
    best_pixels, best_norms = images.pixels.clone(), images.pixels.new_full((n,), torch.inf)
    with torch.no_grad():
        best_norms[is_wrong(images.scores(images.pixels), images.codes)] = 0.0
    low = images.pixels.new_zeros(n)
    high = images.pixels.new_full((n,), MAX_WEIGHT)
    weight = images.pixels.new_full((n,), FIRST_WEIGHT)
    for _ in range(n_weights(spec)):
        is_successful, pixels, norms = _descend(images, spec, weight)
        is_better = norms < best_norms
        best_pixels[is_better], best_norms[is_better] = pixels[is_better], norms[is_better]
        high = torch.where(is_successful, torch.minimum(high, weight), high)
        low = torch.where(is_successful, low, torch.maximum(low, weight))
        weight = torch.where(high < MAX_WEIGHT, (low + high) / 2, 10 * weight)
    return best_pixels


def n_weights(spec: AttackSpec) -> int:
    """Return the number of weights that are tried for each image."""
    return max(MIN_WEIGHTS, spec.restarts)


def _descend(images: AttackedImages, spec: AttackSpec, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return whether each prediction was changed, and the smallest perturbation that changed it with its norm."""
    variable = torch.atanh((2 * images.pixels - 1) * MAX_ABS_TANH).requires_grad_()
    step = min(LEARNING_RATE, MAX_STEP / math.sqrt(images.pixels[0].numel()))
    optimiser = torch.optim.Adam([variable], lr=step)
    best_pixels, best_norms = images.pixels.clone(), torch.full_like(weight, torch.inf)
    for _ in range(spec.steps):
        pixels = (variable.tanh() + 1) / 2
        scores = images.scores(pixels, cost=GRADIENT_COST)
        squared_norms = ((pixels - images.pixels) ** 2).flatten(1).sum(1)
        shortfall = (-margin(scores, images)).clamp(min=0).to(squared_norms)
        (variable.grad,) = torch.autograd.grad((squared_norms + weight * shortfall).sum(), variable)
        optimiser.step()
        with torch.no_grad():
            norms = l2_norms(pixels - images.pixels)
            is_better = is_wrong(scores, images.codes) & (norms < best_norms)
            best_pixels[is_better], best_norms[is_better] = pixels[is_better], norms[is_better]
    return torch.isfinite(best_norms), best_pixels, best_norms
