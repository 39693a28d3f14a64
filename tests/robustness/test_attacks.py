"""Attacks on small models: limits are kept, more effort is never weaker, and known optima are found.

Modules: robustness.attacks.attacked_images, robustness.attacks.auto_pgd, robustness.attacks.gradient_steps,
robustness.attacks.attack_method, robustness.attacks.patch, robustness.attacks.smallest_perturbation,
robustness.attacks.square, robustness.attacks.standard, specs.attacking.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional

from featx.registry import ATTACKS as REGISTERED
from featx.robustness.attacks.attacked_images import (
    AttackedImages,
    Norm,
    is_wrong,
    l2_norms,
    linf_norms,
    margin,
    wrong_log_odds,
)
from featx.robustness.attacks.auto_pgd import apgd, targeted_ratio
from featx.robustness.attacks.gradient_steps import fgsm, pgd
from featx.robustness.attacks.patch import patch
from featx.robustness.attacks.smallest_perturbation import cw
from featx.robustness.attacks.square import square
from featx.robustness.attacks.standard import standard
from featx.specs.attacking import AttackSpec

Attack = Callable[[AttackedImages, AttackSpec], Tensor]
ATTACKS: dict[str, Attack] = {"fgsm": fgsm, "pgd": pgd, "apgd": apgd, "square": square}
SIDE = 6
N = 40


def linear_model(n_classes: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, n_classes)).double().requires_grad_(False)


def curved_model(n_classes: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8 * (SIDE - 2) ** 2, n_classes)]
    return nn.Sequential(*layers).double().requires_grad_(False)


def attacked(model: nn.Module, norm: Norm, eps: float, seed: int = 0) -> AttackedImages:
    """Return images that the model predicts correctly, far enough from 0 and 1 that these do not limit them."""
    generator = torch.Generator().manual_seed(seed)
    pixels = 0.3 + 0.4 * torch.rand(N, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    codes = model(pixels).argmax(1)
    return AttackedImages(model, pixels, codes, norm, eps, generator)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("n_classes", [2, 4])
def test_limits_are_kept(name: str, norm: Norm, n_classes: int) -> None:
    images = attacked(curved_model(n_classes), norm, 0.5 if norm == "l2" else 0.05)
    perturbed_pixels = ATTACKS[name](images, AttackSpec(method=name, norm=norm, eps=images.eps, steps=15, restarts=2))
    norms = {"linf": linf_norms, "l2": l2_norms}[norm](perturbed_pixels - images.pixels)
    assert float(norms.max()) <= images.eps * (1 + 1e-9)
    assert float(norms.max()) > 0
    assert float(perturbed_pixels.min()) >= 0
    assert float(perturbed_pixels.max()) <= 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd"])
def test_the_optimum_of_a_linear_model_is_found(name: str, norm: Norm) -> None:
    model = linear_model(2)
    images = attacked(model, norm, 0.006 if norm == "linf" else 0.08)
    weights = model[1].weight[1] - model[1].weight[0]
    # The margin of a linear model falls by the limit times the dual norm of its weights.
    fall = images.eps * (weights.abs().sum() if norm == "linf" else weights.norm())
    margin_before = margin(model(images.pixels), images)
    perturbed_pixels = ATTACKS[name](images, AttackSpec(method=name, norm=norm, eps=images.eps, steps=10))
    margin_after = margin(model(perturbed_pixels), images)
    # An attack stops at the first wrong prediction.
    assert torch.equal(margin_after > 0, margin_before + fall > 0)
    is_within_reach = margin_before + fall <= 0
    assert 0 < int(is_within_reach.sum()) < N
    torch.testing.assert_close(
        margin_after[is_within_reach], (margin_before + fall)[is_within_reach], rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_effort_is_never_weaker(norm: Norm) -> None:
    model = curved_model(4)
    eps = 0.03 if norm == "linf" else 0.25

    def n_wrong(attack: Attack, **effort: int) -> int:
        images = attacked(model, norm, eps)
        spec = AttackSpec(method="pgd", norm=norm, eps=eps, **effort)  # type: ignore[arg-type]
        return int(is_wrong(model(attack(images, spec)), images.codes).sum())

    counts = [n_wrong(fgsm), n_wrong(pgd, steps=5), n_wrong(pgd, steps=20), n_wrong(pgd, steps=20, restarts=3)]
    assert counts == sorted(counts)
    assert counts[-1] > 0
    assert n_wrong(apgd, steps=40) >= counts[-2]


def test_attacks_always_succeed_without_a_limit() -> None:
    images = attacked(curved_model(3), "linf", 1.0)
    spec = AttackSpec(method="pgd", eps=1.0, steps=40, restarts=2)
    assert bool(is_wrong(images.scores(pgd(images, spec)), images.codes).all())


def test_nothing_changes_at_a_limit_of_zero() -> None:
    images = attacked(curved_model(3), "linf", 0.0)
    for name, attack in ATTACKS.items():
        assert torch.equal(attack(images, AttackSpec(method=name, eps=0.0, steps=3)), images.pixels), name


def test_the_smallest_perturbation_of_a_linear_model_is_found() -> None:
    model = linear_model(2)
    images = attacked(model, "l2", 0.0)
    weights = model[1].weight[1] - model[1].weight[0]
    distances = -margin(model(images.pixels), images) / weights.norm()
    perturbed_pixels = cw(images, AttackSpec(method="cw", norm="l2", steps=150, restarts=6)).detach()
    assert bool(is_wrong(model(perturbed_pixels), images.codes).all())
    ratio = l2_norms(perturbed_pixels - images.pixels) / distances
    assert float(ratio.min()) > 1
    assert float(ratio.median()) < 1.1


def test_few_steps_find_small_perturbations_of_large_images() -> None:
    torch.manual_seed(0)
    side = 128
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * side**2, 2)).double().requires_grad_(False)
    pixels = 0.4 + 0.2 * torch.rand(6, 3, side, side, dtype=torch.float64)
    codes = model(pixels).argmax(dim=1)
    images = AttackedImages(model, pixels, codes, "l2", 0.0, torch.Generator().manual_seed(0))
    distances = -margin(model(pixels), images) / (model[1].weight[1] - model[1].weight[0]).norm()
    perturbed_pixels = cw(images, AttackSpec(method="cw", norm="l2", steps=10)).detach()
    assert bool(is_wrong(model(perturbed_pixels), codes).all())
    assert float((l2_norms(perturbed_pixels - pixels) / distances).median()) < 2.5


def test_equal_seeds_give_equal_perturbations() -> None:
    model = curved_model(3)
    spec = AttackSpec(method="square", eps=0.05, queries=30)
    first_pixels, repeated_pixels, other_pixels = (
        square(attacked(model, "linf", 0.05, seed), spec) for seed in (0, 0, 1)
    )
    assert torch.equal(first_pixels, repeated_pixels)
    assert not torch.equal(first_pixels, other_pixels)


def test_the_ratio_does_not_depend_on_the_scale_of_scores() -> None:
    scores = torch.randn(8, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    codes = scores.argmax(1)
    images = replace(attacked(linear_model(5), "linf", 0.0), codes=codes, targets=(codes + 1) % 5)
    torch.testing.assert_close(targeted_ratio(scores, images), targeted_ratio(1000 * scores, images))


def test_a_limit_in_levels_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"found 8 for pixels in \[0, 1\].*write 0.03137 \(8/255\)"):
        AttackSpec(method="pgd", eps=8)
    assert AttackSpec(method="pgd", norm="l2", eps=3).eps == 3


def test_a_patch_covers_its_share_and_succeeds_more_often_than_noise() -> None:
    model = curved_model(3)
    images = attacked(model, "linf", 0.0)
    spec = AttackSpec(method="patch", steps=60, patch_share=0.5)
    patched_pixels = patch(images, spec)
    changed_shares = (patched_pixels != images.pixels).any(dim=1).double().mean(dim=(1, 2))
    assert 0.1 < float(changed_shares.mean()) < 0.4, (
        "a square of half the side covers a quarter, more or less when scaled"
    )
    assert 0 <= float(patched_pixels.min()) <= float(patched_pixels.max()) <= 1
    # One step hardly changes a random patch.
    untrained = patch(attacked(model, "linf", 0.0), spec.model_copy(update={"steps": 1}))
    n_wrong, n_wrong_by_chance = (int(is_wrong(model(x), images.codes).sum()) for x in (patched_pixels, untrained))
    assert n_wrong > n_wrong_by_chance


def test_a_patch_is_a_square_on_images_of_any_shape() -> None:
    pixels = torch.full((N, 3, 30, 90), 0.5)
    codes = torch.zeros(N, dtype=torch.long)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = AttackedImages(model, pixels, codes, "linf", 0.0, torch.Generator().manual_seed(0))
    is_changed = (patch(images, AttackSpec(method="patch", steps=1, patch_share=0.5)) != pixels).any(dim=1)
    height, width = (is_changed.any(dim=dim).sum(dim=1).double().mean() for dim in (2, 1))
    assert float(height / width) == pytest.approx(1, abs=0.05)
    # The side is half the shorter one, more or less when scaled and turned.
    assert 15 * 0.8 <= float(width) <= 15 * 1.2 * 2**0.5


def test_the_standard_sequence_is_as_strong_as_its_parts() -> None:
    model = curved_model(4)
    spec = AttackSpec(method="standard", eps=0.02, steps=10, queries=100)
    parts = {"apgd": spec, "pgd": spec, "square": spec}
    wrong_by_attack = {
        name: is_wrong(model(ATTACKS[name](attacked(model, "linf", 0.02), part)), attacked(model, "linf", 0.02).codes)
        for name, part in parts.items()
    }
    images = attacked(model, "linf", 0.02)
    is_wrong_at_worst = is_wrong(model(standard(images, spec)), images.codes)
    assert int(is_wrong_at_worst.sum()) >= max(int(wrong_images.sum()) for wrong_images in wrong_by_attack.values()) > 0
    assert bool((is_wrong_at_worst | ~wrong_by_attack["apgd"]).all())


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd", "square", "standard", "cw", "patch"])
def test_parts_of_a_batch_are_attacked_as_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    norm: Norm = "l2" if name == "cw" else "linf"
    spec = AttackSpec(method=name, norm=norm, eps=0.02, steps=3, queries=10)
    model, attack = curved_model(4), {**ATTACKS, "standard": standard, "cw": cw, "patch": patch}[name]
    whole_pixels = attack(attacked(model, norm, 0.02), spec).detach()
    monkeypatch.setattr("featx.robustness.attacks.attacked_images.MAX_PART_PIXELS", 7 * SIDE**2)
    parts_pixels = attack(attacked(model, norm, 0.02), spec).detach()
    torch.testing.assert_close(parts_pixels, whole_pixels)


def test_attacks_are_registered() -> None:
    assert set(REGISTERED.names()) == {"fgsm", "pgd", "apgd", "cw", "patch", "square", "standard", "transfer"}
    for name in REGISTERED.names():
        method = REGISTERED.get(name)
        assert method.n_passes(AttackSpec(method=name), 10) > 0


def test_a_patch_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValidationError, match="a patch is not larger than the image"):
        AttackSpec(method="patch", patch_share=1.5)


def test_the_loss_follows_the_cross_entropy_without_saturation() -> None:
    scores = torch.randn(8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    codes = torch.arange(8) % 4
    images = replace(attacked(linear_model(4), "linf", 0.0), codes=codes)
    odds = wrong_log_odds(scores, images)
    torch.testing.assert_close(functional.softplus(odds), functional.cross_entropy(scores, codes, reduction="none"))
    losses = (odds, functional.softplus(odds))
    gradients = [torch.autograd.grad(loss.sum(), scores, retain_graph=True)[0] for loss in losses]
    cosines = functional.cosine_similarity(*gradients)
    torch.testing.assert_close(cosines, torch.ones_like(cosines))
    certain_outputs = (1e5 * functional.one_hot(codes, 4)).double().requires_grad_()
    (gradient,) = torch.autograd.grad(wrong_log_odds(certain_outputs, images).sum(), certain_outputs)
    assert float(gradient.abs().amax(dim=1).min()) > 0.1
