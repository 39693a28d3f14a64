"""The whole protocol on other train/val splits (`featx.workflow.repeats`)."""

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

VOTES = ("majority", "soft", "weighted", "greedy")  # that are made where a recipe names none
LIGHT = TOY_RECIPE[: TOY_RECIPE.index("[[head]]")] + '[[head]]\nname = "logreg"\ntrials = 1\nfolds = 3\n'


def parts_of(number: int) -> "pd.Series[str]":
    return pd.read_parquet(f"runs/featx/repeats/{number:02}/split.parquet").set_index("id")["part"]


@pytest.fixture
def study(toy_home: Path) -> Study:
    """The toy study with some labels wrong, extracted and fitted."""
    for number in range(8):
        one, other = Path(f"images/dark/{number:03}.png"), Path(f"images/light/{number:03}.png")
        pixels = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(pixels)
    featx.extract()
    featx.fit()
    return Study.open(None)


def test_each_repeat_has_another_val_and_the_same_test(toy_home: Path) -> None:
    Path("featx.toml").write_text(LIGHT)
    featx.extract()
    study = Study.open(None)
    (found,) = repeat(None, 3)
    assert (found.n_repeats, found.n_train, found.n_val) == (3, len(study.ids("train")), len(study.ids("val")))
    cuts = [parts_of(number) for number in (1, 2, 3)]
    assert len({tuple(sorted(cut.index[cut == "val"])) for cut in [*cuts, study.split]}) == 4
    for cut in cuts:
        assert sorted(cut.index[cut == "test"]) == sorted(study.ids("test"))
        assert cut.value_counts().to_dict() == study.split.value_counts().to_dict()
        assert cut[cut == "val"].index.str.startswith("dark").sum() == 6
    assert study.openings() == []


def test_scores_are_those_of_each_repeats_own_runs(study: Study) -> None:
    (found,) = repeat(None, 2)
    assert len({value for row in found.rows for value in row.scores}) > 1
    assert {row.run for row in found.rows} == {f"{name}-class" for name in ("logreg", "rf", *VOTES)}
    for row in found.rows:
        for number, value in enumerate(row.scores, start=1):
            (folder,) = Path(f"runs/featx/repeats/{number:02}").glob(f"{row.run}-*")
            table = RunFolder(folder).predictions.of("val")
            assert sorted(table.ids) == sorted(parts_of(number)[parts_of(number) == "val"].index)
            assert value == score("accuracy", study.truth("class"), table)
        assert row.mean == pytest.approx(np.mean(row.scores))
        assert row.sd == pytest.approx(np.std(row.scores, ddof=1))
    assert [run.path.parent for run in study.runs()] == [study.folder] * 2  # the study itself is as it was


def test_what_is_done_is_not_done_again_and_a_broken_repeat_goes_on(study: Study) -> None:
    before = repeat(None, 2)
    runs = {path: path.stat().st_mtime_ns for path in Path("runs/featx/repeats").glob("*/*/spec.json")}
    assert len(runs) == 2 * (2 + len(VOTES))
    assert repr(repeat(None, 2)) == repr(before)
    Path("runs/featx/repeats/02/scores.json").unlink()
    (lost,) = Path("runs/featx/repeats/02").glob("rf-*")
    shutil.rmtree(lost)
    assert repr(repeat(None, 2)) == repr(before)
    for path, then in runs.items():
        again = path.parent.parent.name == "02" and path.parent.name.startswith(("rf", *VOTES))
        assert again or path.stat().st_mtime_ns == then
    assert repeat(None, 3)[0].rows[0].scores[:2] in [row.scores for row in before[0].rows]


def test_another_recipe_is_repeated_anew(study: Study) -> None:
    Path("featx.toml").write_text(LIGHT)
    repeat(None, 2)
    assert cost_text(Study.open(None), 2) == ""
    Path("featx.toml").write_text(LIGHT.replace("trials = 1", "trials = 2"))
    assert "2 repeats to make" in cost_text(Study.open(None), 2)
    Path("featx.toml").write_text(LIGHT + '\n[groups]\nclass = "class"\n')
    assert "2 repeats to make" in cost_text(Study.open(None), 2)


def test_what_it_will_cost_is_said_beforehand(study: Study) -> None:
    said: list[str] = []

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        said.extend([note] if stage == "note" else [])

    repeat(None, 2, progress=progress)
    assert len(said) == 1
    assert said[0].startswith("2 repeats to make, about ")
    assert " of heads in each" in said[0]


def test_networks_are_trained_again_in_each_repeat(toy_home: Path) -> None:
    section = '\n[[finetune]]\nbackbone = "toy"\nweights = "none"\nepochs = 1\nstrategy = "head"\nlr = [0.1, 0.01]\n'
    Path("featx.toml").write_text(LIGHT + section)
    featx.extract()
    (found,) = repeat(None, 2)
    networks = [row for row in found.rows if row.run.startswith("toy-head-class")]
    assert len({row.run for row in networks}) == 2
    assert all(np.isfinite(row.scores).all() for row in networks)


def test_groups_stay_whole_in_every_repeat(toy_home: Path) -> None:
    paths = sorted(str(path.relative_to("images")) for path in Path("images").rglob("*.png"))
    table = pd.DataFrame({"path": paths, "class": [path.split("/")[0] for path in paths]})
    table.assign(person=[f"p{at // 2}" for at in range(len(paths))]).to_csv("images/l.csv", index=False)
    data = LIGHT.replace('"images"', '"images"\nlabels = { file = "l.csv" }')
    Path("featx.toml").write_text(data.replace("[split]", '[split]\nby = "person"'))
    featx.extract()
    repeat(None, 2)
    person = pd.read_csv("images/l.csv").set_index("path")["person"]
    assert (parts_of(2).groupby(person).nunique() == 1).all()


def test_copies_stay_together_in_every_repeat(toy_home: Path) -> None:
    for number in range(20):
        shutil.copy(f"images/dark/{number:03}.png", f"images/dark/copy{number}.png")
    Path("featx.toml").write_text(LIGHT.replace("[split]", '[split]\nduplicates = "together"'))
    featx.extract()
    repeat(None, 2)
    cut = parts_of(1)
    for number in range(20):
        assert cut[f"dark/{number:03}.png"] == cut[f"dark/copy{number}.png"]


def test_differences_are_tested_with_the_true_ratio_of_rows() -> None:
    rng = np.random.default_rng(0)
    scores = {"good": 0.9 + rng.normal(0, 0.01, 6), "near": 0.9 + rng.normal(-0.004, 0.01, 6), "bad": np.full(6, 0.6)}
    repeats = [
        {"metric": "accuracy", "n_train": 60, "n_val": 15, "scores": {name: of[at] for name, of in scores.items()}}
        for at in range(6)
    ]
    found = compared("y", repeats)
    assert [row.run for row in found.rows] == ["good", "near", "bad"]
    assert np.isnan(found.rows[0].p)
    p = []
    for name in ("near", "bad"):
        apart = scores["good"] - scores[name]
        statistic = apart.mean() / np.sqrt((1 / 6 + 15 / 60) * apart.var(ddof=1))
        p.append(2 * t.sf(abs(statistic), 5))
    assert found.rows[2].p == pytest.approx(2 * p[1])
    assert found.rows[1].p == pytest.approx(p[0])
    assert found.rows[1].difference == pytest.approx((scores["near"] - scores["good"]).mean())


def test_errors_are_ranked_the_smallest_first_and_runs_missing_from_a_repeat_last() -> None:
    each = [{"large": 2.0, "small": 1.0, "rare": 0.1}, {"large": 2.2, "small": 1.1}]
    repeats = [{"metric": "mae", "n_train": 6, "n_val": 2, "scores": scores} for scores in each]
    found = compared("y", repeats)
    assert [row.run for row in found.rows] == ["small", "large", "rare"]
    assert found.rows[1].difference == pytest.approx(1.05)
    assert np.isnan(found.rows[2].p)
    assert np.isnan(found.rows[2].scores[1])


def test_what_cannot_be_repeated_is_refused(toy_home: Path) -> None:
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


def test_run_prints_the_table(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from typer.testing import CliRunner

    from featx.cli.main import app

    make_images(home / "images")
    Path("featx.toml").write_text(LIGHT)
    said = CliRunner().invoke(app, ["run", "featx.toml", "--repeats", "2"]).stdout
    assert "── featx repeats" in said
    assert "class: 2 train/val splits (n 26 and 11)" in said
