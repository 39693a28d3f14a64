"""Adversarial training: perturbations within their limit, from the backward passes that train, or from their own.

Modules: specs.defences.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

import featx
from featx.finetuning.adversarial import FreePerturbations, n_perturbed, perturb
from featx.finetuning.canonical_spec import canonical_spec
from featx.specs.defences import AdversarialSpec
from featx.specs.finetuning import FinetuneSpec
from tests.finetuning.specs import changed, finetune_one

EPS = 0.1
FREE = {"attack": "free", "eps": EPS, "share": 1.0, "replays": 3}


@pytest.fixture
def pixels() -> Tensor:
    torch.manual_seed(0)
    return torch.rand(4, 5, 6, 3) * 0.6 + 0.2


@pytest.fixture
def slopes() -> Tensor:
    return torch.randn(5, 6, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("fields", [{"attack": "fgsm"}, {"attack": "pgd", "steps": 1}, {"attack": "pgd", "steps": 5}])
def test_perturbations_of_a_linear_loss_keep_the_limit(pixels: Tensor, slopes: Tensor, fields: dict[str, Any]) -> None:
    spec = AdversarialSpec(eps=EPS, **fields)
    torch.manual_seed(3)
    perturbed_pixels = perturb(pixels, lambda x: (x * slopes).sum((1, 2, 3)), spec)
    delta = perturbed_pixels - pixels
    assert delta.abs().max() <= EPS + 1e-6
    # From any start, a step along the sign of the slopes increases every pixel's part of the loss.
    assert (delta * slopes.sign()).min() > 0.2 * EPS
    reaches_limit = torch.allclose(delta, EPS * slopes.sign().expand_as(delta), atol=1e-6)
    assert reaches_limit == (fields.get("steps") == 5)


def test_pixels_stay_in_their_range(slopes: Tensor) -> None:
    white = torch.ones(2, 5, 6, 3)
    perturbed_pixels = perturb(white, lambda x: (x * slopes).sum((1, 2, 3)), AdversarialSpec(eps=EPS))
    assert perturbed_pixels.max() <= 1
    assert torch.allclose(perturbed_pixels[0][slopes < 0], torch.tensor(1 - EPS))


def test_free_perturbations_follow_the_backward_passes_of_training(pixels: Tensor, slopes: Tensor) -> None:
    perturbations = FreePerturbations(AdversarialSpec(**FREE))
    weights = slopes.clone().requires_grad_()
    deltas = []
    for replay in range(3):
        perturbed_pixels = perturbations.add_to(pixels, 0, is_first=replay == 0)
        (perturbed_pixels * weights).sum().backward()
        perturbations.after_backward()
        deltas.append((perturbed_pixels - pixels).detach())
    # One backward pass has given the gradients of the weights as well.
    assert torch.allclose(weights.grad, sum(3 * [pixels.sum(0)]) + sum(deltas).sum(0), atol=1e-4)
    assert not torch.allclose(deltas[0].abs(), torch.tensor(EPS))
    # Two steps of the length of the limit reach it from any start.
    assert torch.allclose(deltas[2], EPS * slopes.sign().expand_as(deltas[2]), atol=1e-6)


def test_a_share_of_each_batch_is_perturbed() -> None:
    assert [n_perturbed(n, 0.5) for n in (1, 2, 7, 32)] == [1, 1, 4, 16]
    assert n_perturbed(7, 1.0) == 7


def test_limits_in_levels_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"found 8 for pixels in \[0, 1\].*write 0.03137 \(8/255\)"):
        AdversarialSpec(eps=8)


def test_keys_that_an_attack_does_not_read_do_not_make_another_run() -> None:
    def canonical(**fields: Any) -> FinetuneSpec:
        return canonical_spec(FinetuneSpec(adversarial=fields, augment={"flip": True}), "classes")

    assert canonical(attack="fgsm", steps=3, replays=9) == canonical(attack="fgsm")
    assert canonical(attack="free", steps=3) == canonical(attack="free")
    assert len({canonical(attack="pgd", steps=steps).fingerprint() for steps in (3, 4)}) == 2
    assert canonical(attack="pgd") == canonical(attack="pgd").model_copy(update={"views": None})
    # Runs without a defence keep the fingerprint that they had before there were defences.
    assert "adversarial" not in FinetuneSpec().identity()


@pytest.mark.parametrize(
    ("strategy", "adversarial"),
    [("all", {"attack": "pgd", "steps": 2}), ("4", FREE)],
)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    study: Path, strategy: str, adversarial: dict[str, Any]
) -> None:
    spec = changed(strategy=strategy, adversarial=adversarial, accumulate=2, batch_size=4)
    totals = []

    def interrupt(stage: str, n_done: int, total: int, note: str = "") -> None:
        if stage.startswith("finetune"):
            totals.append(total)
            if n_done == total // 3 + 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        featx.finetune(specs=[spec], target="class", progress=interrupt)
    (resumed_run,) = featx.finetune(specs=[spec], target="class")
    weights = load_file(Path(resumed_run.path) / "last.safetensors")
    (repeated_run,) = featx.finetune(specs=[spec], target="class", force=True)
    expected = load_file(Path(repeated_run.path) / "last.safetensors")
    assert all(torch.equal(weights[name], expected[name]) for name in weights)
    # Five steps of two batches, in three epochs.
    assert set(totals) == {(3 if adversarial is FREE else 1) * 5 * 2 * 3}
    note = "takes about 3 times" if adversarial is FREE else "takes about 2 times"
    assert note in resumed_run.notes[0]


def test_new_layers_alone_are_trained_from_images(study: Path) -> None:
    fields = {"strategy": "head", "layers": {"hidden": []}, "epochs": 1}
    cached, defended = (
        finetune_one(**fields, adversarial=adversarial) for adversarial in (None, {"attack": "fgsm", "share": 1.0})
    )
    assert defended.held_loss != cached.held_loss
    assert "the frozen layers run in every epoch, since activations cannot be cached" in defended.notes[0]
