"""Differences between the errors of groups, for every run, with intervals.

Modules: evaluation.group_biases.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import featx
from featx.cli.main import app
from featx.errors import UnknownNameError
from featx.evaluation.evaluation_table import Evaluation
from featx.evaluation.group_biases import EQUAL_ERRORS, GroupBias, group_biases
from featx.evaluation.group_membership import group_rows
from featx.evaluation.group_scores import GroupPredictions
from featx.metrics.score_texts import ScoreFormat
from featx.tables.target_values import NumberTargets
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_heads, toy_recipe

SITES = ["north"] * 60 + ["south"] * 200 + ["west"] * 50 + ["island"] * 7


def biases_of(means: tuple[float, float, float], seed: int = 0, units: np.ndarray | None = None) -> GroupBias:
    """Return the bias of predictions whose errors have these means in the first three sites."""
    rng = np.random.default_rng(seed)
    y = np.zeros((len(SITES), 1))
    by_site = dict(zip(("north", "south", "west", "island"), (*means, 99.0), strict=True))
    errors = np.array([by_site[site] for site in SITES]) * rng.gamma(4, 1 / 4, len(SITES))
    predictions = GroupPredictions(NumberTargets(("age",), y), errors[:, None], units)
    return group_biases({"run": predictions}, [group_rows("site", pd.Series(SITES))])["run"]["site"]


def test_measures_equal_their_definitions() -> None:
    bias = biases_of((9.0, 10.0, 12.0))
    errors = np.array(list(bias.errors.values()))
    assert list(bias.errors) == ["north", "south", "west"]
    assert bias.too_few == {"island": 7}
    assert bias.largest_difference == pytest.approx(errors.max() - errors.min())
    assert bias.sd == pytest.approx(np.std(errors))
    assert bias.ratio == pytest.approx(errors.min() / errors.max())
    rng = np.random.default_rng(0)
    means = np.repeat([9.0, 10.0, 12.0, 99.0], [60, 200, 50, 7])
    overall = (means * rng.gamma(4, 1 / 4, len(SITES))).mean()
    assert bias.mean_deviation == pytest.approx(np.abs(errors - overall).mean())


@pytest.mark.parametrize("means", [(10.0, 10.0, 10.0), (8.0, 10.0, 13.0)])
def test_intervals_cover_the_true_difference(means: tuple[float, float, float]) -> None:
    true = {"largest_difference": max(means) - min(means), "sd": float(np.std(means)), "ratio": min(means) / max(means)}
    n_covered = dict.fromkeys(true, 0)
    for seed in range(25):
        bias = biases_of(means, seed)
        for name, value in true.items():
            low, high = bias.intervals[name]
            n_covered[name] += low - 1e-9 <= value <= high + 1e-9
            assert low <= getattr(bias, name) <= high
    assert min(n_covered.values()) >= 21


def test_equal_errors_have_no_difference() -> None:
    bias = biases_of((0.0, 0.0, 0.0))
    assert (bias.largest_difference, bias.sd, bias.ratio) == (0.0, 0.0, None)
    assert list(bias.intervals["largest_difference"]) == [EQUAL_ERRORS["largest_difference"], 0.0]


def test_whole_units_are_drawn() -> None:
    units = np.arange(len(SITES)) // 4
    by_row, by_unit = biases_of((9.0, 10.0, 12.0)), biases_of((9.0, 10.0, 12.0), units=units)
    assert by_row.errors == by_unit.errors
    assert by_row.intervals != by_unit.intervals


def test_fewer_than_two_groups_are_too_few() -> None:
    rows = pd.Series(["a"] * (len(SITES) - 5) + ["b"] * 5)
    predictions = GroupPredictions(NumberTargets(("age",), np.zeros((len(SITES), 1))), np.ones((len(SITES), 1)))
    bias = group_biases({"run": predictions}, [group_rows("site", rows)])["run"]["site"]
    assert (bias.largest_difference, bias.intervals) == (None, {})
    assert bias.too_few == {"a": len(SITES) - 5, "b": 5}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a study of two numbers with two group columns."""
    home = tmp_path_factory.mktemp("biases")
    ids = make_images(home / "images", n_each=80)
    rng = np.random.default_rng(0)
    x = np.array([float(name.startswith("light")) for name in ids])
    table = {"path": ids, "valence": x - 0.5 + rng.normal(0, 0.2, len(ids)), "arousal": 0.5 - x}
    table |= {
        "site": rng.choice(["north", "south"], len(ids)),
        "age": np.where(np.arange(len(ids)) % 40 < 2, ">60", "<60"),
    }
    pd.DataFrame(table).to_csv(home / "images" / "labels.csv", index=False)
    target = {"column": "valence", "columns": ["valence", "arousal"], "kind": "numbers"}
    groups, heads = {"site": "site", "age": "age"}, toy_heads("ridge", "rf")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        recipe = toy_recipe(
            data=LABEL_TABLE, targets={"feeling": target}, groups=groups, head=heads, split={"val": 0.6, "test": 0.1}
        )
        (home / "featx.toml").write_text(recipe)
        featx.extract()
        featx.fit()
    return home


def test_every_run_has_a_bias_for_each_group_column(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    (evaluation,) = featx.evaluate()
    for row in evaluation.rows:
        assert list(row.biases) == ["site", "age"]
        assert set(row.biases["site"].intervals) == set(EQUAL_ERRORS)
        assert row.biases["age"].intervals == {}
        assert list(row.biases["age"].too_few) == ["<60", ">60"]
    copy = Evaluation.from_dict(json.loads(json.dumps(asdict(evaluation))))
    assert [row.biases for row in copy.rows] == [row.biases for row in evaluation.rows]
    best_biases = evaluation.rows[0].biases["site"]
    assert evaluation.bias_format("ratio") == ScoreFormat() != evaluation.bias_format("sd")
    for name, value in (
        ("largest", best_biases.largest_difference),
        ("sd", best_biases.sd),
        ("ratio", best_biases.ratio),
    ):
        output = CliRunner().invoke(app, ["evaluate", "--bias", name]).output
        assert f"{evaluation.bias_format(name).show(value)} (" in output
        assert output.count("too few\n") == 2
        assert "age: too few, not counted: <60 (n " in output
    result = CliRunner().invoke(app, ["evaluate", "--bias", "rang"])
    assert isinstance(result.exception, UnknownNameError)
    text = Path(featx.report().report).read_text()
    assert f"{evaluation.bias_format('deviation').show(best_biases.mean_deviation)} (" in text
    assert text.count(">too few</td>") == 4 * len(evaluation.rows)


def test_all_scores_of_each_column_are_shown(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    (evaluation,) = featx.evaluate()
    names = ["mae", "rmse", "r2", "pearson", "ccc", "sagr", "mape"]
    assert evaluation.scores_by_column == {
        "": names,
        "valence": [f"{name}.valence" for name in names],
        "arousal": [f"{name}.arousal" for name in names],
    }
    for row in evaluation.rows:
        for name in ("mae", "rmse", "ccc", "sagr"):
            mean = (row.scores[f"{name}.valence"] + row.scores[f"{name}.arousal"]) / 2
            assert row.scores[name] == pytest.approx(mean)
        assert set(row.intervals) == set(evaluation.scores)
    output = CliRunner().invoke(app, ["evaluate", "--per-class", "--verbose"]).output
    assert "feeling has numbers, so there are no scores by class" in output
    for title in ("all scores", "valence", "arousal"):
        assert f"\n  {title}  " in output
    text = Path(featx.report().report).read_text()
    assert f">{evaluation.rows[0].scores['pearson.arousal']:.4f}</td>" in text
