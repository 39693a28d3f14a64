"""Runs whose selection score is undefined: they are the worst, and the message says why no run has one."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import featx
from featx.errors import DataError
from featx.metrics.definitions import find_score
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_heads, toy_recipe

PARTS = np.array(["train", "train", "val", "test"])
# Its trees split the first column only, whose numbers are large, and predict a constant for the second one.
ONE_COLUMN = {"name": "xgboost", "trials": 1, "folds": 3, "params": {"gamma": 1000.0}}


def fit_study(home: Path, weightless_part: str = "", **sections: Any) -> None:
    """Extract and fit a study of 96 images with classes, two numbers, and weights of 0 in one part."""
    ids = make_images(home / "images", n_each=48)
    part = PARTS[np.arange(len(ids)) % 4]
    is_light = np.array([name.startswith("light") for name in ids])
    noise = np.random.default_rng(0).normal(0, 0.1, (2, len(ids)))
    table = {"path": ids, "part": part, "class": is_light.astype(str), "weight": (part != weightless_part).astype(int)}
    numbers = {"large": 1000 * (is_light + noise[0]), "small": is_light + noise[1]}
    pd.DataFrame(table | numbers).to_csv(home / "images" / "labels.csv", index=False)
    Path("featx.toml").write_text(toy_recipe(data=LABEL_TABLE, split={"column": "part"}, **sections))
    featx.extract()
    featx.fit()


def fit_numbers(home: Path, heads: Sequence[Any]) -> None:
    """Extract and fit a study of two numbers, whose runs are chosen by Pearson's correlation."""
    target = {"kind": "numbers", "columns": ["large", "small"]}
    fit_study(home, targets={"y": target}, head=heads, ensemble=[{"methods": [], "metric": "pearson"}])


def test_undefined_values_sort_as_the_worst() -> None:
    for name in ("accuracy", "mae"):
        sort_key = find_score(name).sort_key
        assert sort_key(math.nan) < min(sort_key(0.0), sort_key(1.0))
    assert find_score("mae").sort_key(0.0) > find_score("mae").sort_key(1.0)


def test_a_run_without_a_score_is_never_chosen(home: Path) -> None:
    fit_numbers(home, [ONE_COLUMN, *toy_heads("ridge")])
    (evaluation,) = featx.evaluate()
    assert [row.label for row in evaluation.rows] == ["ridge", "xgboost"]
    assert evaluation.rows[0].run == evaluation.chosen
    assert math.isnan(evaluation.rows[1].scores["pearson"])
    assert Path(featx.report().report).is_file()


def test_a_metric_that_no_run_has_is_named(home: Path) -> None:
    fit_numbers(home, [ONE_COLUMN])
    with pytest.raises(DataError, match="'pearson' of target 'y' is undefined on the selection rows for every run"):
        featx.evaluate()


def test_selection_rows_without_weight_are_named(home: Path) -> None:
    targets = {"class": {"column": "class", "weight": "weight"}}
    fit_study(home, "val", targets=targets, head=toy_heads("logreg"))
    with pytest.raises(DataError, match="all 24 selection rows of target 'class' weigh 0; check 'weight' and"):
        featx.evaluate()


def test_test_rows_without_weight_have_plain_scores_only(home: Path) -> None:
    targets = {"class": {"column": "class", "weight": "weight"}}
    fit_study(home, "test", targets=targets, head=toy_heads("logreg"))
    (evaluation,) = featx.evaluate(final=True)
    assert "confidence_accuracy" not in evaluation.rows[0].scores
    assert Path(featx.report().report).is_file()
