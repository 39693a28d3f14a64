"""Optimisers, schedules of the learning rate, and batches that are accumulated or divided.

Modules: finetuning.lightning_loop, finetuning.vector_loop.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import featx
from featx.networks.backbones import Backbone
from featx.networks.pretrained_weights import WeightsFile
from featx.registry import BACKBONES
from featx.specs.embedding import Preprocessing
from featx.specs.extraction import EngineSpec
from featx.specs.finetuning import LayersSpec
from tests.finetuning.specs import changed, finetune_one


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd", "adadelta"])
@pytest.mark.parametrize("strategy", ["head", "all"])
def test_every_optimiser_lowers_the_loss(study: Path, optimiser: str, strategy: str) -> None:
    lr = {"adadelta": 1.0, "sgd": 0.05}.get(optimiser, 0.01)
    run = finetune_one(strategy=strategy, optimiser=optimiser, lr=lr, epochs=6, block_decay=0.5, weight_decay=1e-4)
    log = pd.read_csv(Path(run.path) / "log.csv")
    assert log["held_loss"].min() < log["held_loss"][0]


# Learning rates of four epochs, as the schedule's own definition says.
RATES = {
    "constant": [1, 1, 1, 1],
    "step": [1, 1, 0.5, 0.5],
    "hold": [1, 1, 0.5, 0.25],
    "cosine": [1, 0.853553, 0.5, 0.146447],
}


@pytest.mark.parametrize(("strategy", "name"), [*(("head", name) for name in RATES), ("4", "cosine"), ("4", "step")])
def test_schedules_follow_their_definition(study: Path, strategy: str, name: str) -> None:
    schedule = {"name": name, "factor": 0.5, "epochs": 2}
    run = finetune_one(strategy=strategy, schedule=schedule, epochs=4, patience=0)
    rates = pd.read_csv(Path(run.path) / "log.csv")["lr"][1:]
    np.testing.assert_allclose(rates / 0.01, RATES[name], rtol=1e-5)


@pytest.mark.parametrize("strategy", ["head", "4"])
def test_one_cycle_rises_and_falls_and_a_plateau_lowers_the_rate(study: Path, strategy: str) -> None:
    cycle = pd.read_csv(
        Path(finetune_one(strategy=strategy, schedule="one-cycle", epochs=5, patience=0).path) / "log.csv"
    )["lr"]
    assert cycle[1:].idxmax() in {2, 3}
    assert cycle.iloc[-1] < cycle.max() / 5
    too_slow = {"schedule": {"name": "plateau", "epochs": 1, "factor": 0.1}, "lr": 1e-6, "optimiser": "sgd"}
    rates = pd.read_csv(Path(finetune_one(strategy=strategy, **too_slow, epochs=6, patience=0).path) / "log.csv")["lr"][
        1:
    ]
    assert rates.iloc[-1] < 0.2e-6


def test_small_batches_accumulated_are_a_large_batch(study: Path) -> None:
    small_layers = LayersSpec(hidden=(8,), dropout=0.0)
    large_batch_run = finetune_one(backbone="toy", strategy="all", layers=small_layers, batch_size=8)
    small_batch_run = finetune_one(backbone="toy", strategy="all", layers=small_layers, batch_size=4, accumulate=2)
    assert small_batch_run.held_loss == pytest.approx(large_batch_run.held_loss, abs=1e-3)


def register_toy_network(name: str, build_convolution: Callable[[], nn.Module]) -> None:
    """Register a backbone of one convolution."""
    half = (0.5, 0.5, 0.5)
    missing_file = WeightsFile(Path(f"nowhere/{name}.pth"), "", None, "there are none")
    preprocessing = Preprocessing(size_px=16, mean=half, std=half)

    def build() -> nn.Module:
        return nn.Sequential(build_convolution(), nn.ReLU())

    BACKBONES.register(name)(lambda: Backbone(name, build, missing_file, preprocessing, last="1"))


class Hungry(nn.Conv2d):
    """A convolution that has memory for three images."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return super().forward(x)


def test_out_of_memory_halves_batches_and_accumulates_them(study: Path) -> None:
    register_toy_network("hungry", lambda: Hungry(3, 4, 3))
    run = finetune_one(backbone="hungry", strategy="all", batch_size=8)
    assert run.notes[1:] == [
        "out of memory: batches of 4, 2 per step, instead",
        "out of memory: batches of 2, 4 per step, instead",
    ]
    assert run.n_epochs == 3


class NarrowLater(nn.Conv2d):
    """A convolution that has memory for five images only after some steps of training."""

    n_steps = 0

    def forward(self, x: Tensor) -> Tensor:
        NarrowLater.n_steps += self.training
        if NarrowLater.n_steps > 8 and len(x) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return super().forward(x)


def test_out_of_memory_in_a_later_epoch_leaves_the_number_of_steps(study: Path) -> None:
    register_toy_network("narrow_later", lambda: NarrowLater(3, 4, 3))
    run = finetune_one(
        backbone="narrow_later", strategy="all", batch_size=9, schedule="one-cycle", epochs=5, patience=0
    )
    assert run.notes[1:] == ["out of memory: batches of 5, 2 per step, instead"]
    assert run.n_epochs == 5


@pytest.mark.slow  # tests/finetuning/test_row_weights.py compares the weights of such a training
def test_two_processes_train_like_a_single_one(study: Path) -> None:
    small_layers = LayersSpec(hidden=(8,), dropout=0.0)
    single = finetune_one(backbone="toy", strategy="all", layers=small_layers, epochs=2)
    two_processes = EngineSpec(device="cpu", gpus=2)
    (shared,) = featx.finetune(
        specs=[changed(backbone="toy", strategy="all", layers=small_layers, epochs=2)],
        target="class",
        engine=two_processes,
        force=True,
    )
    assert shared.n_epochs == 2
    assert shared.held_loss == pytest.approx(single.held_loss, abs=0.02)
