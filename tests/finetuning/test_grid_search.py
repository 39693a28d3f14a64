"""Searches over a grid of settings stop runs that fall behind."""

from pathlib import Path
from typing import Any

import pytest

import featx
from featx.errors import DataError
from tests.finetuning.specs import changed

INCOMPARABLE: dict[str, tuple[Any, Any]] = {
    "loss": ("focal", "cross_entropy"),
    "class_weight": ("none", "balanced"),
    "group_weight": ("none", "side"),
    "holdout": (0.1, 0.2),
    "seed": (0, 1),
}


def test_a_search_stops_runs_that_fall_behind(study: Path) -> None:
    grid = [changed(strategy=strategy, lr=lr, epochs=6) for strategy in ("head", "4") for lr in (0.03, 0.01, 1e-7)]
    runs = featx.finetune(specs=grid, trials=5, target="class")
    assert len(runs) == 5
    stopped_runs = [run for run in runs if not run.path]
    assert stopped_runs
    assert runs[-len(stopped_runs) :] == stopped_runs
    assert all(run.flags == ["fell behind"] and run.settings["lr"] for run in stopped_runs)
    repeated_runs = featx.finetune(specs=grid, trials=5, target="class")
    assert [run.path for run in repeated_runs] == [run.path for run in runs]
    assert not any(run.is_new for run in repeated_runs if run.path)
    for name, values in INCOMPARABLE.items():
        incomparable = [changed(**{name: value}, lr=lr) for value in values for lr in (0.1, 0.01)]
        with pytest.raises(DataError, match=f"those of runs that differ in '{name}' cannot be compared"):
            featx.finetune(specs=incomparable, trials=2, target="class")
