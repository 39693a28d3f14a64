"""Images under attack: the attacked scores, norms of perturbations, losses, and the best perturbation found so far."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

Norm = Literal["linf", "l2"]
# (b, 3, h, w) pixels in [0, 1] → (b, k) scores, whose largest is that of the prediction.
Scores = Callable[[Tensor], Tensor]
# (b, k) scores and (b,) positions of their images → (b, k') scores of alternatives.
Compare = Callable[[Tensor, Tensor], Tensor]
# Smallest length by which a perturbation is divided.
MIN_LENGTH = 1e-12
# Pixels that pass a network together on a CPU: eight images of 300 × 300 px take .6 of the time of 32 with gradients.
MAX_PART_PIXELS = 8 * 300 * 300
# Duration of a pass with its gradient in units of a pass without.
GRADIENT_COST = 3.0


class QueryMeter:
    """Counts the queries of each image of a batch, and reports their cost.

    Parameters
    ----------
    n_images
        Number of images of the batch; None counts nothing.
    report
        Function that receives the number of images × the cost of each pass, in units of a pass without gradient.

    Attributes
    ----------
    counts
        (n_images,) number of queries of each image.
    """

    def __init__(self, n_images: int | None = None, report: Callable[[float], None] | None = None) -> None:
        self.counts = torch.zeros(n_images or 0, dtype=torch.long)
        self._report = report

    def add(self, positions: Tensor, cost: float) -> None:
        """Count a query of the images at some positions."""
        if len(self.counts):
            self.counts[positions.cpu()] += 1
        if self._report is not None:
            self._report(cost * len(positions))


def _as_they_are(scores: Tensor, positions: Tensor) -> Tensor:
    return scores


@dataclass(frozen=True)
class AttackedImages:
    """Images under attack, and the limits of their perturbations.

    Attributes
    ----------
    model
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
    compare
        Function from scores and the positions of their images to the scores of alternatives, of which `codes` are the
        right ones (`featx.robustness.attack_goals`); by default the scores are those of classes.
    meter
        Counter of the queries.
    rows
        (b,) positions of the images in the batch that `meter` and `compare` know; None for all in order.
    is_counted
        Whether only the number of successful perturbations matters, so that steps end when all are successful.
    targets
        (b,) codes of the wrong classes that a targeted loss leads to; None for other losses.
    """

    model: Scores
    pixels: Tensor
    codes: Tensor
    norm: Norm
    eps: float
    generator: torch.Generator
    compare: Compare = _as_they_are
    meter: QueryMeter = field(default_factory=QueryMeter)
    rows: Tensor | None = None
    is_counted: bool = False
    targets: Tensor | None = None

    def take(self, rows: Tensor) -> "AttackedImages":
        """Return the images at the positions, or of the mask, `rows`."""
        targets = None if self.targets is None else self.targets[rows]
        return replace(
            self, pixels=self.pixels[rows], codes=self.codes[rows], rows=self.positions[rows], targets=targets
        )

    @property
    def positions(self) -> Tensor:
        """(b,) positions of the images in the batch."""
        return torch.arange(len(self.pixels), device=self.pixels.device) if self.rows is None else self.rows

    def scores(self, pixels: Tensor, rows: Tensor | None = None, cost: float = 1.0) -> Tensor:
        """Return the scores of perturbed pixels; this is a query of each image.

        Parameters
        ----------
        pixels
            (b, 3, h, w) pixels.
        rows
            Positions or mask of the images that they are of; None for all.
        cost
            Cost of the pass in units of a pass without gradient.
        """
        positions = self.positions if rows is None else self.positions[rows]
        self.meter.add(positions, cost)
        # Parts of a pass with a gradient by all pixels would stay in the memory until its end.
        parts = [pixels] if pixels.requires_grad else torch.split(pixels, _part_size(pixels))
        return self.compare(torch.cat([self.model(part) for part in parts]), positions)

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
        parts = torch.split(torch.arange(len(pixels), device=pixels.device), _part_size(pixels))
        gradients, scores = zip(*(self.take(rows)._gradient(pixels[rows], loss) for rows in parts), strict=True)
        return torch.cat(gradients), torch.cat(scores)

    def _gradient(self, pixels: Tensor, loss: "Loss") -> tuple[Tensor, Tensor]:
        """Return the gradient of all pixels at once."""
        pixels = pixels.detach().requires_grad_()
        scores = self.scores(pixels, cost=GRADIENT_COST)
        (gradient,) = torch.autograd.grad(loss(scores, self).sum(), pixels)
        return gradient, scores.detach()


def _part_size(pixels: Tensor) -> int:
    """Return the number of images that pass a network together: on a CPU few enough for its caches."""
    n, _, height, width = pixels.shape
    return max(1, MAX_PART_PIXELS // (height * width)) if pixels.device.type == "cpu" else max(1, n)


# (b, k) scores and their b images → (b,) losses that an attack increases.
Loss = Callable[[Tensor, AttackedImages], Tensor]


def l2_norms(x: Tensor) -> Tensor:
    """Return the (b,) Euclidean norms of (b, …) arrays."""
    norms: Tensor = x.flatten(1).norm(dim=1)
    return norms


def linf_norms(x: Tensor) -> Tensor:
    """Return the (b,) largest absolute values of (b, …) arrays."""
    return x.flatten(1).abs().amax(dim=1)


def wrong_log_odds(scores: Tensor, images: AttackedImages) -> Tensor:
    """Return the log-odds of a wrong prediction, whose softplus is the cross-entropy.

    Its gradient has the direction of that of the cross-entropy, but does not vanish where the probability of the true
    class is 1 in floating point.
    """
    codes = images.codes[:, None]
    return scores.scatter(1, codes, -torch.inf).logsumexp(dim=1) - scores.gather(1, codes)[:, 0]


def margin(scores: Tensor, images: AttackedImages) -> Tensor:
    """Return the largest score of another class minus that of the true class: above 0 where the prediction is wrong."""
    codes = images.codes[:, None]
    return scores.scatter(1, codes, -torch.inf).amax(dim=1) - scores.gather(1, codes)[:, 0]


def is_wrong(scores: Tensor, codes: Tensor) -> Tensor:
    """Return whether the prediction is not the true class; as in numpy, the first of equal scores is the prediction."""
    return scores.argmax(dim=1) != codes


class BestPerturbations:
    """The perturbation of each image with the largest margin among all that were tried, the original included.

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
        self.margins = margin(self.scores, images)

    @property
    def is_wrong(self) -> Tensor:
        """Whether the prediction for each image is wrong."""
        return is_wrong(self.scores, self._images.codes)

    @property
    def is_enough(self) -> bool:
        """Whether all perturbations are successful and only their number matters."""
        return self._images.is_counted and bool(self.is_wrong.all())

    def add(self, pixels: Tensor, scores: Tensor) -> None:
        """Keep the perturbations that are better than those found so far: a wrong prediction, or a larger margin."""
        margins = margin(scores, self._images)
        are_wrong = is_wrong(scores, self._images.codes)
        is_better = (are_wrong & ~self.is_wrong) | ((margins > self.margins) & (are_wrong | ~self.is_wrong))
        self.pixels[is_better] = pixels.detach()[is_better]
        self.scores[is_better] = scores.detach()[is_better]
        self.margins[is_better] = margins.detach()[is_better]
