"""Fine-tuning on the device: it is repeatable and resumed, in every precision, and its networks predict on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import featx
from featx.study.study import Study
from tests.finetuning.specs import STRATEGIES, changed
from tests.gpu.device import IS_CUDA, ON_DEVICE, memory_limit, needs_cuda

pytestmark = ON_DEVICE
# The forward and backward pass of one image of 16 px needs far less.
TRAINING_LIMIT_BYTES = 64_000_000


def train_one(force: bool = False, **fields: Any) -> Any:
    """Return the result of one run."""
    (run,) = featx.finetune(specs=[changed(**fields)], target="class", force=force)
    return run


def weights_of(run: Any) -> dict[str, torch.Tensor]:
    return load_file(Path(run.path) / "model.safetensors")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_network_predicts_on_the_cpu_as_on_the_device(study: Path, strategy: str) -> None:
    run = train_one(**STRATEGIES[strategy])
    stored_predictions = next(folder for folder in Study.open(None).runs("class") if folder.name == run.run).predictions
    predictions = featx.load(run.path).predict_images(
        [f"images/{name}" for name in stored_predictions.ids], device="cpu"
    )
    np.testing.assert_allclose(predictions.proba, stored_predictions.ordered(predictions.classes).proba, atol=2e-3)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_equal_seeds_give_equal_networks(study: Path, strategy: str) -> None:
    first = weights_of(train_one(**STRATEGIES[strategy]))
    second = weights_of(train_one(force=True, **STRATEGIES[strategy]))
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strategy", ["boundary", "pixels"])
def test_an_interrupted_training_is_resumed(study: Path, strategy: str) -> None:
    spec = changed(**STRATEGIES[strategy] | {"epochs": 4, "seed": 3})

    def interrupt(stage: str, n_done: int, total: int, note: str = "") -> None:
        if stage.startswith("finetune") and n_done == total // 2 + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        featx.finetune(specs=[spec], target="class", progress=interrupt)
    assert list((study / "runs").rglob(".finetune-*/phase-1.pt"))
    (resumed_run,) = featx.finetune(specs=[spec], target="class")
    resumed_weights = weights_of(resumed_run)
    (uninterrupted_run,) = featx.finetune(specs=[spec], target="class", force=True)
    assert resumed_run.n_epochs == uninterrupted_run.n_epochs
    for name, tensor in weights_of(uninterrupted_run).items():
        torch.testing.assert_close(resumed_weights[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"] if IS_CUDA else ["bf16"])
def test_a_network_learns_in_a_reduced_precision(study: Path, precision: str) -> None:
    run = train_one(strategy="all", precision=precision, epochs=12)
    assert "nan" not in run.flags
    assert run.val_score > 0.8


@needs_cuda
def test_batches_are_halved_where_memory_is_short(study: Path) -> None:
    fields = {"strategy": "all", "batch_size": 32, "size_px": 512, "epochs": 1, "seed": 5}
    with memory_limit(TRAINING_LIMIT_BYTES * 8):
        run = train_one(**fields)
    assert any(note.startswith("out of memory: batches of ") for note in run.notes)
    assert np.isfinite(run.held_loss)
