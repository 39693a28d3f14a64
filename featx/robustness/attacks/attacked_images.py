"""Images under attack: the attacked scores, norms of perturbations, losses, and the best perturbation found so far."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Norm = Literal["linf", "l2"]
# (b, 3, h, w) pixels in [0, 1] → (b, k) scores, whose largest is the answer.
Scores = Callable[[Tensor], Tensor]
# Smallest length by which a perturbation is divided.
MIN_LENGTH = 1e-12


@dataclass(frozen=True)
class AttackedImages:
    """Images under attack, and the limits of their perturbations.

    Attributes
    ----------
    scores
        Function from pixels to the scores of the attacked run.
    pixels
        (b, 3, h, w) original pixels in [0, 1].
    codes
        (b,) codes of the true classes.
    norm
        Norm of perturbations: ``linf`` or ``l2``.
    eps
        Largest norm of a perturbation, in units of the pixels.
    generator
        Source of random numbers; equal seeds give equal perturbations.
    """

    scores: Scores
    pixels: Tensor
    codes: Tensor
    norm: Norm
    eps: float
    generator: torch.Generator

    def take(self, rows: Tensor) -> "AttackedImages":
        """Return the images at the positions, or of the mask, `rows`."""
        return replace(self, pixels=self.pixels[rows], codes=self.codes[rows])

    def random(self, *shape: int) -> Tensor:
        """Return uniform random numbers in [-1, 1] in the type of the pixels."""
        numbers = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        return (2 * numbers - 1).to(self.pixels)

    def project(self, perturbed: Tensor) -> Tensor:
        """Return the closest images in [0, 1] whose perturbation is within the limit."""
        delta = perturbed - self.pixels
        if self.norm == "linf":
            delta = delta.clamp(-self.eps, self.eps)
        else:
            length = l2_norms(delta)
            delta = delta * (self.eps / length.clamp(min=MIN_LENGTH)).clamp(max=1)[:, None, None, None]
        return (self.pixels + delta).clamp(0, 1)

    def direction(self, gradient: Tensor) -> Tensor:
        """Return the step of norm 1 that increases a loss most, from its gradient."""
        if self.norm == "linf":
            return gradient.sign()
        return gradient / l2_norms(gradient).clamp(min=MIN_LENGTH)[:, None, None, None]

    def random_start(self) -> Tensor:
        """Return images with a random perturbation within the limit."""
        noise = self.random(*self.pixels.shape)
        if self.norm == "l2":
            radius = ((self.random(len(noise)) + 1) / 2)[:, None, None, None]
            noise = radius * noise / l2_norms(noise).clamp(min=MIN_LENGTH)[:, None, None, None]
        return self.project(self.pixels + self.eps * noise)

    def gradient(self, pixels: Tensor, loss: "Loss") -> tuple[Tensor, Tensor]:
        """Return the gradient of the (b,) losses by the pixels, and the scores."""
        pixels = pixels.detach().requires_grad_()
        scores = self.scores(pixels)
        (gradient,) = torch.autograd.grad(loss(scores, self.codes).sum(), pixels)
        return gradient, scores.detach()


# (b, k) scores and (b,) codes of the true classes → (b,) losses that an attack increases.
Loss = Callable[[Tensor, Tensor], Tensor]


def l2_norms(x: Tensor) -> Tensor:
    """Return the (b,) Euclidean norms of (b, …) arrays."""
    norms: Tensor = x.flatten(1).norm(dim=1)
    return norms


def linf_norms(x: Tensor) -> Tensor:
    """Return the (b,) largest absolute values of (b, …) arrays."""
    return x.flatten(1).abs().amax(dim=1)


def cross_entropy(scores: Tensor, codes: Tensor) -> Tensor:
    """Return the cross-entropy of the true classes."""
    return functional.cross_entropy(scores, codes, reduction="none")


def margin(scores: Tensor, codes: Tensor) -> Tensor:
    """Return the largest score of another class minus that of the true class; positive where the answer is wrong."""
    true = scores.gather(1, codes[:, None])[:, 0]
    others = scores.scatter(1, codes[:, None], -torch.inf)
    return others.amax(dim=1) - true


def is_wrong(scores: Tensor, codes: Tensor) -> Tensor:
    """Return whether the answer is not the true class; as in numpy, the first of equal scores is the answer."""
    return scores.argmax(dim=1) != codes


class BestFound:
    """The perturbation of each image that deceives most among all that were tried, the original included.

    Parameters
    ----------
    images
        Images under attack.
    """

    def __init__(self, images: AttackedImages) -> None:
        self._images = images
        with torch.no_grad():
            self.scores = images.scores(images.pixels)
        self.pixels = images.pixels.clone()
        self.margins = margin(self.scores, images.codes)

    @property
    def is_wrong(self) -> Tensor:
        """Whether the answer for each image is wrong."""
        return is_wrong(self.scores, self._images.codes)

    def add(self, pixels: Tensor, scores: Tensor) -> None:
        """Keep the perturbations that are better than those found so far: a wrong answer, or a larger margin."""
        margins = margin(scores, self._images.codes)
        found = is_wrong(scores, self._images.codes)
        is_better = (found & ~self.is_wrong) | ((margins > self.margins) & (found | ~self.is_wrong))
        self.pixels[is_better] = pixels.detach()[is_better]
        self.scores[is_better] = scores.detach()[is_better]
        self.margins[is_better] = margins.detach()[is_better]
