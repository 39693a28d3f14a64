"""A change of any input of a run makes exactly the dependent runs again, and no stale number is shown.

The expected numbers are those of a fresh project with the same files.

Modules: artifacts.rescoring, evaluation.final_scores, study.ensemble_metrics, study.run_folder, study.run_metrics,
study.run_spec.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import featx
from featx.errors import IncompleteError
from featx.evaluation.final_scores import read_last_final
from featx.metrics.scores import scores
from featx.study import study
from featx.study.run_folder import RunFolder
from featx.study.study import Study
from featx.workflow.repeats import repeat
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_heads, toy_recipe

SECTIONS = {
    "data": LABEL_TABLE,
    "targets": {"y": {"column": "y", "weight": "weight"}},
    "groups": {"site": "site"},
    "split": {"column": "part", "by": "patient"},
}
LOGREG, RIDGE = toy_heads("logreg", "ridge")
RECIPE = toy_recipe(
    **SECTIONS,
    head=[{**LOGREG, "group_weight": "site"}, RIDGE],
    ensemble=[{"methods": ["weighted"], "folds": 3}],
)
# The head whose rows are weighted by site.
WEIGHTED = "logreg"
HEADS = {"logreg", "ridge"}
ALL_RUNS = HEADS | {"weighted"}


@dataclass(frozen=True)
class Outputs:
    """Outputs of all commands of a project.

    Attributes
    ----------
    run_heads
        Heads and ensemble methods whose runs the last commands made.
    had_final
        Whether the last test scores were still valid before these commands opened the test split.
    numbers
        Scores, predictions and headers by name.
    """

    run_heads: set[str]
    had_final: bool
    numbers: dict[str, Any]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with two heads, an ensemble and an opened test split."""
    folder = tmp_path_factory.mktemp("project")
    ids = make_images(folder / "images", ("a", "b"), n_each=48, size=(24, 24))
    rows = np.arange(len(ids))
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"path": ids, "y": [name[0] for name in ids], "weight": rng.uniform(0.5, 2, len(ids)).round(3)}
    )
    # Two consecutive images belong to one patient; each site has both classes.
    frame["patient"] = [f"p{number // 2}" for number in rows]
    frame["site"] = [("north", "south", "south")[number // 2 % 3] for number in rows]
    frame["part"] = [("train", "train", "val", "test")[number // 2 % 4] for number in rows]
    frame.to_csv(folder / "images/labels.csv", index=False)
    (folder / "featx.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        outputs_of_commands()
    return folder


def outputs_of_commands() -> Outputs:
    """Run all commands in the working directory and return their outputs."""
    featx.extract()
    had_final = read_last_final(Study.open(None), "y") is not None
    made_runs = {run.head for run in featx.fit() if run.is_new}
    made_runs |= {ensemble.method for ensemble in featx.ensemble() if ensemble.is_new}
    had_final = had_final and read_last_final(Study.open(None), "y") is not None
    numbers: dict[str, Any] = {}
    for final in (False, True):
        (comparison,) = featx.evaluate(final=final)
        for row in comparison.rows:
            numbers[f"{row.run.partition('-')[0]} {comparison.part}"] = (row.scores, row.intervals, row.biases)
        numbers[f"chosen {comparison.part}"] = comparison.chosen.partition("-")[0]
    for run in Study.open(None).runs():
        kind = run.name.partition("-")[0]
        numbers[f"{kind} predictions"] = run.predictions.to_frame().drop(columns="id").to_dict("list")
        header = json.loads((run.path / "header.json").read_text())
        numbers[f"{kind} header"] = (header["conformal"], header["metrics"])
    return Outputs(made_runs, had_final, numbers)


def fresh_outputs(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the numbers of a project that has the same images and recipe, but no history."""
    fresh = folder.with_name("fresh")
    shutil.copytree(folder, fresh, ignore=shutil.ignore_patterns("runs", "cache"))
    patch.chdir(fresh)
    return outputs_of_commands().numbers


# Changes


def change_pixels(part: str) -> Callable[[], None]:
    """Return a change of one image's pixels."""

    def change() -> None:
        rows = pd.read_csv("images/labels.csv")
        name = rows.loc[rows["part"] == part, "path"].iloc[3]
        noise = np.random.default_rng(1).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(noise).save(f"images/{name}")

    return change


def change_labels(column: str, part: str, value: object, n: int = 2) -> Callable[[], None]:
    """Return a change of the first cells of a label column in one part."""

    def change() -> None:
        rows = pd.read_csv("images/labels.csv")
        selected_ids = rows.index[rows["part"] == part][:n]
        assert (rows.loc[selected_ids, column] != value).any()
        rows.loc[selected_ids, column] = value
        rows.to_csv("images/labels.csv", index=False)

    return change


def change_recipe(old_text: str, new_text: str) -> Callable[[], None]:
    """Return a change of the recipe."""

    def change() -> None:
        text = Path("featx.toml").read_text()
        assert old_text in text
        Path("featx.toml").write_text(text.replace(old_text, new_text))

    return change


CASES: dict[str, tuple[Callable[[], None], set[str], bool]] = {
    # name: (change, runs that are made again, whether the last test scores stay valid)
    "nothing": (lambda: None, set(), True),
    "pixels of a train image": (change_pixels("train"), ALL_RUNS, False),
    "pixels of a val image": (change_pixels("val"), ALL_RUNS, False),
    "pixels of a test image": (change_pixels("test"), ALL_RUNS, False),
    "a train label": (change_labels("y", "train", "b"), ALL_RUNS, False),
    "a val label": (change_labels("y", "val", "b"), {"weighted"}, False),
    "a test label": (change_labels("y", "test", "b"), set(), False),
    "a train weight": (change_labels("weight", "train", 9.0), ALL_RUNS, False),
    "a val weight": (change_labels("weight", "val", 9.0), {"weighted"}, False),
    "a test weight": (change_labels("weight", "test", 9.0), set(), False),
    "a train patient": (change_labels("patient", "train", "p1", n=4), ALL_RUNS, False),
    "a val patient": (change_labels("patient", "val", "p2", n=4), {"weighted"}, False),
    "a test patient": (change_labels("patient", "test", "p3", n=4), set(), False),
    "a train site": (change_labels("site", "train", "south", n=4), {WEIGHTED, "weighted"}, False),
    "a val site": (change_labels("site", "val", "north", n=4), set(), False),
    "a test site": (change_labels("site", "test", "north", n=4), set(), False),
    "the column of weights": (change_recipe('weight = "weight"\n', ""), ALL_RUNS, False),
}
SPEC_CASES: dict[str, tuple[Callable[[], None], set[str]]] = {
    # Runs of the earlier spec stay, because they are other models of the same data.
    "folds": (change_recipe("folds = 3\ngroup_weight", "folds = 4\ngroup_weight"), {WEIGHTED, "weighted"}),
    "seed": (change_recipe("folds = 3\ngroup_weight", "folds = 3\nseed = 1\ngroup_weight"), {WEIGHTED, "weighted"}),
    "metric": (
        change_recipe("folds = 3\ngroup_weight", 'folds = 3\nmetric = "log_loss"\ngroup_weight'),
        {WEIGHTED, "weighted"},
    ),
    "class_weight": (
        change_recipe("group_weight", "class_weight = { a = 1, b = 2 }\ngroup_weight"),
        {WEIGHTED, "weighted"},
    ),
    "group_weight": (change_recipe('group_weight = "site"\n', ""), {WEIGHTED, "weighted"}),
    "ensemble.seed": (change_recipe("[[ensemble]]", "[[ensemble]]\nseed = 5"), {"weighted"}),
    # Images without transparency do not change: the models equal those before, and count once in an ensemble.
    "decoding": (change_recipe("[split]", "[decoding]\nbackground = '#000000'\n\n[split]"), HEADS),
}


@pytest.mark.parametrize("name", CASES)
def test_a_changed_input_remakes_what_depends_on_it(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    change, expected_heads, keeps_final = CASES[name]
    home = tmp_path / "home"
    shutil.copytree(project, home)
    monkeypatch.chdir(home)
    change()
    outputs = outputs_of_commands()
    assert outputs.run_heads == expected_heads
    assert outputs.had_final is keeps_final
    assert_same(outputs.numbers, fresh_outputs(home, monkeypatch))


@pytest.mark.parametrize("field", SPEC_CASES)
def test_a_changed_field_of_a_spec_remakes_what_depends_on_it(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    change, expected_heads = SPEC_CASES[field]
    shutil.copytree(project, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    change()
    made_runs = outputs_of_commands().run_heads
    if field == "decoding":
        # The names of two equal models decide which of them is the member.
        made_runs.discard("weighted")
    assert made_runs == expected_heads


def assert_same(numbers: dict[str, Any], expected: dict[str, Any]) -> None:
    """Compare all numbers of two projects."""
    kinds = {name.partition(" ")[0] for name in expected}
    assert {name for name in numbers if name.partition(" ")[0] in kinds} == set(expected)
    for name, value in expected.items():
        assert json.dumps(numbers[name], default=str) == json.dumps(value, default=str), name


@pytest.mark.parametrize("kind", ["head", "ensemble"])
def test_runs_of_another_rules_version_are_stale(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    shutil.copytree(project, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    featx.extract()
    names_before = {run.name for run in Study.open(None).runs()}
    monkeypatch.setitem(study.RULES, kind, 99)
    if kind == "head":
        with pytest.raises(IncompleteError, match="was made by another version of featx"):
            Study.open(None).runs()
    else:
        run_names = {run.name for run in Study.open(None).runs()}
        assert run_names == {name for name in names_before if not name.startswith("weighted")}
    assert outputs_of_commands().run_heads == (ALL_RUNS if kind == "head" else {"weighted"})
    for run in Study.open(None).runs():
        assert RunFolder(run.path).spec.rules == study.RULES[run.kind]


def test_images_replaced_by_noise_make_all_runs_stale(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(project, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    featx.extract()
    evaluation_before = featx.evaluate()[0]
    rng = np.random.default_rng(0)
    for path in Path("images").rglob("*.png"):
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path)
    outputs = outputs_of_commands()
    assert outputs.run_heads == ALL_RUNS
    assert evaluation_before.rows[0].scores["accuracy"] > 0.9
    assert featx.evaluate()[0].rows[0].scores["accuracy"] < 0.85


NETWORK = toy_recipe(
    **SECTIONS,
    embedding=None,
    head=None,
    extraction={"device": "cpu", "workers": 1},
    finetune=[{"backbone": "toy", "weights": "none", "strategy": "head", "epochs": 1, "group_weight": "site"}],
)
NETWORK_CASES: dict[str, tuple[Callable[[], None], bool]] = {
    "nothing": (lambda: None, False),
    "pixels of a train image": (change_pixels("train"), True),
    "pixels of a test image": (change_pixels("test"), True),
    "a train label": (change_labels("y", "train", "b"), True),
    "a val label": (change_labels("y", "val", "b"), False),
    "a train weight": (change_labels("weight", "train", 9.0), True),
    "a train patient": (change_labels("patient", "train", "p1", n=4), True),
    "a train site": (change_labels("site", "train", "south", n=4), True),
    "a val site": (change_labels("site", "val", "north", n=4), False),
    "a field": (change_recipe("epochs = 1", "epochs = 2"), True),
}


@pytest.fixture(scope="module")
def network_project(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with the same images and one fine-tuned network."""
    folder = tmp_path_factory.mktemp("network")
    shutil.copytree(project / "images", folder / "images")
    (folder / "featx.toml").write_text(NETWORK)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        featx.extract()
        featx.finetune()
    return folder


@pytest.mark.parametrize("name", NETWORK_CASES)
def test_a_changed_input_trains_again_what_depends_on_it(
    network_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    change, is_expected_new = NETWORK_CASES[name]
    shutil.copytree(network_project, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    change()
    featx.extract()
    (run,) = featx.finetune()
    assert run.is_new is is_expected_new
    truth, val_predictions = Study.open(None).labels("y"), RunFolder(Path(run.path)).predictions.of("val")
    assert RunFolder(Path(run.path)).metrics.val == scores(truth, val_predictions)


@pytest.mark.parametrize("name", ["nothing", "a val label", "a train site"])
def test_repeats_of_changed_data_are_made_again(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shutil.copytree(project, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    featx.extract()
    repeat(None, 2)
    mtimes_before = {path: path.stat().st_mtime_ns for path in Path("runs/featx/repeats").glob("*/scores.json")}
    CASES[name][0]()
    featx.extract()
    assert repeat(None, 2)[0].metric == "confidence_accuracy"
    mtimes_after = {path: path.stat().st_mtime_ns for path in mtimes_before}
    assert (mtimes_after == mtimes_before) is (name == "nothing")


def test_columns_of_0_and_1_as_labels_are_fitted_again(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project / "images", tmp_path / "images")
    rows = pd.read_csv(tmp_path / "images/labels.csv")
    rows["bright"], rows["round"] = (rows["y"] == "b").astype(int), np.arange(len(rows)) // 2 % 2
    rows.to_csv(tmp_path / "images/labels.csv", index=False)
    recipe = tmp_path / "featx.toml"
    runs = []
    for kind in ("numbers", "labels"):
        targets = {"y": {"kind": kind, "columns": ["bright", "round"]}}
        recipe.write_text(toy_recipe(**SECTIONS | {"targets": targets}, head=[RIDGE]))
        featx.extract(recipe)
        runs += featx.fit(recipe)
    assert [run.is_new for run in runs] == [True, True]
    evaluation = featx.evaluate(recipe)[0]
    assert [row.run for row in evaluation.rows] == [runs[1].run]
