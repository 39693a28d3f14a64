"""A course knows its best epoch, when it is over, and what went wrong."""

import math

import numpy as np
import pytest

from featx.finetuning.history import Epoch, TrainingHistory, findings

SPREAD = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
SAME = np.array([[0.55, 0.45]] * 4)
ONE_CLASS = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.8, 0.2]])
FALLING = [0.7, 0.6, 0.5, 0.4]


def course(held: list[float], train: list[float] | None = None, patience: int = 0) -> TrainingHistory:
    """Return a course with these losses; the first is that before training."""
    made = TrainingHistory(patience)
    made.begin_phase()
    for number, loss in enumerate(held):
        other = math.nan if not number else (train or held)[number]
        made.take(Epoch(number, int(number > 0), 0.1, other, loss, 1.0))
    return made


def marks(made: TrainingHistory, answers: np.ndarray = SPREAD, varied: bool = True) -> list[str]:
    return [one.mark for one in findings(made, ("a", "b"), answers, varied)]


def test_the_best_epoch_is_the_one_with_the_lowest_held_out_loss() -> None:
    made = course([0.7, 0.5, 0.4, 0.45])
    assert (made.best, made.lowest) == (2, 0.4)
    assert "best 0.4000" in made.news


@pytest.mark.parametrize(("patience", "over"), [(0, False), (2, True), (3, False)])
def test_patience_is_epochs_without_a_lower_loss(patience: int, over: bool) -> None:
    assert course([0.7, 0.5, 0.6, 0.6], patience=patience).is_over == over


def test_patience_starts_anew_with_a_phase_and_the_best_epoch_stays() -> None:
    made = course([0.7, 0.5, 0.6, 0.6], patience=2)
    made.begin_phase()
    made.take(Epoch(4, 2, 0.1, 0.6, 0.55, 1.0))
    assert not made.is_over
    assert made.best == 1


def test_without_held_out_rows_the_last_epoch_is_the_best() -> None:
    made = TrainingHistory(2, keeps_last=True)
    for number, loss in enumerate([0.7, 0.5, 0.6, 0.8, 0.9]):
        made.take(Epoch(number, 1, 0.1, loss, loss, 1.0))
    assert made.best == 4
    assert not made.is_over


def test_a_course_survives_being_written_down() -> None:
    made = course([0.7, 0.5, 0.6])
    again = TrainingHistory.from_dict(made.to_dict())
    assert again.to_dict().keys() == made.to_dict().keys()
    assert again.best == made.best
    assert again.epochs[1:] == made.epochs[1:]


def test_a_course_as_it_should_be_has_no_marks() -> None:
    assert marks(course(FALLING)) == []


def test_a_loss_that_is_not_finite_ends_the_course_and_keeps_the_best() -> None:
    made = course([0.7, 0.5, math.nan])
    assert made.is_over
    assert made.best == 1
    (found,) = findings(made, ("a", "b"), SPREAD, varied=True)
    assert found.mark == "nan"
    assert "in epoch 2; the weights of epoch 1 are kept; try a lower lr" in found.text
    at_once = findings(course([0.7, math.inf]), ("a", "b"), SPREAD, varied=True)[0]
    assert "the weights are those before training" in at_once.text


@pytest.mark.parametrize(
    ("held", "train", "answers", "expected"),
    [
        ([0.7, 0.9, 2.0, 5.0], None, SPREAD, "diverged"),
        (FALLING, None, SAME, "dead head"),
        (FALLING, None, ONE_CLASS, "one class"),
        ([0.7, 0.4, 0.42, 0.47, 0.5], [0.0, 0.5, 0.4, 0.3, 0.2], SPREAD, "over-fitting"),
    ],
)
def test_what_goes_wrong_is_called_by_its_name(
    held: list[float], train: list[float] | None, answers: np.ndarray, expected: str
) -> None:
    made = course(held, train)
    assert marks(made, answers) == [expected]
    (found,) = findings(made, ("a", "b"), answers, varied=True)
    assert "try" in found.text
    assert "\n" not in found.text


def test_where_all_labels_are_the_same_one_answer_is_no_fault() -> None:
    assert marks(course(FALLING), SAME, varied=False) == []


def test_a_loss_that_rises_with_that_of_train_is_no_over_fitting() -> None:
    assert marks(course([0.7, 0.4, 0.42, 0.47, 0.5], [0.0, 0.4, 0.42, 0.47, 0.5])) == []
