"""A fine-tuned network is a run like every other: written whole, found again, loaded, and stood on."""

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
from featx.networks.backbones import Backbone, backbone
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
    """A working directory with 60 extracted images, whose brightness tells class and level."""
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


def one(**fields: Any) -> Any:
    """Make one run of the target of classes."""
    (run,) = featx.finetune(specs=[changed(**fields)], target="class")
    return run


WAYS = {
    "vectors": {"strategy": "head"},
    "boundary": {"strategy": "4"},
    "pixels": {"strategy": "all"},
    "phases": {
        "strategy": "progressive",
        "phases": [{"learns": "head", "lr": 0.01, "epochs": 2}, {"learns": "4", "lr": 1e-3, "epochs": 2}],
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_answers_for_images_as_it_did_for_its_rows(study: Path, way: str) -> None:
    run = one(**WAYS[way])
    folder = Path(run.path)
    found = Study.open(None).runs("class")[0]
    assert found.name == run.run
    files = {"header.json", "spec.json", "metrics.json", "log.csv", "curves.png", "predictions.parquet"}
    assert files | {"model.safetensors", "last.safetensors"} <= {file.name for file in folder.iterdir()}
    assert not list(folder.parent.glob(".finetune-*[!k]"))
    log = pd.read_csv(folder / "log.csv")
    assert log["number"].tolist() == list(range(run.n_epochs + 1))
    assert log["held_loss"].notna().all()
    table = found.predictions
    assert set(table.part) == {"val", "test"}
    answers = featx.load(folder).predict_images([f"images/{name}" for name in table.ids])
    np.testing.assert_allclose(answers.proba, table.ordered(answers.classes).proba, atol=2e-3)
    assert not one(**WAYS[way]).made


def test_what_is_learnt_is_learnt_well_enough_to_tell_dark_from_bright(study: Path) -> None:
    assert one(strategy="all", epochs=12).val_score > 0.8


@pytest.mark.parametrize("way", WAYS)
def test_the_same_seed_gives_the_same_weights_and_another_one_others(study: Path, way: str) -> None:
    first = load_file(Path(one(**WAYS[way]).path) / "model.safetensors")
    (again,) = featx.finetune(specs=[changed(**WAYS[way])], target="class", force=True)
    other = load_file(Path(one(**WAYS[way] | {"seed": 1}).path) / "model.safetensors")
    second = load_file(Path(again.path) / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_kept_activations_and_the_frozen_layers_run_anew_train_the_same_network(study: Path) -> None:
    engine = EngineSpec(device="cpu", boundary_gb=0)
    kept = featx.finetune(specs=[changed(strategy="4")], target="class")[0]
    (plain,) = featx.finetune(specs=[changed(strategy="4")], target="class", engine=engine, force=True)
    assert "the frozen layers run in every epoch instead" in plain.notes[0]
    assert kept.notes == ["random weights: all is learnt from these images alone"]
    assert plain.held_loss == pytest.approx(kept.held_loss, abs=2e-3)  # activations are kept in half precision


def test_runs_at_one_boundary_share_what_is_kept(study: Path) -> None:
    one(strategy="4")
    before = sorted((study / "cache").rglob("segment-*"))
    assert before
    for fields in ({"lr": 1e-3}, {"seed": 3}, {"layers": LayersSpec(hidden=())}, {"loss": "focal"}):
        one(strategy="4", **fields)
    assert sorted((study / "cache").rglob("segment-*")) == before


def test_phases_go_on_from_the_best_weights_and_a_boundary_never_rises(study: Path) -> None:
    down = {"learns": "all", "lr": 0.05, "epochs": 2}, {"learns": "head", "lr": 0.05, "epochs": 2}
    run = one(strategy="progressive", phases=down, patience=0)
    assert run.n_epochs == 4
    model = featx.load(run.path)
    table = Study.open(None).runs("class")[0].predictions
    answers = model.predict_images([f"images/{name}" for name in table.ids])
    np.testing.assert_allclose(answers.proba, table.ordered(answers.classes).proba, atol=2e-3)


KILLED = """
import featx, sys
sys.path.insert(0, {root!r})
import tests.conftest
from featx.specs.finetuning import FinetuneSpec
def slow(stage, done, total, note=""):
    if stage.startswith("finetune"):
        print(stage, done, flush=True)
featx.finetune(specs=[FinetuneSpec.model_validate_json({spec!r})], target="class", progress=slow)
"""


@pytest.mark.parametrize(("way", "after"), [("boundary", 7), ("pixels", 9), ("phases", 9)])
def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(study: Path, way: str, after: int) -> None:
    spec = changed(**WAYS[way] | {"augment": {"flip": True, "shift": 0.1}, "views": 2})
    code = KILLED.format(root=str(Path(__file__).parents[2]), spec=spec.model_dump_json())
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(after):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert not list((study / "runs").rglob("header.json"))
    assert list((study / "runs").rglob(".finetune-*/course.json"))
    (resumed,) = featx.finetune(specs=[spec], target="class")
    found = {name: load_file(Path(resumed.path) / name) for name in ("model.safetensors", "last.safetensors")}
    (whole,) = featx.finetune(specs=[spec], target="class", force=True)
    for name, tensors in found.items():
        undisturbed = load_file(Path(whole.path) / name)
        assert all(torch.equal(undisturbed[key], tensors[key]) for key in undisturbed)
    assert resumed.n_epochs == whole.n_epochs


def test_ctrl_c_keeps_whole_epochs(study: Path) -> None:
    spec = changed(strategy="4", epochs=4)

    def interrupt(stage: str, done: int, total: int, note: str = "") -> None:
        if stage.startswith("finetune") and done == total // 2 + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        featx.finetune(specs=[spec], target="class", progress=interrupt)
    assert list((study / "runs").rglob(".finetune-*/phase-1.pt"))
    seen = []
    featx.finetune(specs=[spec], target="class", progress=lambda stage, done, *_: seen.append((stage, done)))
    steps = [done for stage, done in seen if stage.startswith("finetune")]
    assert min(steps) > max(steps) // 2


@pytest.mark.parametrize(
    "augment", [{"flip": True, "rotation_deg": 10, "shift": 0.1, "colour": 0.2, "randaugment": 1}, {"shift": 0.1}]
)
@pytest.mark.parametrize("views", [None, 2])
def test_augmented_images_are_learnt_from_kept_or_live(study: Path, augment: Any, views: int | None) -> None:
    run = one(strategy="4", augment=augment, views=views, epochs=2)
    assert run.n_epochs == 2


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd", "adadelta"])
@pytest.mark.parametrize("strategy", ["head", "all"])
def test_every_optimiser_lowers_the_loss(study: Path, optimiser: str, strategy: str) -> None:
    lr = {"adadelta": 1.0, "sgd": 0.05}.get(optimiser, 0.01)
    run = one(strategy=strategy, optimiser=optimiser, lr=lr, epochs=6, block_decay=0.5, weight_decay=1e-4)
    log = pd.read_csv(Path(run.path) / "log.csv")
    assert log["held_loss"].min() < log["held_loss"][0]


RATES = {  # of four epochs, as the schedule's own definition says
    "constant": [1, 1, 1, 1],
    "step": [1, 1, 0.5, 0.5],
    "hold": [1, 1, 0.5, 0.25],
    "cosine": [1, 0.853553, 0.5, 0.146447],
}


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("strategy", ["head", "4"])
def test_schedules_follow_their_definition(study: Path, name: str, strategy: str) -> None:
    schedule = {"name": name, "factor": 0.5, "epochs": 2}
    run = one(strategy=strategy, schedule=schedule, epochs=4, patience=0)
    rates = pd.read_csv(Path(run.path) / "log.csv")["lr"][1:]
    np.testing.assert_allclose(rates / 0.01, RATES[name], rtol=1e-5)


@pytest.mark.parametrize("strategy", ["head", "4"])
def test_one_cycle_rises_and_falls_and_a_plateau_lowers_the_rate(study: Path, strategy: str) -> None:
    cycle = pd.read_csv(Path(one(strategy=strategy, schedule="one-cycle", epochs=5, patience=0).path) / "log.csv")["lr"]
    assert cycle[1:].idxmax() in {2, 3}
    assert cycle.iloc[-1] < cycle.max() / 5
    hopeless = {"schedule": {"name": "plateau", "epochs": 1, "factor": 0.1}, "lr": 1e-6, "optimiser": "sgd"}
    rates = pd.read_csv(Path(one(strategy=strategy, **hopeless, epochs=6, patience=0).path) / "log.csv")["lr"][1:]
    assert rates.iloc[-1] < 0.2e-6


def test_small_batches_accumulated_are_a_large_batch(study: Path) -> None:
    plain = LayersSpec(hidden=(8,), dropout=0.0)
    large = one(backbone="toy", strategy="all", layers=plain, batch_size=8)
    small = one(backbone="toy", strategy="all", layers=plain, batch_size=4, accumulate=2)
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


def test_where_memory_is_short_batches_are_halved_and_add_up(study: Path) -> None:
    run = one(backbone="hungry", strategy="all", batch_size=8)
    assert run.notes[1:] == [
        "out of memory: batches of 4, 2 to a step, instead",
        "out of memory: batches of 2, 4 to a step, instead",
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
def test_numbers_are_learnt_by_every_loss_and_answered_in_their_own_units(
    study: Path, loss: str, fields: dict[str, Any]
) -> None:
    (run,) = featx.finetune(specs=[changed(strategy="all", loss=loss, epochs=15, **fields)], target="level")
    estimates = Study.open(None).runs("level")[0].answers
    answers = featx.load(run.path).predict_images([f"images/{name}" for name in estimates.ids])
    np.testing.assert_allclose(answers.proba, estimates.values, atol=5e-3)
    assert answers.rows("x")[0].keys() == {"image", "run", "value.level"}
    assert run.metric == "mae"
    assert run.val_score < 0.25  # that of the middle of all levels
    (found,) = featx.evaluate(target="level")
    assert found.rows[0].scores["mae"] == pytest.approx(run.val_score)
    featx.report()


def test_several_numbers_are_answered_together(study: Path) -> None:
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
        (weight, group): one(
            strategy="head", class_weight={"dark": 5.0} if weight == "heavy" else weight, group_weight=group
        ).held_loss
        for weight in ("none", "heavy")
        for group in ("none", "side", "side+class")
    }
    assert len(set(losses.values())) >= 4
    with pytest.raises(DataError, match="no group is called 'sid'; groups of the recipe: side, class"):
        one(group_weight="sid")


def test_heads_stand_on_a_fine_tuned_network(study: Path) -> None:
    run = one(strategy="all")
    shown = read_header(run.path)[1].network
    assert shown is not None
    recipe = RECIPE + f'[[embedding]]\nbackbone = "checkpoint:{run.path}"\ntap = ["last", "new_layers.layers.1"]\n'
    (study / "featx.toml").write_text(recipe + '[[head]]\nname = "logreg"\ntrials = 1\nfolds = 2\n')
    done = featx.extract()
    assert [one["n_features"] for one in done.embeddings] == [8, 8]
    (head,) = featx.fit(target="class")
    votes = featx.ensemble(target="class")
    assert {vote.n_candidates for vote in votes} == {2}
    names = [f"images/{number}.png" for number in range(4)]
    found = featx.predict(names)
    assert set(found) == {run.run, head.run, *(vote.run for vote in votes)}
    (study / run.path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(ArtifactError, match="does not match its header"):
        featx.load(run.path)
    with pytest.raises(FeatxError, match=r"model\.safetensors"):
        featx.predict(names, runs=[head.run])


def test_a_fine_tuned_network_can_be_fine_tuned_further(study: Path) -> None:
    first = one(strategy="all")
    further = one(backbone=f"checkpoint:{first.path}", weights="default", strategy="head", epochs=20, lr=0.03)
    scratch = one(strategy="head", epochs=20, lr=0.03)
    assert further.held_loss < scratch.held_loss
    assert featx.load(further.path).predict_images(["images/0.png"]).proba.shape == (1, 2)


def test_heads_wait_for_the_network_that_a_recipe_trains(study: Path) -> None:
    begins = "runs/featx/deep-all-class-"
    section = 'strategy = "all"\nepochs = 2\n'
    embedding = f'[[embedding]]\nbackbone = "checkpoint:{begins}"\n[[head]]\nname = "logreg"\ntrials = 1\nfolds = 2\n'
    recipe = RECIPE.replace('[targets.level]\ncolumn = "level"\nkind = "numbers"\n', "") + section + embedding
    (study / "featx.toml").write_text(recipe)
    assert featx.extract().waiting == [f"checkpoint:{begins}/last/avg"]
    stages = [name for name, _ in featx.run()]
    assert stages == ["extract", "finetune", "extract", "fit", "ensemble", "evaluate", "report"]
    assert [name for name, _ in featx.run()] == ["extract", "finetune", "fit", "ensemble", "evaluate", "report"]
    featx.finetune(strategies=["all"], lrs=[0.1], epochs=1)
    with pytest.raises(ArtifactError, match="matches 2 runs"):
        backbone(f"checkpoint:{begins}")


def test_only_networks_are_stood_on(study: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no nowhere"):
        one(backbone="checkpoint:nowhere", weights="default")


def test_a_search_stops_what_falls_behind_and_keeps_the_rest(study: Path) -> None:
    grid = [changed(strategy=strategy, lr=lr, epochs=6) for strategy in ("head", "4") for lr in (0.03, 0.01, 1e-7)]
    runs = featx.finetune(specs=grid, trials=5, target="class")
    assert len(runs) == 5
    stopped = [run for run in runs if not run.path]
    assert stopped
    assert runs[-len(stopped) :] == stopped
    assert all(run.marks == ["fell behind"] and run.settings["lr"] for run in stopped)
    again = featx.finetune(specs=grid, trials=5, target="class")
    assert [run.path for run in again] == [run.path for run in runs]
    assert not any(run.made for run in again if run.path)
    for name, values in INCOMPARABLE.items():
        odd = [changed(**{name: value}, lr=lr) for value in values for lr in (0.1, 0.01)]
        with pytest.raises(DataError, match=f"those of runs that differ in '{name}' cannot be compared"):
            featx.finetune(specs=odd, trials=2, target="class")


INCOMPARABLE: dict[str, tuple[Any, Any]] = {
    "loss": ("focal", "cross_entropy"),
    "class_weight": ("none", "balanced"),
    "group_weight": ("none", "side"),
    "holdout": (0.1, 0.2),
    "seed": (0, 1),
}


def test_two_processes_train_as_one(study: Path) -> None:
    plain = LayersSpec(hidden=(8,), dropout=0.0)
    alone = one(backbone="toy", strategy="all", layers=plain, epochs=2)
    both = EngineSpec(device="cpu", gpus=2)
    (shared,) = featx.finetune(
        specs=[changed(backbone="toy", strategy="all", layers=plain, epochs=2)],
        target="class",
        engine=both,
        force=True,
    )
    assert shared.n_epochs == 2
    assert shared.held_loss == pytest.approx(alone.held_loss, abs=0.02)


def test_a_training_that_goes_wrong_is_called_that(study: Path) -> None:
    gone = one(strategy="all", lr=10.0, optimiser="sgd", epochs=4, patience=0)
    assert "NaN" not in (Path(gone.path) / "metrics.json").read_text()
    assert set(gone.marks) & {"nan", "diverged", "one class", "dead head"}
    assert len(gone.findings) == len(gone.marks)
    one(strategy="head")
    rows = featx.evaluate(target="class")[0].rows
    assert [row.marks for row in rows if row.run == gone.run] == [gone.marks]


@pytest.mark.parametrize("strategy", ["head", "all"])
def test_weights_that_the_last_step_ruined_are_not_kept(
    study: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without held-out rows the loss of an epoch is from before its steps, here a single one."""

    def ruin(optimiser: torch.optim.Optimizer, closure: Any = None) -> None:
        if closure is not None:
            closure()
        for weights in optimiser.param_groups[0]["params"]:
            weights.data.fill_(torch.nan)

    monkeypatch.setattr(torch.optim.SGD, "step", ruin)
    ruined = one(strategy=strategy, optimiser="sgd", epochs=1, holdout=0, batch_size=64)
    assert "nan" in ruined.marks
    assert np.isfinite(featx.load(ruined.path).predict_images(["images/0.png"]).proba).all()


BAD: list[tuple[dict[str, Any], str, type[FeatxError], str]] = [
    (
        {"strategy": "block9"},
        "class",
        UnknownNameError,
        r"called 'block9'; .*known: head, last-block, .*block1, block2, block3",
    ),
    ({"loss": "mse"}, "class", DataError, "loss 'mse' is one of numbers, the target has classes"),
    ({"scale": "unit"}, "class", DataError, "scale = 'unit' is for numbers"),
    (
        {"layers": {"activation": "tanh"}},
        "class",
        DataError,
        "has its own activation, found layers.activation = 'tanh'",
    ),
    ({"class_weight": {"dim": 2.0}}, "class", DataError, "class_weight names 'dim'; classes: bright, dark"),
    ({"class_weight": "balanced"}, "level", DataError, "is of kind .numbers. and has no classes; use group_weight"),
    ({"loss": "mape"}, "level", DataError, r"divides by the target, \d+ of which are 0; loss = 'mae' would do"),
    ({"loss": "poisson", "scale": "standard"}, "level", DataError, "takes targets from 0 on, .* 'huber' would do"),
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


@pytest.mark.parametrize(("fields", "target", "error", "message"), BAD)
def test_what_does_not_go_together_is_said_in_one_line(
    study: Path, fields: dict[str, Any], target: str, error: type[FeatxError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        featx.finetune(specs=[changed(**fields)], target=target)
    assert "\n" not in str(caught.value)
    assert not list((study / "runs").rglob("header.json"))


def test_weights_of_another_network_are_refused(study: Path) -> None:
    run = one(strategy="head")
    with pytest.raises(FeatxError, match="are of another network"):
        one(weights=str(Path(run.path) / "model.safetensors"), backbone="small_cnn")


def test_a_val_part_of_one_class_is_said(study: Path) -> None:
    labels = pd.read_csv(study / "images" / "labels.csv")
    part = np.where(labels["class"] == "dark", np.where(labels.index % 5, "train", "val"), "train")
    labels.assign(part=part).to_csv(study / "images" / "labels.csv", index=False)
    recipe = RECIPE.replace("test = 0.2\nval = 0.2", 'column = "part"\ntest = 0')
    (study / "featx.toml").write_text(recipe)
    featx.extract()
    assert "all val rows have the same label" in one(strategy="head").notes[-1]
    (study / "featx.toml").write_text(RECIPE.replace("val = 0.2", "val = 0"))
    featx.extract()
    with pytest.raises(DataError, match="the split has no val rows"):
        one()


def test_what_a_disk_cannot_hold_is_run_in_every_epoch(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.finetuning.phase_inputs.room_bytes", lambda _folder: 1000)
    assert "there is room for 0.0 MB" in one(strategy="4").notes[0]
    monkeypatch.setattr("featx.finetuning.training_rows.free_bytes", lambda _folder: 1000)
    with pytest.raises(StoreError, match="the decoded images take .* are free for"):
        one(strategy="all")


def test_random_weights_are_said_loudly(study: Path) -> None:
    said = []
    (run,) = featx.finetune(
        specs=[changed(strategy="scratch", weights="default", epochs=1)],
        target="class",
        progress=lambda _stage, _done, _total, note="": said.append(note),
    )
    assert run.notes == ["random weights: all is learnt from these images alone"]
    assert run.notes[0] in said


def test_a_call_says_instead_of_the_recipe(study: Path) -> None:
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


def test_tensorboard_logs_lie_in_the_run(study: Path) -> None:
    (run,) = featx.finetune(specs=[changed(strategy="4", epochs=1)], target="class", tensorboard=True)
    assert list(Path(run.path).rglob("events.out.tfevents.*"))


def test_mixed_precision_trains(study: Path) -> None:
    assert np.isfinite(one(strategy="all", precision="bf16").held_loss)


def test_without_a_hold_out_the_last_weights_are_kept(study: Path) -> None:
    run = one(strategy="head", holdout=0.0)
    assert run.best_epoch == run.n_epochs == 3
