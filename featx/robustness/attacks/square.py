"""The Square attack: random squares that lower the margin, from scores alone.

References
----------
.. [1] M. Andriushchenko et al., Square attack: a query-efficient black-box adversarial attack via random search,
   ECCV 2020.
"""

import torch
from torch import Tensor

from featx.robustness.attacks.attacked_images import MIN_LENGTH, AttackedImages, BestPerturbations, l2_norms
from featx.specs.attacking import AttackSpec

# Share of the pixels that the first squares cover, and the shares of all queries after which it is halved.
FIRST_SHARE = 0.8
HALVED_AT = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


def square(images: AttackedImages, spec: AttackSpec) -> Tensor:
    """Return the best images of a random search over squares of ±eps [1]_; `spec.queries` queries per image at most.

    For the Euclidean norm, a square gets random signs and the whole perturbation is scaled to the limit.
    """
    best = BestPerturbations(images)
    _, _, height, width = images.pixels.shape
    stripes = images.random(len(images.pixels), 3, 1, width).sign().expand_as(images.pixels)
    _try(images, best, stripes, torch.ones(len(stripes), dtype=torch.bool))
    for query in range(1, spec.queries):
        is_pending = ~best.is_wrong
        if not is_pending.any():
            break
        share = FIRST_SHARE / 2 ** sum(query > limit * spec.queries for limit in HALVED_AT)
        side = min(max(1, round((share * height * width) ** 0.5)), height, width)
        _try(images, best, _with_squares(images, best, side), is_pending)
    return best.pixels


def _with_squares(images: AttackedImages, best: BestPerturbations, side: int) -> Tensor:
    """Return the perturbations found so far in units of the limit, each with a new square."""
    delta = (best.pixels - images.pixels) / max(images.eps, MIN_LENGTH)
    if images.norm == "l2":
        largest = delta.flatten(1).abs().amax(dim=1).clamp(min=MIN_LENGTH)
        delta = delta / largest[:, None, None, None]
    b, channels, height, width = delta.shape
    tops = ((images.random(b) + 1) / 2 * (height - side + 1)).long().clamp(max=height - side)
    lefts = ((images.random(b) + 1) / 2 * (width - side + 1)).long().clamp(max=width - side)
    signs = images.random(b, channels, 1, 1).sign()
    rows, columns = torch.arange(height), torch.arange(width)
    in_rows = (rows >= tops[:, None]) & (rows < tops[:, None] + side)
    in_columns = (columns >= lefts[:, None]) & (columns < lefts[:, None] + side)
    in_square = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return torch.where(in_square, signs, delta)


def _try(images: AttackedImages, best: BestPerturbations, delta: Tensor, rows: Tensor) -> None:
    """Query the images of `rows` with perturbations in units of the limit."""
    step = delta * images.eps
    if images.norm == "l2":
        step = delta * (images.eps / l2_norms(delta).clamp(min=MIN_LENGTH))[:, None, None, None]
    pixels = images.project(images.pixels + step)
    scores = best.scores.clone()
    with torch.no_grad():
        scores[rows] = images.scores(pixels[rows], rows)
    # Rows that were not queried keep their pixels, because their scores are equal to the best ones.
    best.add(pixels, scores)
