"""Checks of attacks on one run: a weak attack shows a weak attacker, not a robust run.

References
----------
.. [1] N. Carlini et al., On evaluating adversarial robustness, arXiv:1902.06705, 2019.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from featx.robustness.attack_storage import MAX_CHANCE, SEARCH_IS_STRONGER
from featx.robustness.attacks.attacked_images import (
    GRADIENT_COST,
    AttackedImages,
    is_wrong,
    l2_norms,
    margin,
    wrong_log_odds,
)
from featx.robustness.attacks.auto_pgd import apgd
from featx.robustness.attacks.gradient_steps import climb, fgsm, pgd
from featx.robustness.attacks.square import square
from featx.specs.attacking import AttackSpec

# Number of images that are enough to see that an attack fails.
N_CHECKED = 8
FEW_STEPS, MORE_STEPS, N_QUERIES = 3, 10, 30
# Cost of all checks of one run for each image, in units of one pass without gradient.
N_CHECK_PASSES = GRADIENT_COST * (9 * MORE_STEPS + 2 * FEW_STEPS + 6) + N_QUERIES + 20
# Share of images with a gradient of zero from which on gradients are called masked.
MAX_ZERO_SHARE = 0.1
# Largest difference of the scores of equal images, relative and absolute, that is rounding.
TOLERANCE = 1e-6
# A finding, or an empty text if the check is passed.
Outcome = str


def check_attacks(
    images: AttackedImages, spec: AttackSpec, has_gradient: bool, is_classification: bool = True
) -> tuple[int, list[str]]:
    """Return the number of checks on a run, and a sentence for each that fails.

    The checks are: equal images get equal predictions; gradients are not zero; PGD succeeds at least as often as FGSM;
    more steps as often as few; a search without gradients not more often than gradients; steps on the cross-entropy,
    which may be saturated, as often as steps on the margin of the scores; without a limit, attacks always succeed.

    Parameters
    ----------
    images
        Images under attack; the first `N_CHECKED` are used.
    spec
        The attack whose limit is used.
    has_gradient
        Whether the run has gradients; otherwise only the first check is made.
    is_classification
        Whether predictions are right or wrong, as classes and labels are; otherwise only the first two checks are made.
    """
    sample = replace(images.take(torch.arange(min(N_CHECKED, len(images.pixels)))), is_counted=True)
    outcomes = list(_outcomes(sample, spec, has_gradient, is_classification))
    return len(outcomes), [text for text in outcomes if text]


def is_random(scores: Callable[[Tensor], Tensor], pixels: Tensor) -> bool:
    """Return whether equal images get different scores."""
    with torch.no_grad():
        return not torch.allclose(scores(pixels), scores(pixels), rtol=TOLERANCE, atol=TOLERANCE)


def _outcomes(
    images: AttackedImages, spec: AttackSpec, has_gradient: bool, is_classification: bool
) -> Iterator[Outcome]:
    has_random_outputs = is_random(images.scores, images.pixels)
    yield "its outputs are random, although attacks use their mean over many draws" if has_random_outputs else ""
    if not has_gradient:
        return
    gradient, scores = images.gradient(images.pixels, wrong_log_odds)
    is_right = ~is_wrong(scores, images.codes)
    zero_share = float((l2_norms(gradient)[is_right] == 0).double().mean()) if is_right.any() else 0.0
    yield f"the gradient is zero for {zero_share:.0%} of the images" if zero_share > MAX_ZERO_SHARE else ""
    if is_classification:
        yield from _compare_attacks(images, spec)
        yield _without_limit(images, spec)


def _compare_attacks(images: AttackedImages, spec: AttackSpec) -> Iterator[Outcome]:
    """Yield the outcomes of the checks that compare the numbers of images on which attacks succeed."""

    def n_wrong(perturb: Callable[[AttackedImages, AttackSpec], Tensor], **changes: int) -> int:
        restarted_images = replace(images, generator=torch.Generator().manual_seed(spec.seed))
        pixels = perturb(restarted_images, spec.model_copy(update={"restarts": 1, **changes}))
        with torch.no_grad():
            return int(is_wrong(images.scores(pixels), images.codes).sum())

    n_fgsm, n_few, n_more = n_wrong(fgsm), n_wrong(pgd, steps=FEW_STEPS), n_wrong(pgd, steps=MORE_STEPS)
    n_gradient = max(n_more, n_wrong(apgd, steps=MORE_STEPS))
    n_square, n_margin = n_wrong(square, queries=N_QUERIES), n_wrong(_pgd_on_margins, steps=MORE_STEPS)
    n = len(images.pixels)
    yield f"PGD succeeds less often than FGSM ({n_more} and {n_fgsm} of {n} images)" if n_more < n_fgsm else ""
    few_text = f"PGD with {MORE_STEPS} steps succeeds less often than with {FEW_STEPS} ({n_more} and {n_few} of {n})"
    yield few_text if n_more + MAX_CHANCE < n_few else ""
    search_text = f"{SEARCH_IS_STRONGER} ({n_square} and {n_gradient} of {n} images)"
    yield search_text if n_square > n_gradient + MAX_CHANCE else ""
    loss_text = f"the cross-entropy is misleading: steps on the margin succeed on {n_margin} of {n} images"
    yield f"{loss_text}, steps on the cross-entropy {n_more}" if n_margin > n_more + MAX_CHANCE else ""


def _pgd_on_margins(images: AttackedImages, spec: AttackSpec) -> Tensor:
    return climb(images, spec, margin)


def _without_limit(images: AttackedImages, spec: AttackSpec) -> Outcome:
    unlimited_images = replace(images, norm="linf", eps=1.0)
    changes = {"norm": "linf", "eps": 1.0, "steps": 2 * MORE_STEPS, "restarts": 2}
    pixels = pgd(unlimited_images, spec.model_copy(update=changes))
    with torch.no_grad():
        n_left = int((~is_wrong(images.scores(pixels), images.codes)).sum())
    return f"{n_left} of {len(images.pixels)} images stay right under perturbations without a limit" if n_left else ""
