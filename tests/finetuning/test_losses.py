"""Each loss against its textbook formula in NumPy, and its gradient against finite differences."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, log_softmax
from scipy.stats import poisson as poisson_distribution

from featx.errors import DataError
from featx.finetuning.losses import Loss, build_loss, weighted_mean
from featx.finetuning.objective import Objective
from featx.registry import LOSSES
from featx.specs.finetuning import LossSpec

X = NDArray[np.float64]
RNG = np.random.default_rng(0)
N, K = 7, 4
Z = RNG.normal(size=(N, K)) * 2
CODES = RNG.integers(0, K, N)
ONE_HOT = np.eye(K)[CODES]
Y_PRED, Y_TRUE = RNG.uniform(0.2, 3, (N, 2)), RNG.uniform(0.2, 3, (N, 2))


def registered_loss(name: str, **options: float) -> Loss:
    loss = LOSSES.get(name)(LossSpec(name=name, **options))  # type: ignore[arg-type]
    assert isinstance(loss, Loss)
    return loss


def smoothed_targets(share: float) -> X:
    return (1 - share) * ONE_HOT + share / K


def binary_cross_entropy(z: X, y: X) -> X:
    return -y * np.log(expit(z)) - (1 - y) * np.log(expit(-z))


IS_BEYOND = (CODES[:, None] > np.arange(K - 1)).astype(float)
CLASSES: list[tuple[str, dict[str, float], X, X]] = [
    ("cross_entropy", {}, Z, -(ONE_HOT * log_softmax(Z, 1)).sum(1)),
    ("cross_entropy", {"label_smoothing": 0.2}, Z, -(smoothed_targets(0.2) * log_softmax(Z, 1)).sum(1)),
    ("focal", {"gamma": 0}, Z, -(ONE_HOT * log_softmax(Z, 1)).sum(1)),
    ("focal", {"gamma": 2}, Z, -(ONE_HOT * (1 - np.exp(log_softmax(Z, 1))) ** 2 * log_softmax(Z, 1)).sum(1)),
    ("ordinal", {}, Z[:, : K - 1], binary_cross_entropy(Z[:, : K - 1], IS_BEYOND).mean(1)),
]
NUMBERS: list[tuple[str, dict[str, float], Callable[[X, X], X]]] = [
    ("mse", {}, lambda y_pred, y_true: (y_pred - y_true) ** 2),
    ("mae", {}, lambda y_pred, y_true: np.abs(y_pred - y_true)),
    ("log_cosh", {}, lambda y_pred, y_true: np.log(np.cosh(y_pred - y_true))),
    ("poisson", {}, lambda y_pred, y_true: y_pred - y_true * np.log(y_pred)),
    ("msle", {}, lambda y_pred, y_true: (np.log(1 + y_pred) - np.log(1 + y_true)) ** 2),
    ("mape", {}, lambda y_pred, y_true: np.abs(y_pred - y_true) / np.abs(y_true)),
    (
        "huber",
        {"delta": 0.7},
        lambda y_pred, y_true: np.where(
            np.abs(y_pred - y_true) <= 0.7, (y_pred - y_true) ** 2 / 2, 0.7 * (np.abs(y_pred - y_true) - 0.35)
        ),
    ),
]


def test_every_loss_is_tested_here() -> None:
    assert {name for name, *_ in CLASSES} | {name for name, *_ in NUMBERS} | {"bce"} == set(LOSSES.names())


@pytest.mark.parametrize(("name", "options", "outputs", "expected"), CLASSES)
def test_a_loss_of_classes_is_the_textbooks(name: str, options: dict[str, float], outputs: X, expected: X) -> None:
    loss = registered_loss(name, **options)
    assert loss.is_classification
    assert loss.count_outputs(K) == outputs.shape[1]
    rows = loss.row_losses(torch.tensor(outputs), torch.tensor(CODES))
    np.testing.assert_allclose(rows.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_binary_cross_entropy_is_the_textbooks(share: float) -> None:
    codes, z = CODES % 2, Z[:, :1]
    rows = registered_loss("bce", label_smoothing=share).row_losses(torch.tensor(z), torch.tensor(codes))
    expected = binary_cross_entropy(z[:, 0], codes * (1 - share) + share / 2)
    np.testing.assert_allclose(rows.numpy(), expected, rtol=1e-12)
    soft_rows = registered_loss("bce", label_smoothing=share).row_losses(torch.tensor(Z), torch.tensor(ONE_HOT))
    np.testing.assert_allclose(
        soft_rows.numpy(), binary_cross_entropy(Z, ONE_HOT * (1 - share) + share / 2).mean(1), rtol=1e-12
    )


@pytest.mark.parametrize(("name", "options", "formula"), NUMBERS)
def test_a_loss_of_numbers_is_the_textbooks(name: str, options: dict[str, float], formula: Callable[[X, X], X]) -> None:
    loss = registered_loss(name, **options)
    assert not loss.is_classification
    rows = loss.row_losses(torch.tensor(Y_PRED), torch.tensor(Y_TRUE))
    np.testing.assert_allclose(rows.numpy(), formula(Y_PRED, Y_TRUE).mean(1), rtol=1e-12)


@pytest.mark.parametrize(("name", "power"), [("mse", 2), ("mae", 1)])
def test_a_loss_of_numbers_learns_classes_as_columns(name: str, power: int) -> None:
    loss = build_loss(LossSpec(name=name), learns_classes=True)
    p = np.exp(log_softmax(Z, 1))
    rows = loss.row_losses(torch.tensor(Z), torch.tensor(CODES))
    np.testing.assert_allclose(rows.numpy(), (np.abs(p - ONE_HOT) ** power).mean(1), rtol=1e-12)
    # The loss of soft labels is the mean over the classes that may be the true one.
    shares = RNG.dirichlet(np.ones(K), N)
    of_each = [(np.abs(p - np.eye(K)[code]) ** power).mean(1) for code in range(K)]
    rows = loss.row_losses(torch.tensor(Z), torch.tensor(shares))
    np.testing.assert_allclose(rows.numpy(), (shares * np.transpose(of_each)).sum(1), rtol=1e-12)
    np.testing.assert_allclose(loss.predict(torch.tensor(Z)).numpy(), p, rtol=1e-12)
    assert loss.count_outputs(K) == K
    z = torch.tensor(Z, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: loss.row_losses(values, torch.tensor(CODES)).sum(), (z,))


@pytest.mark.parametrize("name", ["mape", "poisson", "msle"])
def test_a_loss_that_depends_on_zero_uses_the_units_of_the_column(name: str) -> None:
    offset, factor = np.array([5.0, 1.0]), np.array([10.0, 0.5])
    objective = Objective(
        LossSpec(name=name),
        2,
        torch.tensor(Y_TRUE * factor + offset),
        torch.ones(N),
        scaling=torch.tensor(np.stack([offset, factor])),
    )
    in_own_units = registered_loss(name).row_losses(
        torch.tensor(Y_PRED * factor + offset), torch.tensor(Y_TRUE * factor + offset)
    )
    rows = objective.to(torch.device("cpu")).row_losses(torch.tensor(Y_PRED), objective.all_rows)
    np.testing.assert_allclose(rows.numpy(), in_own_units.numpy(), rtol=1e-12)


def test_poisson_loss_is_the_likelihood_up_to_a_constant() -> None:
    counts, rates = np.array([[0.0], [3.0], [7.0]]), np.array([[0.5], [2.0], [9.0]])
    rows = registered_loss("poisson").row_losses(torch.tensor(rates), torch.tensor(counts)).numpy()
    shifted = registered_loss("poisson").row_losses(torch.tensor(rates + 1), torch.tensor(counts)).numpy()
    likelihoods = [-poisson_distribution.logpmf(counts, rates + shift)[:, 0] for shift in (0, 1)]
    np.testing.assert_allclose(rows - shifted, likelihoods[0] - likelihoods[1], rtol=1e-12)


@pytest.mark.parametrize("name", LOSSES.names())
def test_the_gradient_is_that_of_finite_differences(name: str) -> None:
    loss = registered_loss(name, label_smoothing=0.1)
    if name == "bce":
        outputs, targets = Z[:, :1], torch.tensor(CODES % 2)
    elif loss.is_classification:
        outputs, targets = Z[:, : loss.count_outputs(K)], torch.tensor(CODES)
    else:
        outputs, targets = Y_PRED, torch.tensor(Y_TRUE)
    weights = torch.tensor(RNG.uniform(0.1, 2, N))
    z = torch.tensor(outputs, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: weighted_mean(loss.row_losses(values, targets), weights), (z,))


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_shares_of_classes_and_codes_agree(name: str) -> None:
    loss = registered_loss(name)
    by_code = loss.row_losses(torch.tensor(Z), torch.tensor(CODES))
    np.testing.assert_allclose(by_code, loss.row_losses(torch.tensor(Z), torch.tensor(ONE_HOT)), rtol=1e-12)


def test_a_row_that_weighs_twice_counts_as_two_rows() -> None:
    losses = torch.tensor([1.0, 2.0, 4.0])
    assert weighted_mean(losses, torch.tensor([1.0, 2.0, 0.0])) == torch.tensor([1.0, 2.0, 2.0]).mean()


@given(z=st.lists(st.floats(-50, 50), min_size=3, max_size=3))
def test_probabilities_are_probabilities_whatever_the_outputs(z: list[float]) -> None:
    outputs = torch.tensor([z], dtype=torch.float64)
    for name, n in (("cross_entropy", 3), ("focal", 3), ("ordinal", 3), ("bce", 1)):
        p = registered_loss(name).predict(outputs[:, :n])
        assert p.shape == (1, {"ordinal": 4, "bce": 2}.get(name, 3))
        assert (p >= 0).all()
        assert p.sum().item() == pytest.approx(1)


def test_ordinal_probabilities_follow_the_thresholds() -> None:
    p = registered_loss("ordinal").predict(torch.logit(torch.tensor([[0.9, 0.6, 0.1]], dtype=torch.float64)))
    np.testing.assert_allclose(p.numpy(), [[0.1, 0.3, 0.5, 0.1]], rtol=1e-12)


def test_large_errors_do_not_overflow() -> None:
    y_pred, y_true = torch.tensor([[1e4], [-1e4]]), torch.zeros(2, 1)
    np.testing.assert_allclose(
        registered_loss("log_cosh").row_losses(y_pred, y_true).numpy(), 1e4 - np.log(2), rtol=1e-6
    )
    rows = registered_loss("poisson").row_losses(torch.tensor([[-3.0]]), torch.tensor([[2.0]]))
    assert torch.isfinite(rows).all()
    assert torch.isfinite(registered_loss("msle").row_losses(torch.tensor([[-3.0]]), torch.tensor([[2.0]]))).all()


@pytest.mark.parametrize(
    ("name", "targets", "message"),
    [
        ("poisson", [1.0, -2.0], "loss 'poisson' takes targets from 0 on, the smallest is -2; set loss = 'huber'"),
        ("msle", [-0.5, 3.0], "loss 'msle' takes targets from 0 on, the smallest is -0.5; set loss = 'huber'"),
        ("mape", [0.0, 1.0, 0.0], "loss 'mape' divides by the target, 2 targets are 0; set loss = 'mae'"),
        ("mape", [1.0, 2.0], ""),
        ("poisson", [0.0, 1.0], ""),
        ("mse", [-1.0], ""),
    ],
)
def test_targets_outside_the_domain_are_reported_with_a_loss_that_fits(
    name: str, targets: list[float], message: str
) -> None:
    assert registered_loss(name).find_problem(np.array(targets)) == message


def test_binary_cross_entropy_refuses_more_classes() -> None:
    with pytest.raises(DataError, match="loss 'bce' takes two classes, found 3; set loss = 'cross_entropy'"):
        registered_loss("bce").count_outputs(3)
