"""Projected gradient steps with momentum and a step that adapts itself (APGD), on two losses.

References
----------
.. [1] F. Croce, M. Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
   attacks, ICML 2020.
"""

from dataclasses import replace

import torch
from torch import Tensor

from featx.robustness.attacks.attacked_images import AttackedImages, BestPerturbations, Loss, wrong_log_odds
from featx.specs.attacking import AttackSpec

# Share of the last displacement in a step.
MOMENTUM = 0.25
# Share of steps that must increase the loss, else the step is halved.
MIN_SUCCESS_SHARE = 0.75
# First and smallest distance between two checks of the step, and its decrease, as shares of all steps.
FIRST_CHECK, SMALLEST_CHECK, CHECK_DECREASE = 0.22, 0.06, 0.03
# Classes from which on the loss can be a ratio of differences of scores.
MIN_CLASSES_FOR_RATIO = 3
# Largest number of other classes that are targets, the most probable first.
MAX_TARGETS = 9
MIN_DIFFERENCE = 1e-12


def apgd(images: AttackedImages, spec: AttackSpec) -> Tensor:
    """Return the best images of APGD on the cross-entropy and, from three classes on, towards each other class [1]_."""
    best = BestPerturbations(images)
    for restart in range(spec.restarts):
        _ascend(images, spec, best, wrong_log_odds, images.random_start() if restart else images.pixels)
    n_classes = best.scores.shape[1]
    if n_classes < MIN_CLASSES_FOR_RATIO:
        return best.pixels
    with torch.no_grad():
        order = images.scores(images.pixels).scatter(1, images.codes[:, None], -torch.inf).argsort(1, descending=True)
    for rank in range(min(MAX_TARGETS, n_classes - 1)):
        if best.is_wrong.all():
            break
        _ascend(replace(images, targets=order[:, rank]), spec, best, targeted_ratio, images.random_start())
    return best.pixels


def targeted_ratio(scores: Tensor, images: AttackedImages) -> Tensor:
    """Return the targeted difference-of-logits ratio: (target - true) / (largest - mean of third and fourth) [1]_.

    It does not change if all scores are scaled, so that a head with large scores does not hide its gradient.
    """
    assert images.targets is not None
    sorted_scores = scores.sort(dim=1, descending=True).values
    # With three classes, the mean is the third score.
    lower = sorted_scores[:, 2:4].mean(dim=1)
    true, target = (scores.gather(1, columns[:, None])[:, 0] for columns in (images.codes, images.targets))
    return (target - true) / (sorted_scores[:, 0] - lower).clamp(min=MIN_DIFFERENCE)


def _check_numbers(steps: int) -> set[int]:
    """Return the numbers of the steps at which the length of a step is checked."""
    shares, distance = [0.0, FIRST_CHECK], FIRST_CHECK
    while shares[-1] < 1:
        distance = max(distance - CHECK_DECREASE, SMALLEST_CHECK)
        shares.append(shares[-1] + distance)
    return {int(share * steps) for share in shares[1:]}


def _ascend(images: AttackedImages, spec: AttackSpec, best: BestPerturbations, loss: Loss, start: Tensor) -> None:
    """Take the steps of one start and add all images to the best ones."""
    shape = (len(start), 1, 1, 1)
    pixels = previous = start
    step = torch.full(shape, 2 * images.eps, dtype=start.dtype, device=start.device)
    gradient, scores = images.gradient(pixels, loss)
    max_loss = loss(scores, images)
    max_loss_pixels, max_loss_gradient, max_loss_at_check = pixels, gradient, max_loss
    n_successes, last_check, last_value = torch.zeros_like(max_loss), 0, max_loss
    was_halved = torch.zeros_like(max_loss, dtype=torch.bool)
    checks = _check_numbers(spec.steps)
    for number in range(1, spec.steps + 1):
        if best.is_enough:
            return
        proposal = images.project(pixels + step * images.direction(gradient))
        share = 1.0 if number == 1 else 1 - MOMENTUM
        next_pixels = images.project(pixels + share * (proposal - pixels) + (1 - share) * (pixels - previous))
        pixels, previous = next_pixels, pixels
        gradient, scores = images.gradient(pixels, loss)
        best.add(pixels, scores)
        value = loss(scores, images)
        n_successes += value > last_value
        last_value, is_max = value, value > max_loss
        max_loss = torch.where(is_max, value, max_loss)
        max_loss_pixels = torch.where(is_max.view(shape), pixels, max_loss_pixels)
        max_loss_gradient = torch.where(is_max.view(shape), gradient, max_loss_gradient)
        if number in checks:
            has_stalled = (max_loss <= max_loss_at_check) & ~was_halved
            was_halved = (n_successes < MIN_SUCCESS_SHARE * (number - last_check)) | has_stalled
            step = torch.where(was_halved.view(shape), step / 2, step)
            pixels = torch.where(was_halved.view(shape), max_loss_pixels, pixels)
            gradient = torch.where(was_halved.view(shape), max_loss_gradient, gradient)
            n_successes, last_check, max_loss_at_check = torch.zeros_like(max_loss), number, max_loss
