"""Checks of attacks on one run: a weak attack shows a weak attacker, not a robust run.

References
----------
.. [1] N. Carlini et al., On evaluating adversarial robustness, arXiv:1902.06705, 2019.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch

from featx.robustness.attacks.attacked_images import AttackedImages, cross_entropy, is_wrong, l2_norms
from featx.robustness.attacks.auto_pgd import apgd
from featx.robustness.attacks.gradient_steps import fgsm, pgd
from featx.robustness.attacks.square import square
from featx.specs.attacking import AttackSpec

# Number of images that are enough to see that an attack fails.
N_CHECKED = 8
FEW_STEPS, MORE_STEPS, N_QUERIES = 3, 10, 30
# Passes with gradient and without that the checks of one run take for each image.
N_GRADIENTS, N_PASSES = 6 * MORE_STEPS + 2 * FEW_STEPS + 4, N_QUERIES + 10
# A difference of this many images is no evidence: paths of few and of many steps differ.
MAX_CHANCE = 1
# Share of images with a gradient of zero from which on gradients are called masked.
MAX_ZERO_SHARE = 0.1


def failed_checks(images: AttackedImages, spec: AttackSpec, has_gradient: bool) -> tuple[str, ...]:
    """Return a sentence for each check that fails on a run: reasons why its robust accuracy cannot be trusted.

    The checks are: equal images get equal answers; gradients are not zero; PGD deceives at least as often as FGSM, more
    steps as often as few, and a search without gradients not more often than one with gradients; without a limit,
    everything is deceived.

    Parameters
    ----------
    images
        Images under attack; the first `N_CHECKED` are used.
    spec
        The attack whose limit is used.
    has_gradient
        Whether the run has gradients; otherwise only the first check is made.
    """
    few = images.take(torch.arange(min(N_CHECKED, len(images.pixels))))
    return tuple(_failures(few, spec, has_gradient))


def _failures(images: AttackedImages, spec: AttackSpec, has_gradient: bool) -> Iterator[str]:
    with torch.no_grad():
        if not torch.equal(images.scores(images.pixels), images.scores(images.pixels)):
            yield "its outputs are random; an attack needs the expectation over many draws"
    if not has_gradient:
        return
    gradient, scores = images.gradient(images.pixels, cross_entropy)
    zero_share = float((l2_norms(gradient)[~is_wrong(scores, images.codes)] == 0).double().mean())
    if zero_share > MAX_ZERO_SHARE:
        yield f"the gradient is zero for {zero_share:.0%} of the images"

    def n_wrong(perturb: object, **changes: object) -> int:
        restarted = replace(images, generator=torch.Generator().manual_seed(spec.seed))
        pixels = perturb(restarted, spec.model_copy(update=changes))  # type: ignore[operator]
        with torch.no_grad():
            return int(is_wrong(images.scores(pixels), images.codes).sum())

    n_fgsm = n_wrong(fgsm)
    n_few, n_more = (n_wrong(pgd, steps=steps, restarts=1) for steps in (FEW_STEPS, MORE_STEPS))
    if n_more < n_fgsm:
        yield f"PGD deceives less often than FGSM ({n_more} and {n_fgsm} of {len(images.pixels)} images)"
    if n_more + MAX_CHANCE < n_few:
        yield f"PGD with {MORE_STEPS} steps deceives less often than with {FEW_STEPS} ({n_more} and {n_few})"
    strongest = max(n_more, n_wrong(apgd, steps=MORE_STEPS, restarts=1))
    if (n_square := n_wrong(square, steps=N_QUERIES)) > strongest + MAX_CHANCE:
        yield f"a search without gradients deceives more often than gradients ({n_square} and {strongest})"
    unlimited = AttackedImages(images.scores, images.pixels, images.codes, "linf", 1.0, images.generator)
    pixels = pgd(
        unlimited, spec.model_copy(update={"norm": "linf", "eps": 1.0, "steps": 2 * MORE_STEPS, "restarts": 2})
    )
    with torch.no_grad():
        n_left = int((~is_wrong(images.scores(pixels), images.codes)).sum())
    if n_left:
        yield f"{n_left} of {len(images.pixels)} images withstand perturbations without a limit"
