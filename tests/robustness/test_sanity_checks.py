"""Sanity checks notice gradients that are masked, outputs that are random, and losses that mislead."""

from dataclasses import replace

import torch

from featx.robustness.attacks.attacked_images import AttackedImages
from featx.robustness.sanity_checks import check_attacks
from featx.specs.attacking import AttackSpec

PGD = AttackSpec(method="pgd", eps=0.3, steps=10)


def images_of(scores: object) -> AttackedImages:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(8, 3, 4, 4, dtype=torch.float64, generator=generator)
    return AttackedImages(scores, pixels, torch.zeros(8, dtype=torch.long), "linf", 0.05, generator)  # type: ignore[arg-type]


def test_masked_gradients_and_random_outputs_are_noticed() -> None:
    weights = torch.randn(48, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 20
    bias = torch.tensor([0.5, 0.0], dtype=torch.float64)

    def linear(pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1) @ weights + bias

    def rounded(pixels: torch.Tensor) -> torch.Tensor:
        return linear(pixels + (pixels.round() - pixels).detach() * 0 - pixels + pixels.detach())

    def noisy(pixels: torch.Tensor) -> torch.Tensor:
        return linear(pixels) + 0.1 * torch.randn(len(pixels), 2, dtype=torch.float64)

    assert check_attacks(images_of(linear), PGD, True) == (7, [])
    n_checks, failures = check_attacks(images_of(rounded), PGD, True)
    assert n_checks == 7
    assert any("the gradient is zero for 100% of the images" in text for text in failures)
    assert any("its outputs are random" in text for text in check_attacks(images_of(noisy), PGD, True)[1])
    # Without gradient only the outputs are checked.
    assert check_attacks(images_of(rounded), PGD, False) == (1, [])


def test_large_images_of_three_classes_are_checked() -> None:
    pixels = torch.rand(8, 3, 400, 400, generator=torch.Generator().manual_seed(0))

    def mean_colours(pixels: torch.Tensor) -> torch.Tensor:
        return 10 * pixels.double().mean(dim=(2, 3))

    images = replace(images_of(mean_colours), pixels=pixels, codes=mean_colours(pixels).argmax(dim=1), eps=1e-6)
    assert check_attacks(images, PGD, True)[0] == 7


def test_a_misleading_loss_and_an_image_that_is_always_right_are_noticed() -> None:
    weights = torch.randn(48, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 20

    def misled(pixels: torch.Tensor) -> torch.Tensor:
        # An improbable class with a false, steep gradient decides the direction of the log-odds.
        margin = (pixels - 0.5).flatten(1) @ (weights[:, :1] - weights[:, 1:]) + 0.1
        return torch.cat([margin, -margin, 1e20 * (margin - margin.detach()) - 30], dim=1)

    def constant(pixels: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.0, 0.0], dtype=torch.float64) + 1e-9 * (pixels.flatten(1) @ weights)

    images = replace(images_of(misled), eps=0.3)
    assert any("the cross-entropy is misleading" in text for text in check_attacks(images, PGD, True)[1])
    assert any(
        "stay right under perturbations without a limit" in t for t in check_attacks(images_of(constant), PGD, True)[1]
    )
