"""A training history has its best epoch, the end of a phase, and warnings about what went wrong."""

import math

import numpy as np
import pytest

from featx.finetuning.epochs import Epoch, EpochChoice, PartMeasurement
from featx.finetuning.history import TrainingHistory, find_warnings

SPREAD = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
SAME = np.array([[0.55, 0.45]] * 4)
ONE_CLASS = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.8, 0.2]])
FALLING = [0.7, 0.6, 0.5, 0.4]


def build_history(
    held_losses: list[float], train_losses: list[float] | None = None, patience: int = 0
) -> TrainingHistory:
    """Return a history with these losses; the first is that before training."""
    history = TrainingHistory(patience)
    history.begin_phase()
    for number, loss in enumerate(held_losses):
        train_loss = math.nan if not number else (train_losses or held_losses)[number]
        history.add_epoch(build_epoch(number, int(number > 0), train_loss, loss))
    return history


def build_epoch(number: int, phase: int, train_loss: float, held_loss: float, accuracy: float = 0.5) -> Epoch:
    """Return an epoch with losses, and with an accuracy of the held-out rows."""
    held_measurement = PartMeasurement(held_loss, {"accuracy": accuracy})
    return Epoch(number, phase, 0.1, PartMeasurement(train_loss), 1.0, held=held_measurement)


def marks(history: TrainingHistory, predictions: np.ndarray = SPREAD, varied: bool = True) -> list[str]:
    return [warning.flag for warning in find_warnings(history, ("a", "b"), predictions, varied)]


def test_the_best_epoch_is_the_one_with_the_lowest_held_out_loss() -> None:
    history = build_history([0.7, 0.5, 0.4, 0.45])
    assert (history.best, history.lowest) == (2, 0.4)
    assert "best 0.4000" in history.summary


@pytest.mark.parametrize(("patience", "is_over"), [(0, False), (2, True), (3, False)])
def test_patience_counts_epochs_without_a_lower_loss(patience: int, is_over: bool) -> None:
    assert build_history([0.7, 0.5, 0.6, 0.6], patience=patience).is_phase_over == is_over


def test_patience_restarts_with_a_phase_and_the_best_epoch_stays() -> None:
    history = build_history([0.7, 0.5, 0.6, 0.6], patience=2)
    history.begin_phase()
    history.add_epoch(build_epoch(4, 2, 0.6, 0.55))
    assert not history.is_phase_over
    assert history.best == 1


def test_a_phase_that_is_not_finite_does_not_end_the_next_one() -> None:
    history = build_history([0.7, 0.5, math.nan])
    assert history.is_phase_over
    history.begin_phase()
    assert not history.is_phase_over
    history.add_epoch(build_epoch(3, 2, math.nan, 0.5))
    assert history.is_phase_over


def test_without_held_out_rows_the_last_epoch_is_the_best() -> None:
    history = TrainingHistory(2, EpochChoice("train"))
    for number, loss in enumerate([0.7, 0.5, 0.6, 0.8, 0.9]):
        history.add_epoch(Epoch(number, 1, 0.1, PartMeasurement(loss), 1.0))
    assert "held-out" not in history.summary
    assert history.best == 4
    assert not history.is_phase_over


def test_the_best_epoch_has_the_best_score_and_then_the_lowest_loss() -> None:
    history = TrainingHistory(2, EpochChoice("held", "accuracy"))
    for number, (loss, accuracy) in enumerate([(0.7, 0.5), (0.4, 0.8), (0.6, 0.9), (0.5, 0.9), (0.3, 0.7)]):
        history.add_epoch(build_epoch(number, 1, 0.5, loss, accuracy))
    assert history.best == 3
    assert "held-out accuracy 0.7000, best 0.9000" in history.summary
    assert not history.is_phase_over
    history.add_epoch(build_epoch(5, 1, 0.5, math.nan, 1.0))
    assert history.best == 3
    assert history.is_phase_over


def test_an_error_is_better_if_it_is_smaller() -> None:
    history = TrainingHistory(0, EpochChoice("held", "mae", greater_is_better=False))
    for number, mae in enumerate([3.0, 1.0, 2.0]):
        held_measurement = PartMeasurement(0.5, {"mae": mae})
        history.add_epoch(Epoch(number, 1, 0.1, PartMeasurement(0.5), 1.0, held=held_measurement))
    assert history.best == 1


def test_a_history_survives_serialisation() -> None:
    history = build_history([0.7, 0.5, 0.6])
    restored_history = TrainingHistory.from_dict(history.to_dict())
    assert restored_history.to_dict().keys() == history.to_dict().keys()
    assert restored_history.best == history.best
    assert restored_history.epochs[1:] == history.epochs[1:]


def test_a_normal_training_has_no_warnings() -> None:
    assert marks(build_history(FALLING)) == []


def test_a_loss_that_is_not_finite_ends_the_phase_and_keeps_the_best() -> None:
    history = build_history([0.7, 0.5, math.nan])
    assert history.is_phase_over
    assert history.best == 1
    (warning,) = find_warnings(history, ("a", "b"), SPREAD, has_varied_labels=True)
    assert warning.flag == "nan"
    assert "in epoch 2; the weights of epoch 1 are kept; try a lower lr" in warning.text
    immediate = find_warnings(build_history([0.7, math.inf]), ("a", "b"), SPREAD, has_varied_labels=True)[0]
    assert "the weights before training are kept" in immediate.text


@pytest.mark.parametrize(
    ("held_losses", "train_losses", "predictions", "expected"),
    [
        ([0.7, 0.9, 2.0, 5.0], None, SPREAD, "diverged"),
        (FALLING, None, SAME, "dead head"),
        (FALLING, None, ONE_CLASS, "one class"),
        ([0.7, 0.4, 0.42, 0.47, 0.5], [0.0, 0.5, 0.4, 0.3, 0.2], SPREAD, "over-fitting"),
    ],
)
def test_each_failure_gives_its_warning(
    held_losses: list[float], train_losses: list[float] | None, predictions: np.ndarray, expected: str
) -> None:
    history = build_history(held_losses, train_losses)
    assert marks(history, predictions) == [expected]
    (warning,) = find_warnings(history, ("a", "b"), predictions, has_varied_labels=True)
    assert "try" in warning.text
    assert "\n" not in warning.text


def test_one_prediction_is_no_failure_if_all_labels_are_the_same() -> None:
    assert marks(build_history(FALLING), SAME, varied=False) == []


def test_a_loss_that_rises_with_that_of_train_is_no_over_fitting() -> None:
    assert marks(build_history([0.7, 0.4, 0.42, 0.47, 0.5], [0.0, 0.4, 0.42, 0.47, 0.5])) == []


def test_negative_losses_that_fall_are_no_failure() -> None:
    assert marks(build_history([-73.3, -73.5, -73.6, -73.65, -73.7])) == []
    assert marks(build_history([-73.3, -10.0, 20.0])) == ["diverged"]
