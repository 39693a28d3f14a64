"""Files of predictions: every writer takes the records of all kinds of predictions."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from featx.predictors.prediction_files import open_prediction_file

ROWS = [
    {"image": "a.png", "run": "knn", "age": 3.5, "low.age": -math.inf, "high.age": math.inf, "true.age": math.nan},
    {"image": "b.png", "run": "knn", "age": 4.5, "low.age": 4.0, "high.age": 5.0, "true.age": 4.25},
]


def test_unbounded_intervals_are_null_in_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "predictions.jsonl"
    with open_prediction_file(file) as write:
        write(ROWS)
    first_row, second_row = map(json.loads, file.read_text().splitlines())
    assert first_row == {**ROWS[0], "low.age": None, "high.age": None, "true.age": None}
    assert second_row == ROWS[1]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_unbounded_intervals_stay_infinite_in_tables(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"predictions.{suffix}"
    with open_prediction_file(file) as write:
        write(ROWS)
    frame = pd.read_csv(file) if suffix == "csv" else pd.read_parquet(file)
    assert frame["low.age"].tolist() == [-math.inf, 4.0]
    assert frame["high.age"].tolist() == [math.inf, 5.0]
