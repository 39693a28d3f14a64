"""Fine-tuned networks are runs like all others: written whole, found again, loaded, and used as backbones."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import featx
from featx.artifacts.header import read_header
from featx.errors import ArtifactError, DataError, FeatxError, RecipeError, StoreError, UnknownNameError
from featx.networks.backbones import Backbone, get_backbone
from featx.networks.pretrained_weights import WeightsFile
from featx.registry import BACKBONES
from featx.specs.embedding import Preprocessing
from featx.specs.extraction import EngineSpec
from featx.specs.finetuning import FinetuneSpec, LayersSpec
from featx.study.study import Study

RECIPE = """
[data]
source = "images"
labels = { file = "labels.csv" }
[targets.class]
column = "class"
[targets.level]
column = "level"
kind = "numbers"
[groups]
side = "side"
class = "class"
[split]
test = 0.2
val = 0.2
[extraction]
device = "cpu"
workers = 1
[[finetune]]
backbone = "deep"
weights = "none"
"""
SMALL = LayersSpec(hidden=(8,), dropout=0.2)
SPEC = FinetuneSpec(backbone="deep", weights="none", epochs=3, lr=0.01, layers=SMALL, batch_size=8, holdout=0.2)


@pytest.fixture
def study(home: Path) -> Path:
    """A working directory with 60 extracted images, whose brightness determines class and level."""
    rng = np.random.default_rng(0)
    (home / "images").mkdir()
    rows = []
    for number in range(60):
        level = number % 10 / 10
        pixels = rng.normal(40 + 160 * level, 25, (16, 16, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(home / "images" / f"{number}.png")
        side = "left" if number % 3 else "right"
        rows.append((f"{number}.png", "bright" if level >= 0.5 else "dark", level, side))
    pd.DataFrame(rows, columns=["path", "class", "level", "side"]).to_csv(home / "images" / "labels.csv", index=False)
    (home / "featx.toml").write_text(RECIPE)
    featx.extract()
    return home


def changed(**fields: Any) -> FinetuneSpec:
    """Return the tests' spec with other fields, checked."""
    return FinetuneSpec.model_validate(SPEC.model_dump() | fields)


def finetune_one(**fields: Any) -> Any:
    """Return the result of one run for the target of classes."""
    (run,) = featx.finetune(specs=[changed(**fields)], target="class")
    return run


STRATEGIES = {
    "vectors": {"strategy": "head"},
    "boundary": {"strategy": "4"},
    "pixels": {"strategy": "all"},
    "phases": {
        "strategy": "progressive",
        "phases": [{"trainable": "head", "lr": 0.01, "epochs": 2}, {"trainable": "4", "lr": 1e-3, "epochs": 2}],
    },
}


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
    (again,) = featx.finetune(specs=[changed(**STRATEGIES[strategy])], target="class", force=True)
    other_seed = load_file(Path(finetune_one(**STRATEGIES[strategy] | {"seed": 1}).path) / "model.safetensors")
    second = load_file(Path(again.path) / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other_seed[name]) for name in first)


def test_cached_activations_and_live_frozen_layers_train_the_same_network(study: Path) -> None:
    engine = EngineSpec(device="cpu", boundary_gb=0)
    cached = featx.finetune(specs=[changed(strategy="4")], target="class")[0]
    (plain,) = featx.finetune(specs=[changed(strategy="4")], target="class", engine=engine, force=True)
    assert "the frozen layers run in every epoch instead" in plain.notes[0]
    assert cached.notes == ["random weights: the network learns from these images alone"]
    # Activations are cached in half precision.
    assert plain.held_loss == pytest.approx(cached.held_loss, abs=2e-3)


def test_runs_with_one_boundary_share_its_activations(study: Path) -> None:
    finetune_one(strategy="4")
    before = sorted((study / "cache").rglob("segment-*"))
    assert before
    for fields in ({"lr": 1e-3}, {"seed": 3}, {"layers": LayersSpec(hidden=())}, {"loss": "focal"}):
        finetune_one(strategy="4", **fields)
    assert sorted((study / "cache").rglob("segment-*")) == before


def test_phases_continue_from_the_best_weights_below_one_boundary(study: Path) -> None:
    phases = {"trainable": "all", "lr": 0.05, "epochs": 2}, {"trainable": "head", "lr": 0.05, "epochs": 2}
    run = finetune_one(strategy="progressive", phases=phases, patience=0)
    assert run.n_epochs == 4
    model = featx.load(run.path)
    table = Study.open(None).runs("class")[0].predictions
    predictions = model.predict_images([f"images/{name}" for name in table.ids])
    np.testing.assert_allclose(predictions.proba, table.ordered(predictions.classes).proba, atol=2e-3)


KILLED = """
import featx, sys
sys.path.insert(0, {root!r})
import tests.conftest
from featx.specs.finetuning import FinetuneSpec
def report(stage, done, total, note=""):
    if stage.startswith("finetune"):
        print(stage, done, flush=True)
featx.finetune(specs=[FinetuneSpec.model_validate_json({spec!r})], target="class", progress=report)
"""


@pytest.mark.parametrize(("strategy", "n_steps"), [("boundary", 7), ("pixels", 9), ("phases", 9)])
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(study: Path, strategy: str, n_steps: int) -> None:
    spec = changed(**STRATEGIES[strategy] | {"augment": {"flip": True, "shift": 0.1}, "views": 2})
    code = KILLED.format(root=str(Path(__file__).parents[2]), spec=spec.model_dump_json())
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(n_steps):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert not list((study / "runs").rglob("header.json"))
    assert list((study / "runs").rglob(".finetune-*/history.json"))
    (resumed,) = featx.finetune(specs=[spec], target="class")
    resumed_weights = {name: load_file(Path(resumed.path) / name) for name in ("model.safetensors", "last.safetensors")}
    (uninterrupted,) = featx.finetune(specs=[spec], target="class", force=True)
    for name, tensors in resumed_weights.items():
        expected = load_file(Path(uninterrupted.path) / name)
        assert all(torch.equal(expected[key], tensors[key]) for key in expected)
    assert resumed.n_epochs == uninterrupted.n_epochs


def test_ctrl_c_keeps_complete_epochs(study: Path) -> None:
    spec = changed(strategy="4", epochs=4)

    def interrupt(stage: str, n_done: int, total: int, note: str = "") -> None:
        if stage.startswith("finetune") and n_done == total // 2 + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        featx.finetune(specs=[spec], target="class", progress=interrupt)
    assert list((study / "runs").rglob(".finetune-*/phase-1.pt"))
    calls = []
    featx.finetune(specs=[spec], target="class", progress=lambda stage, n_done, *_: calls.append((stage, n_done)))
    steps = [n_done for stage, n_done in calls if stage.startswith("finetune")]
    assert min(steps) > max(steps) // 2


@pytest.mark.parametrize(
    "augment", [{"flip": True, "rotation_deg": 10, "shift": 0.1, "colour": 0.2, "randaugment": 1}, {"shift": 0.1}]
)
@pytest.mark.parametrize("views", [None, 2])
def test_augmented_images_are_cached_or_made_in_every_epoch(study: Path, augment: Any, views: int | None) -> None:
    run = finetune_one(strategy="4", augment=augment, views=views, epochs=2)
    assert run.n_epochs == 2


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


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("strategy", ["head", "4"])
def test_schedules_follow_their_definition(study: Path, name: str, strategy: str) -> None:
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
    plain = LayersSpec(hidden=(8,), dropout=0.0)
    large = finetune_one(backbone="toy", strategy="all", layers=plain, batch_size=8)
    small = finetune_one(backbone="toy", strategy="all", layers=plain, batch_size=4, accumulate=2)
    assert small.held_loss == pytest.approx(large.held_loss, abs=1e-3)


@BACKBONES.register("hungry")
def hungry() -> Backbone:
    """A convolution that has memory for three images."""

    class Hungry(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
            return super().forward(x)

    half = (0.5, 0.5, 0.5)
    nowhere = WeightsFile(Path("nowhere/hungry.pth"), "", None, "there are none")
    build = lambda: nn.Sequential(Hungry(3, 4, 3), nn.ReLU())  # noqa: E731
    return Backbone("hungry", build, nowhere, Preprocessing(size_px=16, mean=half, std=half), last="1")


def test_out_of_memory_halves_batches_and_accumulates_them(study: Path) -> None:
    run = finetune_one(backbone="hungry", strategy="all", batch_size=8)
    assert run.notes[1:] == [
        "out of memory: batches of 4, 2 per step, instead",
        "out of memory: batches of 2, 4 per step, instead",
    ]
    assert run.n_epochs == 3


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
    estimates = Study.open(None).runs("level")[0].answers
    predictions = featx.load(run.path).predict_images([f"images/{name}" for name in estimates.ids])
    np.testing.assert_allclose(predictions.proba, estimates.values, atol=5e-3)
    assert predictions.rows("x")[0].keys() == {"image", "run", "value.level"}
    assert run.metric == "mae"
    # The mean absolute error of the middle of all levels is 0.25.
    assert run.val_score < 0.25
    (evaluation,) = featx.evaluate(target="level")
    assert evaluation.rows[0].scores["mae"] == pytest.approx(run.val_score)
    featx.report()


def test_several_numbers_are_predicted_together(study: Path) -> None:
    recipe = (study / "featx.toml").read_text().replace('column = "level"', 'columns = ["level", "twice"]')
    labels = pd.read_csv(study / "images" / "labels.csv")
    labels.assign(twice=2 * labels["level"]).to_csv(study / "images" / "labels.csv", index=False)
    (study / "featx.toml").write_text(recipe)
    featx.extract()
    (run,) = featx.finetune(specs=[changed(strategy="all", epochs=15, scale="unit")], target="level")
    values = Study.open(None).runs("level")[0].answers.values
    assert values.shape[1] == 2
    assert np.corrcoef(values.T)[0, 1] > 0.8
    assert {"mae.level", "mae.twice"} <= set(featx.evaluate(target="level")[0].rows[0].scores)
    assert read_header(run.path)[1].numbers == ("level", "twice")


def test_groups_and_classes_can_weigh_the_same(study: Path) -> None:
    losses = {
        (weight, group): finetune_one(
            strategy="head", class_weight={"dark": 5.0} if weight == "heavy" else weight, group_weight=group
        ).held_loss
        for weight in ("none", "heavy")
        for group in ("none", "side", "side+class")
    }
    assert len(set(losses.values())) >= 4
    with pytest.raises(DataError, match="no group is called 'sid'; groups of the recipe: side, class"):
        finetune_one(group_weight="sid")


def test_heads_use_a_fine_tuned_network(study: Path) -> None:
    run = finetune_one(strategy="all")
    assert read_header(run.path)[1].network is not None
    recipe = RECIPE + f'[[embedding]]\nbackbone = "checkpoint:{run.path}"\ntap = ["last", "new_layers.layers.1"]\n'
    (study / "featx.toml").write_text(recipe + '[[head]]\nname = "logreg"\ntrials = 1\nfolds = 2\n')
    extraction = featx.extract()
    assert [embedding["n_features"] for embedding in extraction.embeddings] == [8, 8]
    (head,) = featx.fit(target="class")
    votes = featx.ensemble(target="class")
    assert {vote.n_candidates for vote in votes} == {2}
    names = [f"images/{number}.png" for number in range(4)]
    predictions = featx.predict(names)
    assert set(predictions) == {run.run, head.run, *(vote.run for vote in votes)}
    (study / run.path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(ArtifactError, match="does not match its header"):
        featx.load(run.path)
    with pytest.raises(FeatxError, match=r"model\.safetensors"):
        featx.predict(names, runs=[head.run])


def test_a_fine_tuned_network_can_be_fine_tuned_further(study: Path) -> None:
    first = finetune_one(strategy="all")
    further = finetune_one(backbone=f"checkpoint:{first.path}", weights="default", strategy="head", epochs=20, lr=0.03)
    scratch = finetune_one(strategy="head", epochs=20, lr=0.03)
    assert further.held_loss < scratch.held_loss
    assert featx.load(further.path).predict_images(["images/0.png"]).proba.shape == (1, 2)


def test_heads_wait_for_the_network_that_a_recipe_trains(study: Path) -> None:
    prefix = "runs/featx/deep-all-class-"
    section = 'strategy = "all"\nepochs = 2\n'
    embedding = f'[[embedding]]\nbackbone = "checkpoint:{prefix}"\n[[head]]\nname = "logreg"\ntrials = 1\nfolds = 2\n'
    recipe = RECIPE.replace('[targets.level]\ncolumn = "level"\nkind = "numbers"\n', "") + section + embedding
    (study / "featx.toml").write_text(recipe)
    assert featx.extract().pending_embeddings == [f"checkpoint:{prefix}/last/avg"]
    stages = [name for name, _ in featx.run()]
    assert stages == ["extract", "finetune", "extract", "fit", "ensemble", "evaluate", "report"]
    assert [name for name, _ in featx.run()] == ["extract", "finetune", "fit", "ensemble", "evaluate", "report"]
    featx.finetune(strategies=["all"], lrs=[0.1], epochs=1)
    with pytest.raises(ArtifactError, match="matches 2 runs"):
        get_backbone(f"checkpoint:{prefix}")


def test_only_networks_are_used_as_backbones(study: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no nowhere"):
        finetune_one(backbone="checkpoint:nowhere", weights="default")


def test_a_search_stops_runs_that_fall_behind(study: Path) -> None:
    grid = [changed(strategy=strategy, lr=lr, epochs=6) for strategy in ("head", "4") for lr in (0.03, 0.01, 1e-7)]
    runs = featx.finetune(specs=grid, trials=5, target="class")
    assert len(runs) == 5
    stopped = [run for run in runs if not run.path]
    assert stopped
    assert runs[-len(stopped) :] == stopped
    assert all(run.flags == ["fell behind"] and run.settings["lr"] for run in stopped)
    again = featx.finetune(specs=grid, trials=5, target="class")
    assert [run.path for run in again] == [run.path for run in runs]
    assert not any(run.is_new for run in again if run.path)
    for name, values in INCOMPARABLE.items():
        incomparable = [changed(**{name: value}, lr=lr) for value in values for lr in (0.1, 0.01)]
        with pytest.raises(DataError, match=f"those of runs that differ in '{name}' cannot be compared"):
            featx.finetune(specs=incomparable, trials=2, target="class")


INCOMPARABLE: dict[str, tuple[Any, Any]] = {
    "loss": ("focal", "cross_entropy"),
    "class_weight": ("none", "balanced"),
    "group_weight": ("none", "side"),
    "holdout": (0.1, 0.2),
    "seed": (0, 1),
}


def test_two_processes_train_like_a_single_one(study: Path) -> None:
    plain = LayersSpec(hidden=(8,), dropout=0.0)
    single = finetune_one(backbone="toy", strategy="all", layers=plain, epochs=2)
    two_processes = EngineSpec(device="cpu", gpus=2)
    (shared,) = featx.finetune(
        specs=[changed(backbone="toy", strategy="all", layers=plain, epochs=2)],
        target="class",
        engine=two_processes,
        force=True,
    )
    assert shared.n_epochs == 2
    assert shared.held_loss == pytest.approx(single.held_loss, abs=0.02)


def test_a_failed_training_has_warnings(study: Path) -> None:
    failed = finetune_one(strategy="all", lr=10.0, optimiser="sgd", epochs=4, patience=0)
    assert "NaN" not in (Path(failed.path) / "metrics.json").read_text()
    assert set(failed.flags) & {"nan", "diverged", "one class", "dead head"}
    assert len(failed.warnings) == len(failed.flags)
    finetune_one(strategy="head")
    rows = featx.evaluate(target="class")[0].rows
    assert [row.flags for row in rows if row.run == failed.run] == [failed.flags]


@pytest.mark.parametrize("strategy", ["head", "all"])
def test_weights_that_the_last_step_ruined_are_discarded(
    study: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of an epoch without held-out rows is computed before its steps, here a single one."""

    def ruin(optimiser: torch.optim.Optimizer, closure: Any = None) -> None:
        if closure is not None:
            closure()
        for weights in optimiser.param_groups[0]["params"]:
            weights.data.fill_(torch.nan)

    monkeypatch.setattr(torch.optim.SGD, "step", ruin)
    ruined = finetune_one(strategy=strategy, optimiser="sgd", epochs=1, holdout=0, batch_size=64)
    assert "nan" in ruined.flags
    assert np.isfinite(featx.load(ruined.path).predict_images(["images/0.png"]).proba).all()


BAD_OPTIONS: list[tuple[dict[str, Any], str, type[FeatxError], str]] = [
    (
        {"strategy": "block9"},
        "class",
        UnknownNameError,
        r"called 'block9'; .*known: head, last-block, .*block1, block2, block3",
    ),
    ({"loss": "mse"}, "class", DataError, "loss 'mse' takes numbers, the target has classes"),
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
    ({"loss": "poisson", "scale": "standard"}, "level", DataError, "takes targets from 0 on, .*; set loss = 'huber'"),
    ({"loss": "msle", "scale": "symmetric"}, "level", DataError, "takes targets from 0 on"),
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
    with pytest.raises(error, match=message) as caught:
        featx.finetune(specs=[changed(**fields)], target=target)
    assert "\n" not in str(caught.value)
    assert not list((study / "runs").rglob("header.json"))


def test_weights_of_another_network_are_refused(study: Path) -> None:
    run = finetune_one(strategy="head")
    with pytest.raises(FeatxError, match="are of another network"):
        finetune_one(weights=str(Path(run.path) / "model.safetensors"), backbone="small_cnn")


def test_a_val_part_of_one_class_is_reported(study: Path) -> None:
    labels = pd.read_csv(study / "images" / "labels.csv")
    part = np.where(labels["class"] == "dark", np.where(labels.index % 5, "train", "val"), "train")
    labels.assign(part=part).to_csv(study / "images" / "labels.csv", index=False)
    recipe = RECIPE.replace("test = 0.2\nval = 0.2", 'column = "part"\ntest = 0')
    (study / "featx.toml").write_text(recipe)
    featx.extract()
    assert "all val rows have the same label" in finetune_one(strategy="head").notes[-1]
    (study / "featx.toml").write_text(RECIPE.replace("val = 0.2", "val = 0"))
    featx.extract()
    with pytest.raises(DataError, match="the split has no val rows"):
        finetune_one()


def test_layers_whose_activations_do_not_fit_run_in_every_epoch(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.finetuning.phase_inputs.room_bytes", lambda _folder: 1000)
    assert "0.0 MB are available" in finetune_one(strategy="4").notes[0]
    monkeypatch.setattr("featx.finetuning.training_rows.free_bytes", lambda _folder: 1000)
    with pytest.raises(StoreError, match="the decoded images take .* are free for"):
        finetune_one(strategy="all")


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
        (strategy, lr) for strategy in ("head", "4") for lr in ("0.01", "0.001")
    }
    assert [run.val_score for run in runs] == sorted((run.val_score for run in runs), reverse=True)
    for lr in (0.0, 1e6):
        with pytest.raises(RecipeError, match=r"finetune: lr: found .*, expected to be (greater|less) than"):
            featx.finetune(lrs=[lr])


def test_all_stages_of_a_recipe_run_with_networks(study: Path) -> None:
    fields = 'epochs = 2\nlr = 0.01\nstrategy = ["head", "4"]\nseed = [0, 1]\nlayers = { hidden = [4] }\n'
    (study / "featx.toml").write_text(RECIPE + fields)
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
