"""Weights of rows, weights of classes and soft labels in training, compared with torch's own losses and by hand.

Modules: finetuning.objective.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional

import featx
from featx.errors import DataError
from featx.finetuning.losses import build_loss, weighted_mean
from featx.finetuning.objective import Objective
from featx.finetuning.task import build_task, encode_shares
from featx.specs.extraction import EngineSpec
from featx.specs.finetuning import FinetuneSpec, LayersSpec, LossSpec
from featx.study.run_folder import RunFolder
from featx.study.run_metrics import NetworkMetrics
from featx.study.study import Study
from tests.recipes import LABEL_TABLE, toy_recipe

RECIPE = toy_recipe(
    data=LABEL_TABLE,
    targets={
        "soft": {"column": "share", "soft": True, "classes": ["dark", "bright"]},
        "hard": {"column": "class", "weight": "weight"},
    },
    split={"test": 0, "val": 0.2},
    extraction={"device": "cpu", "workers": 1},
    finetune=[{"backbone": "toy", "weights": "none"}],
    embedding=None,
    head=None,
)
SPEC = FinetuneSpec(
    backbone="toy", weights="none", strategy="all", epochs=2, lr=0.02, batch_size=8, layers=LayersSpec(dropout=0.0)
)
SHARES = np.array([[0.45, 0.55], [1.0, 0.0], [0.2, 0.8]])
OUTPUTS = torch.tensor([[0.3, -0.2], [1.0, 0.5], [-0.4, 0.9]], dtype=torch.float64)


@pytest.fixture
def study(home: Path) -> Path:
    """60 pictures whose brightness tells a class; shares of .45 or .55; every seventh row weighs nothing."""
    rng = np.random.default_rng(0)
    (home / "images").mkdir()
    rows = []
    for number in range(60):
        bright = number % 2
        pixels = rng.normal(80 + 90 * bright, 25, (16, 16, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(home / "images" / f"{number}.png")
        weight = 0 if number % 7 == 0 else round(float(rng.uniform(0.1, 5)), 2)
        rows.append((f"{number}.png", "bright" if bright else "dark", 0.55 if bright else 0.45, weight))
    pd.DataFrame(rows, columns=["path", "class", "share", "weight"]).to_csv(home / "images/labels.csv", index=False)
    (home / "featx.toml").write_text(RECIPE)
    featx.extract()
    return home


def train_network(target: str, engine: EngineSpec | None = None, **fields: Any) -> Path:
    """Train one network and return its run's folder."""
    spec = FinetuneSpec.model_validate(SPEC.model_dump() | fields)
    (run,) = featx.finetune(specs=[spec], target=target, engine=engine, force=True)
    return Path(run.path)


def soft_objective(loss: str, class_weights: tuple[float, float] | None) -> Objective:
    """Return the objective of soft labels for a loss."""
    loss_spec = LossSpec(name=loss)
    weights = None if class_weights is None else np.array(class_weights)
    targets, row_weights = encode_shares(build_loss(loss_spec), loss_spec, SHARES, weights, np.array([1.0, 2.0, 0.5]))
    return Objective(loss_spec, 1 if loss == "bce" else 2, targets.double(), torch.from_numpy(row_weights))


@pytest.mark.parametrize("class_weights", [None, (1.0, 3.0)])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "bce"])
def test_soft_labels_count_by_their_shares(loss: str, class_weights: tuple[float, float] | None) -> None:
    objective = soft_objective(loss, class_weights)
    outputs = OUTPUTS[:, 1:] - OUTPUTS[:, :1] if loss == "bce" else OUTPUTS
    log_p = OUTPUTS.log_softmax(1).numpy()
    class_losses = -log_p * (1 - np.exp(log_p)) ** (objective.spec.gamma if loss == "focal" else 0)
    row_weights = np.array([1.0, 2.0, 0.5])
    counts = row_weights[:, None] * SHARES * np.array(class_weights or (1.0, 1.0))
    expected = (counts * class_losses).sum() / counts.sum()
    assert float(objective.mean_loss(outputs, objective.all_rows)) == pytest.approx(expected, rel=1e-6)
    if loss == "cross_entropy":
        weight = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float64)
        losses = objective.row_losses(OUTPUTS, objective.all_rows) * objective.weights / torch.from_numpy(row_weights)
        expected_losses = functional.cross_entropy(OUTPUTS, torch.from_numpy(SHARES), weight=weight, reduction="none")
        torch.testing.assert_close(losses, expected_losses, rtol=1e-6, atol=0)


@pytest.mark.parametrize("strategy", ["head", "all"])
def test_a_network_learns_shares_and_not_their_rounding(study: Path, strategy: str) -> None:
    run = featx.finetune(
        specs=[FinetuneSpec.model_validate(SPEC.model_dump() | {"strategy": strategy, "epochs": 25, "patience": 0})],
        target="soft",
    )[0]
    predictions = next(folder for folder in Study.open(None).runs("soft") if folder.name == run.run).predictions
    proba = predictions.ordered(("dark", "bright")).proba[:, 1]
    assert proba.min() > 0.4
    assert proba.max() < 0.6


def test_ordinal_losses_refuse_soft_labels(study: Path) -> None:
    with pytest.raises(DataError, match="loss 'ordinal' takes one class per row, the target has soft labels; set loss"):
        featx.finetune(
            specs=[FinetuneSpec.model_validate(SPEC.model_dump() | {"loss": {"name": "ordinal"}})], target="soft"
        )


def test_a_batch_whose_rows_weigh_nothing_has_no_gradient() -> None:
    outputs = torch.randn(4, 2, requires_grad=True)
    losses = functional.cross_entropy(outputs, torch.tensor([0, 1, 1, 0]), reduction="none")
    mean = weighted_mean(losses, torch.zeros(4))
    mean.backward()
    assert float(mean.detach()) == 0
    assert outputs.grad is not None
    assert (outputs.grad == 0).all()


@pytest.mark.parametrize("strategy", ["head", "all"])
def test_rows_that_weigh_nothing_fill_batches_without_harm(study: Path, strategy: str) -> None:
    folder = train_network("hard", strategy=strategy, batch_size=2)
    log = pd.read_csv(folder / "log.csv")
    assert np.isfinite(log[["train_loss", "held_loss"]].to_numpy()[1:]).all()
    assert all(torch.isfinite(value).all() for value in load_file(folder / "last.safetensors").values())


def test_the_score_on_train_is_weighted_as_the_one_on_val(study: Path) -> None:
    folder = train_network("hard", monitor="val")
    metrics = RunFolder(folder).metrics
    assert isinstance(metrics, NetworkMetrics)
    labels = pd.read_csv("images/labels.csv", index_col="path").loc[list(Study.open(None).ids("train"))]
    images = [Path("images", name) for name in labels.index]
    prediction = featx.load(folder).predict_images(images)
    is_right = np.array(prediction.classes)[prediction.proba.argmax(1)] == labels["class"].to_numpy()
    assert metrics.train["confidence_accuracy"] == pytest.approx(np.average(is_right, weights=labels["weight"]))
    assert metrics.train["accuracy"] == pytest.approx(np.mean(is_right))
    assert metrics.val is not None
    assert metrics.train.keys() == metrics.val.keys()


def test_rows_that_all_weigh_nothing_are_refused(study: Path) -> None:
    rows = pd.read_csv("images/labels.csv")
    ids = Study.open(None).ids("train")
    rows.loc[rows["path"].isin(ids), "weight"] = 0
    rows.to_csv("images/labels.csv", index=False)
    featx.extract()
    with pytest.raises(DataError, match=r"train rows weigh 0; check 'weight' and 'confidence' of the target"):
        train_network("hard")


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        # Each case starts processes for half a minute.
        pytest.param("hard", {}, id="row weights", marks=pytest.mark.slow),
        pytest.param("hard", {"class_weight": {"dark": 4.0}}, id="row and class weights"),
        pytest.param("soft", {"class_weight": {"dark": 4.0}}, id="soft labels", marks=pytest.mark.slow),
    ],
)
def test_two_processes_train_the_network_that_one_trains(study: Path, target: str, fields: dict[str, Any]) -> None:
    expected = load_file(train_network(target, **fields) / "last.safetensors")
    weights = load_file(train_network(target, EngineSpec(device="cpu", gpus=2), **fields) / "last.safetensors")
    difference = max(float((expected[name] - weights[name]).abs().max()) for name in expected)
    assert difference < 1e-4


@pytest.mark.parametrize("strategy", ["head", "all"])
def test_the_train_loss_is_the_weighted_mean_over_rows(study: Path, strategy: str) -> None:
    folder = train_network("hard", strategy=strategy, lr=1e-12, holdout=0.0, epochs=1)
    task = build_task(Study.open(None), "hard", SPEC, [])
    log = pd.read_csv(folder / "log.csv")
    assert task.objective.weights.sum() > 0
    # With next to no learning rate the loss while training is that of the network before training.
    assert log["train_loss"].iloc[1] == pytest.approx(log["train_loss"].iloc[0], rel=1e-4)
    assert log["train_accuracy"].iloc[1] == log["train_accuracy"].iloc[0]


@pytest.mark.parametrize("size", [1, 4, 16])
def test_the_gradients_of_steps_add_up_to_that_of_all_rows(size: int) -> None:
    torch.manual_seed(0)
    outputs = torch.randn(16, 2, requires_grad=True)
    weights = torch.from_numpy(np.random.default_rng(0).lognormal(0, 1, 16))
    objective = Objective(LossSpec(name="cross_entropy"), 2, torch.arange(16) % 2, weights).with_mean_weight_one()
    (full_gradient,) = torch.autograd.grad(objective.mean_loss(outputs, objective.all_rows), outputs)
    steps = [objective.total_loss(outputs[rows], rows) / len(rows) for rows in objective.all_rows.split(size)]
    (mean_gradient,) = torch.autograd.grad(torch.stack(steps).mean(), outputs)
    torch.testing.assert_close(mean_gradient, full_gradient, rtol=1e-5, atol=1e-9)


def test_focal_losses_have_finite_gradients_where_a_class_is_certain() -> None:
    outputs = torch.tensor([[200.0, 0.0]], requires_grad=True)
    build_loss(LossSpec(name="focal", gamma=0.5)).row_losses(outputs, torch.tensor([0])).sum().backward()
    assert outputs.grad is not None
    assert torch.isfinite(outputs.grad).all()
