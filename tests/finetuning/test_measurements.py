"""After each epoch, train, held-out and val rows are measured by loss and scores; one of them chooses the epoch.

Modules: artifacts.learning_curves, artifacts.rescoring, finetuning.epochs, finetuning.phase_rows,
finetuning.tensorboard_log.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import featx
from featx.errors import DataError
from featx.study.run_metrics import NetworkMetrics
from featx.study.study import Study
from tests.finetuning.specs import SECTIONS, changed, finetune_one
from tests.recipes import toy_recipe


def read_log(run: Any) -> pd.DataFrame:
    return pd.read_csv(Path(run.path) / "log.csv")


def metrics_of(name: str, target: str = "class") -> NetworkMetrics:
    (run,) = [run for run in Study.open(None).runs(target) if run.name == name]
    assert isinstance(run.metrics, NetworkMetrics)
    return run.metrics


@pytest.mark.parametrize("strategy", ["head", "4", "all"])
def test_every_epoch_is_measured_on_train_held_out_and_val_rows(study: Path, strategy: str) -> None:
    run = finetune_one(strategy=strategy)
    log, metrics = read_log(run), metrics_of(run.run)
    best_epoch_row = log.iloc[run.best_epoch]
    assert best_epoch_row["val_accuracy"] == pytest.approx(run.val_score)
    assert best_epoch_row["held_accuracy"] == pytest.approx(run.held_score)
    assert (best_epoch_row["val_loss"], best_epoch_row["held_loss"]) == pytest.approx((run.val_loss, run.held_loss))
    assert log[1:].drop(columns="seconds").notna().all(axis=None)
    assert metrics.train["accuracy"] == run.train_score
    assert metrics.train["n"] == 44 - round(0.2 * 44)
    if strategy == "head":
        # The rows are measured after the epoch, without dropout, by the weights that are kept.
        assert best_epoch_row["train_accuracy"] == pytest.approx(run.train_score)
        assert best_epoch_row["train_loss"] == pytest.approx(metrics.train["log_loss"], rel=1e-4)
    assert run.epoch_s == pytest.approx(log["seconds"][1:].mean(), abs=1e-3)
    if strategy == "4":
        featx.evaluate(target="class")
        assert "Learning curves" in Path(featx.report().report).read_text()


def test_each_number_of_a_target_has_its_own_score(study: Path) -> None:
    recipe = (study / "featx.toml").read_text().replace('column = "level"', 'columns = ["level", "twice"]')
    labels = pd.read_csv(study / "images" / "labels.csv")
    labels.assign(twice=2 * labels["level"]).to_csv(study / "images" / "labels.csv", index=False)
    (study / "featx.toml").write_text(recipe)
    featx.extract()
    (run,) = featx.finetune(specs=[changed(strategy="head", choose_by="score")], target="level")
    log, scores = read_log(run), metrics_of(run.run, "level").val
    assert scores is not None
    for column in ("level", "twice"):
        assert log[f"val_mae.{column}"][run.best_epoch] == pytest.approx(scores[f"mae.{column}"], rel=1e-5)
    assert (run.metric, run.chosen_by) == ("mae", "mae")
    assert log["held_mae"].idxmin() == run.best_epoch


def test_val_can_stop_the_training_and_is_then_marked_as_used(study: Path) -> None:
    by_val = finetune_one(strategy="head", monitor="val", holdout=None, choose_by="score", patience=0)
    log = read_log(by_val)
    assert not [column for column in log if column.startswith("held")]
    assert metrics_of(by_val.run).train["n"] == 44
    assert log["val_accuracy"].max() == by_val.val_score
    assert (by_val.monitor, by_val.chosen_by, by_val.flags[-1]) == ("val", "accuracy", "val used")
    assert math.isnan(by_val.held_score)
    untouched = finetune_one(strategy="head", seed=1)
    assert "val used" not in untouched.flags
    ensembles = featx.ensemble(target="class", methods=["soft"], members=[by_val.run, untouched.run])
    flags = {row.run: row.flags for row in featx.evaluate(target="class")[0].rows}
    assert "val used" in flags[by_val.run]
    assert "val used" in flags[ensembles[0].run]
    assert "val used" not in flags[untouched.run]
    assert "scores on val are optimistic" in Path(featx.report().report).read_text()

    labels = pd.read_csv(study / "images" / "labels.csv")
    val_file = Study.open(None).ids("val")[0]
    is_changed = labels["path"] == Path(val_file).name
    assert is_changed.sum() == 1
    other_class = np.where(labels["class"] == "dark", "bright", "dark")
    labels["class"] = np.where(is_changed, other_class, labels["class"])
    labels.to_csv(study / "images" / "labels.csv", index=False)
    featx.extract()
    assert finetune_one(strategy="head", monitor="val", holdout=None, choose_by="score", patience=0).is_new
    rescored = finetune_one(strategy="head", seed=1)
    assert not rescored.is_new
    assert math.isnan(rescored.val_loss)


def test_a_loss_that_val_does_not_define_is_noted_or_refused(study: Path) -> None:
    labels = pd.read_csv(study / "images" / "labels.csv")
    part = np.where(labels["level"] == 0, "val", np.where(labels.index % 5, "train", "val"))
    labels.assign(part=part).to_csv(study / "images" / "labels.csv", index=False)
    (study / "featx.toml").write_text(toy_recipe(**SECTIONS | {"split": {"column": "part", "test": 0}}))
    featx.extract()
    (run,) = featx.finetune(specs=[changed(strategy="head", loss="mape")], target="level")
    assert "the loss of the val rows is not defined: loss 'mape' divides by the target" in run.notes[0]
    assert read_log(run)["val_mae"].notna().all()
    with pytest.raises(DataError, match="monitor = 'val': val rows: loss 'mape' divides by the target"):
        featx.finetune(specs=[changed(strategy="head", loss="mape", monitor="val", holdout=None)], target="level")


@pytest.mark.parametrize(
    ("metric", "monitor", "message"),
    [
        ("r2", "holdout", r"'r2' of 'level' is not defined on the \d+ rows held out of train.*or a larger 'holdout'"),
        ("pearson", "val", r"'pearson' of 'level' is not defined on the \d+ val rows.*or monitor = 'holdout'"),
    ],
)
def test_a_score_that_the_monitored_rows_do_not_define_is_refused(
    study: Path, metric: str, monitor: str, message: str
) -> None:
    labels = pd.read_csv(study / "images" / "labels.csv")
    labels["person"] = np.arange(len(labels)) // 8
    labels.assign(level=labels["person"]).to_csv(study / "images" / "labels.csv", index=False)
    split = {"by": "person", "test": 0, "val": 0.15}
    changes = {"split": split, "groups": None, "ensemble": [{"target": "level", "metric": metric}]}
    (study / "featx.toml").write_text(toy_recipe(**SECTIONS | changes))
    featx.extract()
    spec = changed(strategy="head", choose_by="score", monitor=monitor, holdout=0.1 if monitor == "holdout" else None)
    with pytest.raises(DataError, match=f"choose_by = 'score': {message}"):
        featx.finetune(specs=[spec], target="level")
    (run,) = featx.finetune(specs=[spec.model_copy(update={"choose_by": "loss"})], target="level")
    assert run.best_epoch > 0


def test_without_held_out_rows_no_loss_is_called_held_out(study: Path) -> None:
    notes: list[str] = []
    (run,) = featx.finetune(
        specs=[changed(strategy="head", holdout=0.0)],
        target="class",
        progress=lambda _stage, _done, _total, note="": notes.append(note),
    )
    assert run.best_epoch == run.n_epochs == 3
    assert (run.monitor, math.isnan(run.held_loss), math.isnan(run.held_score)) == ("none", True, True)
    assert not [column for column in read_log(run) if column.startswith("held")]
    assert not [note for note in notes if "held" in note]
    assert read_log(run)[["train_loss", "train_accuracy", "val_loss", "val_accuracy"]].notna().all(axis=None)


def test_a_holdout_beside_val_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"found monitor = 'val' with holdout = 0\.2; expected no holdout"):
        changed(monitor="val", holdout=0.2)


def test_tensorboard_gets_every_measure_of_heads_and_of_finished_runs(study: Path) -> None:
    network = {"backbone": "deep", "weights": "none", "strategy": "head", "epochs": 2, "tensorboard": True}
    (study / "featx.toml").write_text(toy_recipe(**SECTIONS | {"finetune": [network]}))
    by_key, _ = featx.finetune()
    (finished_run,) = featx.finetune(specs=[changed(strategy="4", epochs=1)], target="class")
    (repeated_run,) = featx.finetune(specs=[changed(strategy="4", epochs=1)], target="class", tensorboard=True)
    assert (repeated_run.run, repeated_run.is_new) == (finished_run.run, False)
    for run, metric in ((by_key, by_key.metric), (repeated_run, "accuracy")):
        events = EventAccumulator(str(Path(run.path) / "tensorboard")).Reload()
        parts = ("train", "held out", "val")
        assert {f"{measure}/{part}" for measure in ("loss", metric) for part in parts} < set(events.Tags()["scalars"])
        logged = [event.value for event in events.Scalars(f"{metric}/val")]
        assert logged == pytest.approx(read_log(run)[f"val_{metric}"].tolist())
