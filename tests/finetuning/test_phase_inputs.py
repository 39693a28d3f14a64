"""Inputs of a phase: cached activations of frozen layers, augmented images, and too little memory for them.

Modules: finetuning.augmentation, finetuning.phase_building, finetuning.training_rows.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import featx
from featx.errors import StoreError
from featx.specs.extraction import EngineSpec
from featx.specs.finetuning import LayersSpec
from featx.study.study import Study
from tests.finetuning.specs import changed, finetune_one


def test_cached_activations_and_live_frozen_layers_train_the_same_network(study: Path) -> None:
    engine = EngineSpec(device="cpu", boundary_gb=0)
    cached = featx.finetune(specs=[changed(strategy="4")], target="class")[0]
    (live_run,) = featx.finetune(specs=[changed(strategy="4")], target="class", engine=engine, force=True)
    assert "the frozen layers run in every epoch instead" in live_run.notes[0]
    assert cached.notes == ["random weights: the network learns from these images alone"]
    # Activations are cached in half precision.
    assert live_run.held_loss == pytest.approx(cached.held_loss, abs=2e-3)


def test_runs_with_one_boundary_share_its_activations(study: Path) -> None:
    finetune_one(strategy="4")
    segments_before = sorted((study / "cache").rglob("segment-*"))
    assert segments_before
    for fields in ({"lr": 1e-3}, {"seed": 3}, {"layers": LayersSpec(hidden=())}, {"loss": "focal"}):
        finetune_one(strategy="4", **fields)
    assert sorted((study / "cache").rglob("segment-*")) == segments_before


def test_phases_continue_from_the_best_weights_below_one_boundary(study: Path) -> None:
    phases = {"trainable": "all", "lr": 0.05, "epochs": 2}, {"trainable": "head", "lr": 0.05, "epochs": 2}
    run = finetune_one(strategy="progressive", phases=phases, patience=0)
    assert run.n_epochs == 4
    model = featx.load(run.path)
    table = Study.open(None).runs("class")[0].predictions
    predictions = model.predict_images([f"images/{name}" for name in table.ids])
    np.testing.assert_allclose(predictions.proba, table.ordered(predictions.classes).proba, atol=2e-3)


@pytest.mark.parametrize(
    "augment", [{"flip": True, "rotation_deg": 10, "shift": 0.1, "colour": 0.2, "randaugment": 1}, {"shift": 0.1}]
)
@pytest.mark.parametrize("views", [None, 2])
def test_augmented_images_are_cached_or_made_in_every_epoch(study: Path, augment: Any, views: int | None) -> None:
    run = finetune_one(strategy="4", augment=augment, views=views, epochs=2)
    assert run.n_epochs == 2


def test_layers_whose_activations_do_not_fit_run_in_every_epoch(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.finetuning.phase_inputs.room_bytes", lambda _folder: 1000)
    assert "0.0 MB are available" in finetune_one(strategy="4").notes[0]
    monkeypatch.setattr("featx.finetuning.training_rows.free_bytes", lambda _folder: 1000)
    with pytest.raises(StoreError, match="the decoded images take .* are free for"):
        finetune_one(strategy="all")
