"""Tables of one score by the settings of runs, with collapsed runs marked.

Modules: metrics.collapse, evaluation.pivot, cli.pivot_table.
"""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import featx
from featx.cli import pivot_table
from featx.cli.main import app
from featx.errors import DataError
from featx.evaluation.evaluation_table import Evaluation
from featx.evaluation.group_biases import GroupBias
from featx.evaluation.pivot import pivot_runs
from featx.metrics.collapse import collapse_flags
from featx.study.run_folder import RunFolder
from featx.study.study import Study
from featx.tables.predictions import predictions_of_part
from featx.tables.truth import Numbers, Truth
from tests.conftest import make_images
from tests.recipes import toy_recipe

NETWORK = {"backbone": "toy", "weights": "none", "strategy": ["head", "scratch"], "lr": [1e-2, 1e-5], "epochs": 8}
HEADS = [{"name": "logreg", "trials": 1, "folds": 3}]


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a study with a grid of four networks and a head; two of them learn nothing."""
    home = tmp_path_factory.mktemp("grid")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        make_images(home / "images", n_each=60)
        (home / "featx.toml").write_text(toy_recipe(finetune=[NETWORK], head=HEADS))
        featx.extract()
        featx.finetune()
        featx.fit()
    return home


@pytest.fixture
def at_grid(grid: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    """Change to the study, and return its evaluation."""
    monkeypatch.chdir(grid)
    (evaluation,) = featx.evaluate()
    return evaluation


def test_a_grid_becomes_a_table_of_its_settings(at_grid: Evaluation) -> None:
    (table,) = pivot_runs([at_grid], ["lr", "strategy"])
    assert (table.rows, table.columns) == (["1e-05", "0.01"], ["head", "scratch"])
    assert (table.score, table.part, table.left_out, table.others) == ("accuracy", "val", ["logreg"], [])
    by_run = {row.run: row for row in at_grid.rows}
    for cell in table.cells:
        row = by_run[cell.run]
        assert (setting := row.settings) == cell.settings
        assert (f"{setting['lr']:g}", setting["strategy"]) == (cell.row, cell.column)
        assert (cell.value, [cell.low, cell.high]) == (row.scores["accuracy"], row.intervals["accuracy"])
        assert cell.is_chosen == (row.run == at_grid.chosen)
        metrics = RunFolder(Path("runs/featx") / row.run).metrics
        assert metrics.train is not None
        assert cell.train_value == metrics.train["accuracy"]
    assert len({cell.run for cell in table.cells}) == 4
    assert table.cell("0.01", "nothing") is None


def test_a_run_that_predicts_one_class_is_marked_in_its_cell(
    at_grid: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    (table,) = pivot_runs([at_grid], ["lr", "strategy"])
    failed_cells = [cell for cell in table.cells if cell.has_failed]
    assert failed_cells
    for cell in failed_cells:
        row = next(row for row in at_grid.rows if row.run == cell.run)
        assert "one class" in cell.flags
        assert 0 in np.sum(row.confusion, axis=0)
    monkeypatch.setenv("COLUMNS", "80")
    output = CliRunner().invoke(app, ["evaluate", "--by", "lr,strategy"]).output
    assert all(len(line) <= 80 for line in output.splitlines() if re.match(r" ?(lr|\de|0\.)", line))
    assert output.lstrip().startswith("class: train / val acc (95 % of val)")
    assert output.count("! one class") == len(failed_cells)
    assert f"! {len(failed_cells)} of 4 runs failed in training" in output
    assert "without these settings, not shown: logreg" in output


def test_one_setting_or_another_score_is_a_table_too(at_grid: Evaluation) -> None:
    (table,) = pivot_runs([at_grid], ["lr"], "log_loss")
    assert (table.rows, table.columns, table.score) == (["1e-05", "0.01"], [""], "log_loss")
    assert [cell.n_runs for cell in table.cells] == [2, 2]
    assert table.others == ["strategy"]
    order = [row.run for row in at_grid.rows]
    for cell in table.cells:
        runs = [row for row in at_grid.rows if row.settings.get("lr") == cell.settings["lr"]]
        usable = [row.run for row in runs if "one class" not in row.flags] or [row.run for row in runs]
        assert cell.run == min(usable, key=order.index)


def test_the_table_is_in_json(at_grid: Evaluation) -> None:
    output = json.loads(CliRunner().invoke(app, ["evaluate", "--by", "strategy, lr", "--json"]).output)
    (pivot,) = output["pivots"]
    assert (pivot["by"], pivot["rows"], pivot["columns"]) == (
        ["strategy", "lr"],
        ["head", "scratch"],
        ["1e-05", "0.01"],
    )
    assert {cell["run"] for cell in pivot["cells"]} < {row["run"] for row in output["targets"][0]["rows"]}
    assert json.loads(CliRunner().invoke(app, ["evaluate", "--json"]).output)["pivots"] == []


def test_settings_and_scores_that_do_not_exist_are_named(at_grid: Evaluation) -> None:
    with pytest.raises(DataError, match="no runs of a target differ in 'epochs'; settings .*: strategy, lr"):
        pivot_runs([at_grid], ["lr", "epochs"])
    with pytest.raises(DataError, match="runs of 'class' have no score 'rmse'"):
        pivot_runs([at_grid], ["lr"], "rmse")
    with pytest.raises(DataError, match="no run is called 'other'; expected labels or beginnings of names"):
        pivot_runs([at_grid], ["lr"], runs=["toy", "other"])


def test_a_table_of_named_runs_has_no_others(at_grid: Evaluation) -> None:
    (table,) = pivot_runs([at_grid], ["lr", "strategy"], runs=["toy-head"])
    assert table.columns == ["head"]
    assert len(table.cells) == 2
    result = CliRunner().invoke(app, ["evaluate", "--by", "lr,strategy", "--runs", "toy-scratch", "--json"])
    (pivot,) = json.loads(result.stdout)["pivots"]
    assert pivot["columns"] == ["scratch"]
    result = CliRunner().invoke(app, ["evaluate", "--score", "kappa"])
    assert "without --by" in str(result.exception)


def flags_of(kind: type[Truth] | type[Numbers], predicted: list[list[float]], true: list[object]) -> list[str]:
    ids = np.array([f"{number}" for number in range(len(true))], dtype=object)
    truth = kind(ids, np.array(true), ("a", "b"))
    return collapse_flags(truth, predictions_of_part(truth, "val", ids, np.array(predicted)))


@pytest.mark.parametrize(
    ("kind", "predicted", "true", "flags"),
    [
        (Truth, [[0.6, 0.4], [0.9, 0.1]], [0, 1], ["one class"]),
        (Truth, [[0.6, 0.4], [0.4, 0.6]], [0, 1], []),
        (Truth, [[0.6, 0.4], [0.9, 0.1]], [0, 0], []),
        (Numbers, [[7.0, 2.0], [7.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]], ["one number"]),
        (Numbers, [[7.0, 2.0], [7.0, 2.1]], [[1.0, 2.0], [3.0, 4.0]], []),
    ],
)
def test_equal_predictions_of_different_rows_are_a_collapse(
    kind: type[Truth] | type[Numbers], predicted: list[list[float]], true: list[object], flags: list[str]
) -> None:
    assert flags_of(kind, predicted, true) == flags


def test_differences_between_groups_are_tables_too(at_grid: Evaluation, capsys: pytest.CaptureFixture[str]) -> None:
    def biases(number: int) -> dict[str, GroupBias]:
        enough = GroupBias(0.1 + number / 100, ratio=0.5, intervals={"largest_difference": [0.0, 0.3]})
        return {"sex": enough, "camera": GroupBias(too_few={"phone": 2})}

    grouped = replace(at_grid, rows=[replace(row, biases=biases(i)) for i, row in enumerate(at_grid.rows)])
    sex, camera = tables = pivot_runs([grouped], ["lr", "strategy"], bias="largest")
    assert (sex.score, sex.grouping, camera.grouping) == ("largest_difference", "sex", "camera")
    by_run = {row.run: row for row in grouped.rows}
    for cell in sex.cells:
        assert cell.value == by_run[cell.run].biases["sex"].largest_difference
        assert (cell.low, cell.high, cell.train_value) == (0.0, 0.3, None)
    assert {cell.value for cell in camera.cells} == {None}
    pivot_table.pivots(tables)
    output = capsys.readouterr().out
    assert "class: val largest difference between the mean errors of sex (95 %)" in output
    assert output.count("too few") == len(camera.cells)


def test_differences_need_groups_and_exclude_a_score(at_grid: Evaluation) -> None:
    with pytest.raises(DataError, match="no run has errors of groups to compare; the recipe needs"):
        pivot_runs([at_grid], ["lr"], bias="sd")
    result = CliRunner().invoke(app, ["evaluate", "--by", "lr", "--score", "kappa", "--bias", "sd"])
    assert "found --score kappa and --bias sd beside --by" in str(result.exception)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--score", "kappa"], "found --score kappa without --by"),
        (["--runs", "logreg"], "found --runs logreg without --by"),
        (["--by", "lr", "--score", "kappa", "--bias", "sd"], "found --score kappa and --bias sd beside --by"),
        (["--by", "lrr"], "no runs of a target differ in 'lrr'"),
        (["--by", "lr", "--score", "rmse"], "runs of 'class' have no score 'rmse'"),
        (["--by", "lr", "--runs", "other"], "no run is called 'other'"),
        (["--by", "lr", "--bias", "sd"], "no run has errors of groups to compare"),
    ],
)
def test_options_are_refused_before_the_test_split_is_opened(
    at_grid: Evaluation, options: list[str], problem: str
) -> None:
    result = CliRunner().invoke(app, ["evaluate", "--final", *options])
    assert problem in str(result.exception)
    assert Study.open(None).openings() == []


def test_a_table_of_test_scores_opens_the_split_once(
    grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shutil.copytree(grid, tmp_path / "grid"))
    result = CliRunner().invoke(app, ["evaluate", "--final", "--by", "lr", "--json"])
    (pivot,) = json.loads(result.stdout)["pivots"]
    assert pivot["part"] == "test"
    assert len(Study.open(None).openings()) == 1
