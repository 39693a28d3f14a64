"""Attacks that follow the gradient: one step (FGSM), and many projected steps from random starts (PGD).

References
----------
.. [1] I. Goodfellow, J. Shlens, C. Szegedy, Explaining and harnessing adversarial examples, ICLR 2015.
.. [2] A. Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018.
"""

from torch import Tensor

from featx.robustness.attacks.attacked_images import AttackedImages, BestPerturbations, Loss, wrong_log_odds
from featx.specs.attacking import AttackSpec

# Sum of the lengths of all steps in units of the limit, so that every point within the limit can be reached.
PATH_LENGTH = 2.5


def fgsm(images: AttackedImages, spec: AttackSpec) -> Tensor:
    """Return images after one step of the length of the limit along the gradient of the cross-entropy [1]_."""
    best = BestPerturbations(images)
    gradient, _ = images.gradient(images.pixels, wrong_log_odds)
    perturbed = images.project(images.pixels + images.eps * images.direction(gradient))
    best.add(perturbed, images.scores(perturbed).detach())
    return best.pixels


def pgd(images: AttackedImages, spec: AttackSpec) -> Tensor:
    """Return the best images of all steps along the gradient of the cross-entropy, from several starts [2]_.

    The first start is the original image, the others are random. The step is 2.5 times the limit divided by the number
    of steps. The result of `fgsm` is tried too, so that none is weaker.
    """
    return climb(images, spec, wrong_log_odds)


def climb(images: AttackedImages, spec: AttackSpec, loss: Loss) -> Tensor:
    """Return the best images of all steps along the gradient of a loss (`pgd`)."""
    best = BestPerturbations(images)
    for restart in range(spec.restarts + 1):
        if best.is_wrong.all():
            break
        _climb(images, spec, best, images.pixels if restart == 0 else images.random_start(), loss)
    return best.pixels


def _climb(images: AttackedImages, spec: AttackSpec, best: BestPerturbations, start: Tensor, loss: Loss) -> None:
    """Take the steps of one start."""
    pixels = start
    step = images.eps * min(1.0, PATH_LENGTH / spec.steps)
    for number in range(spec.steps):
        if best.is_enough:
            return
        gradient, scores = images.gradient(pixels, loss)
        best.add(pixels, scores)
        if number == 0 and start is images.pixels:
            full_step_pixels = images.project(pixels + images.eps * images.direction(gradient))
            best.add(full_step_pixels, images.scores(full_step_pixels).detach())
        pixels = images.project(pixels + step * images.direction(gradient))
    best.add(pixels, images.scores(pixels).detach())
