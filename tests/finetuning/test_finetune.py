"""Fine-tuned networks are runs like all others: written whole, found again, loaded, and compared.

Modules: artifacts.learning_curves, finetuning.phase, finetuning.speed, finetuning.task.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import featx
from featx.artifacts.header import read_header
from featx.errors import DataError, FeatxError, RecipeError, UnknownNameError
from featx.specs.finetuning import LayersSpec
from featx.study.study import Study
from tests.finetuning.specs import SECTIONS, STRATEGIES, changed, finetune_one
from tests.recipes import toy_recipe


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_loaded_run_predicts_as_it_did_when_trained(study: Path, strategy: str) -> None:
    run = finetune_one(**STRATEGIES[strategy])
    folder = Path(run.path)
    stored_run = Study.open(None).runs("class")[0]
    assert stored_run.name == run.run
    files = {"header.json", "spec.json", "metrics.json", "log.csv", "curves.png", "predictions.parquet"}
    assert files | {"model.safetensors", "last.safetensors"} <= {file.name for file in folder.iterdir()}
    assert not list(folder.parent.glob(".finetune-*[!k]"))
    log = pd.read_csv(folder / "log.csv")
    assert log["number"].tolist() == list(range(run.n_epochs + 1))
    assert log["held_loss"].notna().all()
    table = stored_run.predictions
    assert set(table.part) == {"val", "test"}
    predictions = featx.load(folder).predict_images([f"images/{name}" for name in table.ids])
    np.testing.assert_allclose(predictions.proba, table.ordered(predictions.classes).proba, atol=2e-3)
    assert not finetune_one(**STRATEGIES[strategy]).is_new


def test_a_network_learns_to_tell_dark_from_bright(study: Path) -> None:
    assert finetune_one(strategy="all", epochs=12).val_score > 0.8


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_equal_seeds_give_equal_weights_and_other_seeds_other_ones(study: Path, strategy: str) -> None:
    first = load_file(Path(finetune_one(**STRATEGIES[strategy]).path) / "model.safetensors")
    (repeated_run,) = featx.finetune(specs=[changed(**STRATEGIES[strategy])], target="class", force=True)
    other_seed = load_file(Path(finetune_one(**STRATEGIES[strategy] | {"seed": 1}).path) / "model.safetensors")
    second = load_file(Path(repeated_run.path) / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other_seed[name]) for name in first)


@pytest.mark.parametrize(
    ("loss", "fields"),
    [
        ("mse", {}),
        ("mae", {"scale": "standard"}),
        ("huber", {"scale": "symmetric", "layers": LayersSpec(hidden=(8,), activation="tanh")}),
        ("log_cosh", {"scale": "unit", "layers": LayersSpec(hidden=(8,), activation="sigmoid")}),
        ("poisson", {"layers": LayersSpec(hidden=(8,), activation="sigmoid")}),
        ("msle", {"layers": LayersSpec(hidden=(8,), activation="sigmoid")}),
        ("cross_entropy", {}),
        ("ordinal", {}),
    ],
)
def test_every_loss_predicts_numbers_in_their_own_units(study: Path, loss: str, fields: dict[str, Any]) -> None:
    (run,) = featx.finetune(specs=[changed(strategy="all", loss=loss, epochs=15, **fields)], target="level")
    estimates = Study.open(None).runs("level")[0].predictions
    predictions = featx.load(run.path).predict_images([f"images/{name}" for name in estimates.ids])
    np.testing.assert_allclose(predictions.proba, estimates.values, atol=5e-3)
    assert predictions.rows("x")[0].keys() == {"image", "run", "value.level"}
    assert run.metric == "mae"
    # The mean absolute error of the middle of all levels is 0.25.
    assert run.val_score < 0.25
    (evaluation,) = featx.evaluate(target="level")
    assert evaluation.rows[0].scores["mae"] == pytest.approx(run.val_score)
    if loss == "mse":
        featx.report()


def test_several_numbers_are_predicted_together(study: Path) -> None:
    recipe = (study / "featx.toml").read_text().replace('column = "level"', 'columns = ["level", "twice"]')
    labels = pd.read_csv(study / "images" / "labels.csv")
    labels.assign(twice=2 * labels["level"]).to_csv(study / "images" / "labels.csv", index=False)
    (study / "featx.toml").write_text(recipe)
    featx.extract()
    (run,) = featx.finetune(specs=[changed(strategy="all", epochs=15, scale="unit")], target="level")
    values = Study.open(None).runs("level")[0].predictions.values
    assert values.shape[1] == 2
    assert np.corrcoef(values.T)[0, 1] > 0.8
    assert {"mae.level", "mae.twice"} <= set(featx.evaluate(target="level")[0].rows[0].scores)
    assert read_header(run.path)[1].numbers == ("level", "twice")


def test_groups_and_classes_can_weigh_the_same(study: Path) -> None:
    losses = {
        (weight, group): finetune_one(
            strategy="head", class_weight={"dark": 5.0} if weight == "heavy" else weight, group_weight=group
        ).held_loss
        for weight, group in (("none", "none"), ("heavy", "none"), ("none", "side"), ("heavy", "side+class"))
    }
    assert len(set(losses.values())) == 4
    with pytest.raises(DataError, match="no group is called 'sid'; groups of the recipe: side, class"):
        finetune_one(group_weight="sid")


BAD_OPTIONS: list[tuple[dict[str, Any], str, type[FeatxError], str]] = [
    (
        {"strategy": "block9"},
        "class",
        UnknownNameError,
        r"called 'block9'; .*known: head, last-block, .*block1, block2, block3",
    ),
    ({"loss": "huber"}, "class", DataError, "loss 'huber' takes numbers, the target has classes"),
    ({"scale": "unit"}, "class", DataError, "scale = 'unit' is for numbers"),
    (
        {"layers": {"activation": "tanh"}},
        "class",
        DataError,
        "has its own activation, found layers.activation = 'tanh'",
    ),
    ({"class_weight": {"dim": 2.0}}, "class", DataError, "class_weight names 'dim'; classes: bright, dark"),
    ({"class_weight": "balanced"}, "level", DataError, "is of kind .numbers. and has no classes; use group_weight"),
    ({"loss": "mape"}, "level", DataError, r"divides by the target, \d+ targets are 0; set loss = 'mae'"),
    ({"loss": "mape", "scale": "standard"}, "level", DataError, r"divides by the target, \d+ targets are 0"),
    (
        {"layers": {"activation": "sigmoid"}, "scale": "standard"},
        "level",
        DataError,
        "activation 'sigmoid' gives 0 to 1; scale them",
    ),
    ({"loss": "bce"}, "level", DataError, "loss 'bce' takes two classes, found 10"),
    ({"backbone": "efficientnet_lite0", "weights": "other.safetensors"}, "class", FeatxError, "no such file"),
]


@pytest.mark.parametrize(("fields", "target", "error", "message"), BAD_OPTIONS)
def test_options_that_do_not_fit_are_reported_in_one_line(
    study: Path, fields: dict[str, Any], target: str, error: type[FeatxError], message: str
) -> None:
    with pytest.raises(error, match=message) as error_info:
        featx.finetune(specs=[changed(**fields)], target=target)
    assert "\n" not in str(error_info.value)
    assert not list((study / "runs").rglob("header.json"))


def test_a_val_part_of_one_class_is_reported(study: Path) -> None:
    labels = pd.read_csv(study / "images" / "labels.csv")
    part = np.where(labels["class"] == "dark", np.where(labels.index % 5, "train", "val"), "train")
    labels.assign(part=part).to_csv(study / "images" / "labels.csv", index=False)
    (study / "featx.toml").write_text(toy_recipe(**SECTIONS | {"split": {"column": "part", "test": 0}}))
    featx.extract()
    assert "all val rows have the same label" in finetune_one(strategy="head").notes[-1]
    (study / "featx.toml").write_text(toy_recipe(**SECTIONS | {"split": {"test": 0.2, "val": 0}}))
    featx.extract()
    with pytest.raises(DataError, match="the split has no val rows"):
        finetune_one()


def test_random_weights_are_reported(study: Path) -> None:
    notes = []
    (run,) = featx.finetune(
        specs=[changed(strategy="scratch", weights="default", epochs=1)],
        target="class",
        progress=lambda _stage, _done, _total, note="": notes.append(note),
    )
    assert run.notes == ["random weights: the network learns from these images alone"]
    assert run.notes[0] in notes


def test_arguments_override_the_recipe(study: Path) -> None:
    runs = featx.finetune(strategies=["head", "4"], lrs=[1e-2, 1e-3], epochs=1, target="class")
    assert {(run.settings["strategy"], run.settings["lr"]) for run in runs} == {
        (strategy, lr) for strategy in ("head", "4") for lr in (0.01, 0.001)
    }
    assert [run.val_score for run in runs] == sorted((run.val_score for run in runs), reverse=True)
    for lr in (0.0, 1e6):
        with pytest.raises(RecipeError, match=r"finetune: lr: found .*, expected to be (greater|less) than"):
            featx.finetune(lrs=[lr])


def test_all_stages_of_a_recipe_run_with_networks(study: Path) -> None:
    grid = {"epochs": 1, "lr": 0.01, "strategy": "head", "seed": [0, 1, 2], "layers": {"hidden": [4]}}
    network = {"backbone": "deep", "weights": "none", **grid}
    (study / "featx.toml").write_text(toy_recipe(**SECTIONS | {"finetune": [network]}))
    stages = [name for name, _ in featx.run()]
    assert stages == ["extract", "finetune", "ensemble", "evaluate", "report"]
    page = (study / "runs" / "featx" / "report.html").read_text()
    assert "Learning curves" in page
    assert [name for name, _ in featx.run(final=True)][-2:] == ["evaluate --final", "report"]


def test_tensorboard_logs_are_in_the_run_folder(study: Path) -> None:
    (run,) = featx.finetune(specs=[changed(strategy="4", epochs=1)], target="class", tensorboard=True)
    assert list(Path(run.path).rglob("events.out.tfevents.*"))


def test_mixed_precision_trains(study: Path) -> None:
    assert np.isfinite(finetune_one(strategy="all", precision="bf16").held_loss)


def test_without_held_out_rows_the_last_weights_are_kept(study: Path) -> None:
    run = finetune_one(strategy="head", holdout=0.0)
    assert run.best_epoch == run.n_epochs == 3


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("blocks.99", "no strategy, block or layer with parameters is called 'blocks.99'"),
        ("last-99-blocks", "strategy 'last-99-blocks': the network has"),
    ],
)
def test_unknown_layers_of_a_later_run_are_reported_before_training(study: Path, strategy: str, message: str) -> None:
    with pytest.raises(FeatxError, match=message):
        featx.finetune(specs=[changed(strategy="head"), changed(strategy=strategy)], target="class")
    assert not list((study / "runs").rglob("header.json"))
