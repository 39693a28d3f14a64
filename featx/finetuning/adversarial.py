"""Adversarial training: perturbations of train images that increase their loss [1]_ [2]_ [3]_.

Pixels are (b, h, w, 3) in [0, 1]. The random numbers are those of torch, which each epoch seeds, so that a resumed
training draws the same ones.

References
----------
.. [1] A. Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018.
.. [2] E. Wong, L. Rice, J. Z. Kolter, Fast is better than free: revisiting adversarial training, ICLR 2020.
.. [3] A. Shafahi et al., Adversarial training for free!, NeurIPS 2019.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from featx.specs.defences import AdversarialSpec

# Length of the step of FGSM from a random start, in units of the limit [2]_.
FGSM_STEP = 1.25
# Sum of the lengths of all steps of PGD in units of the limit, so that every point within the limit can be reached.
PGD_PATH = 2.5
# (b, h, w, 3) pixels in [0, 1] → (b,) losses.
RowLosses = Callable[[Tensor], Tensor]


def n_perturbed(n_images: int, share: float) -> int:
    """Return the number of perturbed images in a batch: the first ones, as the order of the rows is random."""
    return max(1, round(share * n_images))


def project(pixels: Tensor, delta: Tensor, eps: float) -> Tensor:
    """Return the closest perturbation within the limit that leaves the pixels in [0, 1]."""
    return (pixels + delta.clamp(-eps, eps)).clamp(0, 1) - pixels


def random_start(pixels: Tensor, eps: float) -> Tensor:
    """Return uniform random perturbations within the limit."""
    return project(pixels, eps * (2 * torch.rand_like(pixels) - 1), eps)


def perturb(pixels: Tensor, row_losses: RowLosses, spec: AdversarialSpec) -> Tensor:
    """Return images perturbed by ``fgsm`` or ``pgd`` from a random start."""
    n_steps, path = (1, FGSM_STEP) if spec.attack == "fgsm" else (spec.steps, PGD_PATH)
    step = spec.eps * min(FGSM_STEP, path / n_steps)
    delta = random_start(pixels, spec.eps)
    for _ in range(n_steps):
        delta.requires_grad_()
        (gradient,) = torch.autograd.grad(row_losses(pixels + delta).sum(), delta)
        delta = project(pixels, delta.detach() + step * gradient.sign(), spec.eps)
    return pixels + delta


class FreePerturbations:
    """Perturbations of ``free``, which the backward passes of the training improve from replay to replay.

    Each batch starts from a random perturbation. The images of the batch before are others, so that their perturbation
    would be no better start.

    Parameters
    ----------
    spec
        Limit of the perturbations, and share of the images.
    """

    def __init__(self, spec: AdversarialSpec) -> None:
        self._spec = spec
        # The perturbation of each of the batches that are accumulated in one step.
        self._deltas: dict[int, Tensor] = {}
        self._last: tuple[int, Tensor, Tensor] | None = None

    def add_to(self, pixels: Tensor, position: int, is_first: bool) -> Tensor:
        """Return perturbed images, whose backward pass gives the gradient of the perturbation.

        Parameters
        ----------
        pixels
            (b, h, w, 3) pixels of the perturbed images of a batch.
        position
            Number of the batch in its step.
        is_first
            Whether this is the first replay of the batch.
        """
        delta = random_start(pixels, self._spec.eps) if is_first else self._deltas[position]
        delta.requires_grad_()
        self._last = position, pixels, delta
        return pixels + delta

    def after_backward(self) -> None:
        """Change the last perturbation by a step of the length of the limit along its gradient."""
        assert self._last is not None
        position, pixels, delta = self._last
        assert delta.grad is not None
        # Scaled gradients of fp16 may overflow; the optimiser skips such a step.
        step = self._spec.eps * delta.grad.nan_to_num().sign()
        self._deltas[position] = project(pixels, delta.detach() + step, self._spec.eps)
