"""Methods of attack, as the entry points of ``featx.attacks`` name them."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from featx.robustness.attacks.attacked_images import AttackedImages, Norm
from featx.robustness.attacks.auto_pgd import MAX_TARGETS, MIN_CLASSES_FOR_RATIO
from featx.robustness.attacks.auto_pgd import apgd as run_apgd
from featx.robustness.attacks.gradient_steps import fgsm as run_fgsm
from featx.robustness.attacks.gradient_steps import pgd as run_pgd
from featx.robustness.attacks.patch import patch as run_patch
from featx.robustness.attacks.smallest_perturbation import cw as run_cw
from featx.robustness.attacks.square import square as run_square
from featx.robustness.attacks.standard import standard as run_standard
from featx.specs.attacking import AttackSpec

# Duration of a pass with its gradient in units of a pass without.
GRADIENT_COST = 3.0
Perturb = Callable[[AttackedImages, AttackSpec], Tensor]


@dataclass(frozen=True)
class AttackMethod:
    """A method of attack.

    Attributes
    ----------
    perturb
        Function from images and a spec to (b, 3, h, w) perturbed pixels, the original where nothing was found.
    n_passes
        Function (spec, number of classes) → passes of the network per image, in units of one pass without gradient.
    norms
        Norms that it can limit.
    needs_gradient
        Whether it needs the gradient of the attacked run.
    """

    perturb: Perturb
    n_passes: Callable[[AttackSpec, int], float]
    norms: tuple[Norm, ...] = ("linf", "l2")
    needs_gradient: bool = True


def _n_apgd_passes(spec: AttackSpec, n_classes: int) -> float:
    targets = min(MAX_TARGETS, n_classes - 1) if n_classes >= MIN_CLASSES_FOR_RATIO else 0
    return GRADIENT_COST * (spec.restarts + targets) * (spec.steps + 1)


fgsm = AttackMethod(run_fgsm, lambda spec, n_classes: GRADIENT_COST + 2)
pgd = AttackMethod(run_pgd, lambda spec, n_classes: GRADIENT_COST * (spec.restarts + 1) * spec.steps)
apgd = AttackMethod(run_apgd, _n_apgd_passes)
cw = AttackMethod(run_cw, lambda spec, n_classes: GRADIENT_COST * spec.restarts * spec.steps, norms=("l2",))
patch = AttackMethod(run_patch, lambda spec, n_classes: GRADIENT_COST * spec.steps)
square = AttackMethod(run_square, lambda spec, n_classes: float(spec.steps), needs_gradient=False)
standard = AttackMethod(run_standard, lambda spec, n_classes: _n_apgd_passes(spec, n_classes) + spec.n_queries)
