"""Repeats of a study on other train/val splits (`featx.workflow.repeats`).

Modules: cli.repeat_table.
"""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

import featx
from featx.errors import DataError, IncompleteError
from featx.metrics.scores import score
from featx.study.run_folder import RunFolder
from featx.study.study import Study
from featx.workflow.repeats import compared, cost_text, repeat
from tests.conftest import TOY_RECIPE, make_images
from tests.recipes import toy_heads, toy_recipe

# Ensembles that are built if a recipe names none.
ENSEMBLES = ("majority", "soft", "weighted", "greedy")
ONE_HEAD_RECIPE = toy_recipe(head=toy_heads("logreg"))


def read_parts(number: int) -> "pd.Series[str]":
    return pd.read_parquet(f"runs/featx/repeats/{number:02}/split.parquet").set_index("id")["part"]


@pytest.fixture
def study(toy_home: Path) -> Study:
    """Return the toy study with some wrong labels, extracted and fitted."""
    for number in range(8):
        dark, light = Path(f"images/dark/{number:03}.png"), Path(f"images/light/{number:03}.png")
        pixels = dark.read_bytes()
        dark.write_bytes(light.read_bytes())
        light.write_bytes(pixels)
    Path("featx.toml").write_text(toy_recipe(head=toy_heads("logreg", "knn")))
    featx.extract()
    featx.fit()
    return Study.open(None)


def test_repeats_differ_in_val_and_share_the_test_rows(toy_home: Path) -> None:
    Path("featx.toml").write_text(ONE_HEAD_RECIPE)
    featx.extract()
    study = Study.open(None)
    (comparison,) = repeat(None, 3)
    assert (comparison.n_repeats, comparison.n_train, comparison.n_val) == (
        3,
        len(study.ids("train")),
        len(study.ids("val")),
    )
    splits = [read_parts(number) for number in (1, 2, 3)]
    assert len({tuple(sorted(split_parts.index[split_parts == "val"])) for split_parts in [*splits, study.split]}) == 4
    for split_parts in splits:
        assert sorted(split_parts.index[split_parts == "test"]) == sorted(study.ids("test"))
        assert split_parts.value_counts().to_dict() == study.split.value_counts().to_dict()
        assert split_parts[split_parts == "val"].index.str.startswith("dark").sum() == 6
    assert study.openings() == []


def test_scores_belong_to_the_runs_of_each_repeat(study: Study) -> None:
    (comparison,) = repeat(None, 2)
    assert len({value for row in comparison.rows for value in row.scores}) > 1
    assert {row.run for row in comparison.rows} == {f"{name}-class" for name in ("logreg", "knn", *ENSEMBLES)}
    for row in comparison.rows:
        for number, value in enumerate(row.scores, start=1):
            (folder,) = Path(f"runs/featx/repeats/{number:02}").glob(f"{row.run}-*")
            table = RunFolder(folder).predictions.of("val")
            assert sorted(table.ids) == sorted(read_parts(number)[read_parts(number) == "val"].index)
            assert value == score("accuracy", study.truth("class"), table)
        assert row.mean == pytest.approx(np.mean(row.scores))
        assert row.sd == pytest.approx(np.std(row.scores, ddof=1))
    assert [run.path.parent for run in study.runs()] == [study.folder] * 2


def test_finished_repeats_are_reused_and_incomplete_ones_resumed(study: Study) -> None:
    summary_before = repeat(None, 2)
    runs = {path: path.stat().st_mtime_ns for path in Path("runs/featx/repeats").glob("*/*/spec.json")}
    assert len(runs) == 2 * (2 + len(ENSEMBLES))
    assert repr(repeat(None, 2)) == repr(summary_before)
    Path("runs/featx/repeats/02/scores.json").unlink()
    (run_folder,) = Path("runs/featx/repeats/02").glob("knn-*")
    shutil.rmtree(run_folder)
    assert repr(repeat(None, 2)) == repr(summary_before)
    for path, modified_ns in runs.items():
        is_remade = path.parent.parent.name == "02" and path.parent.name.startswith(("knn", *ENSEMBLES))
        assert is_remade or path.stat().st_mtime_ns == modified_ns
    assert repeat(None, 3)[0].rows[0].scores[:2] in [row.scores for row in summary_before[0].rows]


def test_a_changed_recipe_is_repeated_again(study: Study) -> None:
    Path("featx.toml").write_text(ONE_HEAD_RECIPE)
    repeat(None, 2)
    assert cost_text(Study.open(None), 2) == ""
    Path("featx.toml").write_text(ONE_HEAD_RECIPE.replace("trials = 1", "trials = 2"))
    assert "2 repeats to make" in cost_text(Study.open(None), 2)
    Path("featx.toml").write_text(ONE_HEAD_RECIPE + '\n[groups]\nclass = "class"\n')
    assert "2 repeats to make" in cost_text(Study.open(None), 2)


def test_the_expected_cost_is_reported_first(study: Study) -> None:
    notes: list[str] = []

    def progress(stage: str, n_done: int, total: int, note: str = "") -> None:
        notes.extend([note] if stage == "note" else [])

    repeat(None, 2, progress=progress)
    assert len(notes) == 1
    assert notes[0].startswith("2 repeats to make, about ")
    assert " of heads in each" in notes[0]


def test_networks_are_trained_again_in_each_repeat(toy_home: Path) -> None:
    section = '\n[[finetune]]\nbackbone = "toy"\nweights = "none"\nepochs = 1\nstrategy = "head"\nlr = [0.1, 0.01]\n'
    Path("featx.toml").write_text(ONE_HEAD_RECIPE + section)
    featx.extract()
    (comparison,) = repeat(None, 2)
    networks = [row for row in comparison.rows if row.run.startswith("toy-head-class")]
    assert len({row.run for row in networks}) == 2
    assert all(np.isfinite(row.scores).all() for row in networks)


def test_groups_stay_whole_in_every_repeat(toy_home: Path) -> None:
    paths = sorted(str(path.relative_to("images")) for path in Path("images").rglob("*.png"))
    table = pd.DataFrame({"path": paths, "class": [path.split("/")[0] for path in paths]})
    table.assign(person=[f"p{row // 2}" for row in range(len(paths))]).to_csv("images/l.csv", index=False)
    data = ONE_HEAD_RECIPE.replace('"images"', '"images"\nlabels = { file = "l.csv" }')
    Path("featx.toml").write_text(data.replace("[split]", '[split]\nby = "person"'))
    featx.extract()
    repeat(None, 2)
    person = pd.read_csv("images/l.csv").set_index("path")["person"]
    assert (read_parts(2).groupby(person).nunique() == 1).all()


def test_copies_stay_together_in_every_repeat(toy_home: Path) -> None:
    for number in range(20):
        shutil.copy(f"images/dark/{number:03}.png", f"images/dark/copy{number}.png")
    Path("featx.toml").write_text(ONE_HEAD_RECIPE.replace("[split]", '[split]\nduplicates = "together"'))
    featx.extract()
    repeat(None, 2)
    split_parts = read_parts(1)
    for number in range(20):
        assert split_parts[f"dark/{number:03}.png"] == split_parts[f"dark/copy{number}.png"]


def test_differences_are_tested_with_the_actual_ratio_of_rows() -> None:
    rng = np.random.default_rng(0)
    scores = {"good": 0.9 + rng.normal(0, 0.01, 6), "near": 0.9 + rng.normal(-0.004, 0.01, 6), "bad": np.full(6, 0.6)}
    repeats = [
        {
            "metric": "accuracy",
            "n_train": 60,
            "n_val": 15,
            "scores": {name: run_scores[number] for name, run_scores in scores.items()},
        }
        for number in range(6)
    ]
    comparison = compared("y", repeats)
    assert [row.run for row in comparison.rows] == ["good", "near", "bad"]
    assert np.isnan(comparison.rows[0].p)
    p = {}
    for first, second in (("good", "near"), ("good", "bad"), ("near", "bad")):
        differences = scores[first] - scores[second]
        statistic = differences.mean() / np.sqrt((1 / 6 + 15 / 60) * differences.var(ddof=1))
        p[first, second] = 2 * t.sf(abs(statistic), 5)
    # The p-values of the three pairs in ascending order are multiplied by 3, 2 and 1.
    assert sorted(p, key=p.__getitem__) == [("good", "bad"), ("near", "bad"), ("good", "near")]
    assert comparison.rows[2].p == pytest.approx(3 * p["good", "bad"])
    assert comparison.rows[1].p == pytest.approx(p["good", "near"])
    assert comparison.rows[1].difference == pytest.approx((scores["near"] - scores["good"]).mean())


def test_the_best_of_many_equal_runs_is_seldom_significantly_best() -> None:
    rng, n_significant, n_studies = np.random.default_rng(0), 0, 100
    for _ in range(n_studies):
        splits = [
            {"metric": "accuracy", "n_train": 60, "n_val": 15, "scores": {f"run{i}": rng.normal() for i in range(12)}}
            for _ in range(8)
        ]
        n_significant += any(row.p < 0.05 for row in compared("y", splits).rows)
    assert n_significant <= 0.1 * n_studies


def test_small_errors_rank_first_and_incomplete_runs_last() -> None:
    errors = [{"large": 2.0, "small": 1.0, "rare": 0.1}, {"large": 2.2, "small": 1.1}]
    repeats = [{"metric": "mae", "n_train": 6, "n_val": 2, "scores": scores} for scores in errors]
    comparison = compared("y", repeats)
    assert [row.run for row in comparison.rows] == ["small", "large", "rare"]
    assert comparison.rows[1].difference == pytest.approx(1.05)
    assert np.isnan(comparison.rows[2].p)
    assert np.isnan(comparison.rows[2].scores[1])


def test_studies_that_cannot_be_repeated_give_errors(toy_home: Path) -> None:
    with pytest.raises(IncompleteError, match="run 'featx extract'"):
        repeat(None, 2)
    featx.extract()
    with pytest.raises(DataError, match="--repeats: found 1, expected 2 or more"):
        repeat(None, 1)
    Path("featx.toml").write_text(TOY_RECIPE.replace("val = 0.25", "val = 0"))
    featx.extract()
    with pytest.raises(DataError, match="no val rows to draw again"):
        repeat(None, 2)
    Path("featx.toml").write_text(TOY_RECIPE)
    featx.extract()
    Path("featx.toml").write_text(TOY_RECIPE.replace('"toy"', '"checkpoint:runs/featx/x"'))
    with pytest.raises(DataError, match="backbone 'checkpoint:runs/featx/x' may have been trained on val rows"):
        repeat(None, 2)


def test_run_prints_the_table_of_repeats(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from typer.testing import CliRunner

    from featx.cli.main import app

    make_images(home / "images")
    Path("featx.toml").write_text(ONE_HEAD_RECIPE)
    text = CliRunner().invoke(app, ["run", "featx.toml", "--repeats", "2"]).stdout
    assert "── featx repeats" in text
    assert "class: 2 train/val splits (n 26 and 11)" in text
