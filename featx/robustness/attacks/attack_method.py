"""Methods of attack, as the entry points of ``featx.attacks`` name them."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from featx.robustness.attacks.attacked_images import GRADIENT_COST, AttackedImages, Norm
from featx.robustness.attacks.auto_pgd import MAX_TARGETS, MIN_CLASSES_FOR_RATIO
from featx.robustness.attacks.auto_pgd import apgd as run_apgd
from featx.robustness.attacks.gradient_steps import fgsm as run_fgsm
from featx.robustness.attacks.gradient_steps import pgd as run_pgd
from featx.robustness.attacks.patch import patch as run_patch
from featx.robustness.attacks.smallest_perturbation import cw as run_cw
from featx.robustness.attacks.smallest_perturbation import n_weights
from featx.robustness.attacks.square import square as run_square
from featx.robustness.attacks.standard import standard as run_standard
from featx.specs.attacking import AttackSpec

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
    effort
        Fields of the spec that it uses, beside norm, limit and seed.
    norms
        Norms that it can limit; that in which perturbations are measured if it has no limit.
    needs_gradient
        Whether it needs the gradient of the attacked run.
    has_limit
        Whether it keeps within ``eps``; otherwise ``eps`` is not used.
    made_by
        Name of the method that makes the images, if this one tries images of other runs; empty otherwise.
    has_numbers
        Whether it can change predicted numbers as far as possible.
    """

    perturb: Perturb
    n_passes: Callable[[AttackSpec, int], float]
    effort: tuple[str, ...] = ()
    norms: tuple[Norm, ...] = ("linf", "l2")
    needs_gradient: bool = True
    has_limit: bool = True
    made_by: str = ""
    has_numbers: bool = True


def _n_apgd_passes(spec: AttackSpec, n_classes: int) -> float:
    targets = min(MAX_TARGETS, n_classes - 1) if n_classes >= MIN_CLASSES_FOR_RATIO else 0
    return 2 + GRADIENT_COST * (spec.restarts + targets) * (spec.steps + 1)


def _n_pgd_passes(spec: AttackSpec, n_classes: int) -> float:
    # Each start ends with a pass without gradient; the result of FGSM is tried too.
    return 2 + (spec.restarts + 1) * (GRADIENT_COST * spec.steps + 1)


def _n_cw_passes(spec: AttackSpec, n_classes: int) -> float:
    return 1 + GRADIENT_COST * n_weights(spec) * spec.steps


def _n_standard_passes(spec: AttackSpec, n_classes: int) -> float:
    return _n_apgd_passes(spec, n_classes) + _n_pgd_passes(spec, n_classes) + spec.queries + 6


fgsm = AttackMethod(run_fgsm, lambda spec, n_classes: GRADIENT_COST + 2)
pgd = AttackMethod(run_pgd, _n_pgd_passes, ("steps", "restarts"))
apgd = AttackMethod(run_apgd, _n_apgd_passes, ("steps", "restarts"))
cw = AttackMethod(run_cw, _n_cw_passes, ("steps", "restarts"), norms=("l2",), has_limit=False, has_numbers=False)
patch = AttackMethod(
    run_patch,
    lambda spec, n_classes: GRADIENT_COST * spec.steps,
    ("steps", "patch_share"),
    norms=("linf",),
    has_limit=False,
)
square = AttackMethod(run_square, lambda spec, n_classes: float(spec.queries + 1), ("queries",), needs_gradient=False)
standard = AttackMethod(
    run_standard,
    _n_standard_passes,
    ("steps", "restarts", "queries"),
)
transfer = AttackMethod(run_pgd, _n_pgd_passes, ("steps", "restarts"), made_by="pgd")
