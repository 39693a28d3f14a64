"""The strongest sequence of attacks: each runs on the images that are right after all before it."""

from torch import Tensor

from featx.robustness.attacks.attacked_images import AttackedImages, BestPerturbations
from featx.robustness.attacks.auto_pgd import apgd
from featx.robustness.attacks.gradient_steps import pgd
from featx.robustness.attacks.square import square
from featx.specs.attacking import AttackSpec


def standard(images: AttackedImages, spec: AttackSpec) -> Tensor:
    """Return the worst case of each image: APGD on two losses, then PGD, then Square, each on the rest."""
    best = BestPerturbations(images)
    for perturb in (apgd, pgd, square):
        right_rows = (~best.is_wrong).nonzero()[:, 0]
        if not len(right_rows):
            break
        perturbed = perturb(images.take(right_rows), spec)
        pixels = best.pixels.clone()
        pixels[right_rows] = perturbed
        best.add(pixels, images.scores(pixels).detach())
    return best.pixels
