"""Goals of attacks on labels and numbers: any label is changed, and a number as far as possible up or down."""

import numpy as np
import pytest
import torch
from torch import Tensor

from featx.errors import UnsuitedError
from featx.robustness.attack_goals import ClassGoal, LabelGoal, NumberGoal, make_goal
from featx.robustness.attacks.attacked_images import AttackedImages, is_wrong
from featx.robustness.attacks.auto_pgd import apgd
from featx.robustness.attacks.gradient_steps import pgd
from featx.robustness.attacks.square import square
from featx.specs.attacking import AttackSpec
from featx.tables.truth import Labels, Numbers, Truth

N, SIDE, EPS = 12, 5, 0.02
GENERATOR = torch.Generator().manual_seed(0)
PIXELS = 0.3 + 0.4 * torch.rand(N, 3, SIDE, SIDE, generator=GENERATOR, dtype=torch.float64)
WEIGHTS = torch.randn(3 * SIDE * SIDE, 3, generator=GENERATOR, dtype=torch.float64)
IDS = np.array([f"image{number}" for number in range(N)], dtype=object)
ROWS = torch.arange(N)


def scores_of(pixels: Tensor, n_outputs: int) -> Tensor:
    return (pixels - 0.5).flatten(1) @ WEIGHTS[:, :n_outputs]


def test_each_kind_of_target_has_its_goal() -> None:
    assert type(make_goal(Truth(IDS, np.zeros(N, int), ("a", "b")))) is ClassGoal
    assert type(make_goal(Labels(IDS, np.zeros((N, 2)), ("a", "b")))) is LabelGoal
    assert type(make_goal(Numbers(IDS, np.zeros((N, 1)), ("age",)))) is NumberGoal
    with pytest.raises(UnsuitedError, match="the target has 2 numbers"):
        make_goal(Numbers(IDS, np.zeros((N, 2)), ("age", "size")))


def test_any_label_that_changes_makes_a_prediction_wrong() -> None:
    flags = (scores_of(PIXELS, 3) >= 0).double().numpy()
    goal = LabelGoal(Labels(IDS, flags, ("a", "b", "c")))
    compare = goal.compare(None, scores_of(PIXELS, 3), ROWS, 1)  # type: ignore[arg-type]
    images = AttackedImages(
        lambda pixels: scores_of(pixels, 3), PIXELS, goal.codes(ROWS), "linf", EPS, GENERATOR, compare
    )
    assert not is_wrong(images.scores(PIXELS), images.codes).any()
    perturbed_pixels = apgd(images, AttackSpec(method="apgd", eps=EPS, steps=20))
    scores_after = scores_of(perturbed_pixels, 3)
    # The label that is closest to its threshold can be changed by the limit times the sum of the weights.
    falls = EPS * WEIGHTS.abs().sum(0)
    can_change = (scores_of(PIXELS, 3).abs() < falls).any(dim=1)
    assert 0 < int(can_change.sum()) < N
    is_right = goal.is_right(None, scores_after, ROWS)  # type: ignore[arg-type]
    assert (~is_right).tolist() == can_change.tolist()
    assert goal.prediction_texts(None, torch.tensor([[1.0, -1.0, 0.0], [-1.0, -1.0, -1.0]])).tolist() == [
        "a + c",
        "none",
    ]  # type: ignore[arg-type]
    # A subset of the images is compared with its own labels.
    assert not is_wrong(images.take(ROWS[5:]).scores(PIXELS[5:]), images.codes[5:]).any()


@pytest.mark.parametrize("direction", [1, -1])
def test_a_number_is_changed_as_far_as_possible(direction: int) -> None:
    clean_scores = scores_of(PIXELS, 1)
    goal = NumberGoal(Numbers(IDS, clean_scores.numpy(), ("age",)))
    compare = goal.compare(None, clean_scores, ROWS, direction)  # type: ignore[arg-type]
    images = AttackedImages(
        lambda pixels: scores_of(pixels, 1), PIXELS, goal.codes(ROWS), "linf", EPS, GENERATOR, compare
    )
    perturbed_pixels = pgd(images, AttackSpec(method="pgd", eps=EPS, steps=10))
    change = (scores_of(perturbed_pixels, 1) - clean_scores)[:, 0]
    expected = torch.full_like(change, float(direction * EPS * WEIGHTS[:, 0].abs().sum()))
    torch.testing.assert_close(change, expected)
    by_search = square(images, AttackSpec(method="square", eps=EPS, queries=20))
    assert float((direction * (scores_of(by_search, 1) - clean_scores)[:, 0]).min()) > 0
