"""Searches over a grid of settings stop runs that fall behind."""

import math
from pathlib import Path
from typing import Any

import pytest

import featx
from featx.errors import DataError
from featx.finetuning.epochs import Epoch, PartMeasurement
from featx.finetuning.grid_search import AfterEpoch, TrialRunner, search_grid
from featx.finetuning.history import TrainingHistory
from featx.specs.finetuning import FinetuneSpec
from tests.finetuning.specs import changed

INCOMPARABLE: dict[str, tuple[Any, Any]] = {
    "loss": ("focal", "cross_entropy"),
    "class_weight": ("none", "balanced"),
    "group_weight": ("none", "side"),
    "holdout": (0.1, 0.2),
    "seed": (0, 1),
}


def test_a_search_stops_runs_that_fall_behind(study: Path) -> None:
    grid = [changed(strategy="4", lr=lr, epochs=6) for lr in (0.03, 0.02, 0.01, 1e-6, 1e-7, 1e-8)]
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


GRID = [FinetuneSpec(lr=lr, weight_decay=decay) for lr in (1e-3, 3e-4, 1e-4, 3e-5) for decay in (0, 1e-4, 1e-3)]
N_TRIALS, N_EPOCHS = 8, 5
Result = tuple[float, float, int]


class Trainings:
    """Trainings that continue after their last epoch, like those of networks, and are interrupted after some epochs."""

    def __init__(self, n_epochs: float = math.inf) -> None:
        self.n_left = n_epochs
        self.finished_epochs: dict[FinetuneSpec, int] = {}
        self.trained_specs: list[FinetuneSpec] = []

    def run(self, spec: FinetuneSpec, after_epoch: AfterEpoch) -> tuple[Result, float]:
        """Train one epoch after the other."""
        loss = abs(math.log10(spec.lr) + 3.3) + 100 * spec.weight_decay
        for number in range(self.finished_epochs.get(spec, 0) + 1, N_EPOCHS + 1):
            if not self.n_left:
                raise KeyboardInterrupt
            self.n_left -= 1
            self.trained_specs.append(spec)
            self.finished_epochs[spec] = number
            held = PartMeasurement(loss=loss + 1 / number)
            after_epoch(TrainingHistory(0, epochs=[Epoch(number, 1, spec.lr, PartMeasurement(), 1.0, held=held)]))
        # The loss of a network that diverges is not defined.
        return (spec.lr, spec.weight_decay, N_EPOCHS), math.nan if spec.lr == 1e-4 else loss

    def search(self, journal: Path) -> list[Result]:
        """Return the results of a search."""
        return search_grid(GRID, N_TRIALS, TrialRunner(self.run, stopped), journal)


def stopped(spec: FinetuneSpec, epoch: int) -> Result:
    return spec.lr, spec.weight_decay, epoch


def test_an_interrupted_search_trains_what_it_would_have_trained(tmp_path: Path) -> None:
    uninterrupted = Trainings()
    expected = uninterrupted.search(tmp_path / "whole")
    assert len(set(expected)) == N_TRIALS
    assert any(epoch < N_EPOCHS for *_, epoch in expected)
    for n_epochs in range(1, len(uninterrupted.trained_specs), 3):
        trainings = Trainings(n_epochs)
        with pytest.raises(KeyboardInterrupt):
            trainings.search(tmp_path / f"after {n_epochs}")
        trainings.n_left = math.inf
        assert trainings.search(tmp_path / f"after {n_epochs}") == expected
        assert trainings.trained_specs == uninterrupted.trained_specs
    assert uninterrupted.search(tmp_path / "whole") == expected
