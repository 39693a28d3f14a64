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
from featx.finetuning.losses import Loss, weighted_mean
from featx.registry import LOSSES
from featx.specs.finetuning import LossSpec

X = NDArray[np.float64]
RNG = np.random.default_rng(0)
N, K = 7, 4
Z = RNG.normal(size=(N, K)) * 2
CODES = RNG.integers(0, K, N)
ONE_HOT = np.eye(K)[CODES]
FOUND, WANTED = RNG.uniform(0.2, 3, (N, 2)), RNG.uniform(0.2, 3, (N, 2))


def loss(name: str, **options: float) -> Loss:
    made = LOSSES.get(name)(LossSpec(name=name, **options))  # type: ignore[arg-type]
    assert isinstance(made, Loss)
    return made


def smoothed(share: float) -> X:
    return (1 - share) * ONE_HOT + share / K


def of_bits(z: X, y: X) -> X:
    return -y * np.log(expit(z)) - (1 - y) * np.log(expit(-z))


BEYOND = (CODES[:, None] > np.arange(K - 1)).astype(float)
CLASSES: list[tuple[str, dict[str, float], X, X]] = [
    ("cross_entropy", {}, Z, -(ONE_HOT * log_softmax(Z, 1)).sum(1)),
    ("cross_entropy", {"label_smoothing": 0.2}, Z, -(smoothed(0.2) * log_softmax(Z, 1)).sum(1)),
    ("focal", {"gamma": 0}, Z, -(ONE_HOT * log_softmax(Z, 1)).sum(1)),
    ("focal", {"gamma": 2}, Z, -(ONE_HOT * (1 - np.exp(log_softmax(Z, 1))) ** 2 * log_softmax(Z, 1)).sum(1)),
    ("ordinal", {}, Z[:, : K - 1], of_bits(Z[:, : K - 1], BEYOND).mean(1)),
]
NUMBERS: list[tuple[str, dict[str, float], Callable[[X, X], X]]] = [
    ("mse", {}, lambda found, wanted: (found - wanted) ** 2),
    ("mae", {}, lambda found, wanted: np.abs(found - wanted)),
    ("log_cosh", {}, lambda found, wanted: np.log(np.cosh(found - wanted))),
    ("poisson", {}, lambda found, wanted: found - wanted * np.log(found)),
    ("msle", {}, lambda found, wanted: (np.log(1 + found) - np.log(1 + wanted)) ** 2),
    ("mape", {}, lambda found, wanted: np.abs(found - wanted) / np.abs(wanted)),
    (
        "huber",
        {"delta": 0.7},
        lambda found, wanted: np.where(
            np.abs(found - wanted) <= 0.7, (found - wanted) ** 2 / 2, 0.7 * (np.abs(found - wanted) - 0.35)
        ),
    ),
]


def test_every_loss_is_tested_here() -> None:
    assert {name for name, *_ in CLASSES} | {name for name, *_ in NUMBERS} | {"bce"} == set(LOSSES.names())


@pytest.mark.parametrize(("name", "options", "outputs", "expected"), CLASSES)
def test_a_loss_of_classes_is_the_textbooks(name: str, options: dict[str, float], outputs: X, expected: X) -> None:
    found = loss(name, **options)
    assert found.of_classes
    assert found.n_outputs(K) == outputs.shape[1]
    rows = found.rows(torch.tensor(outputs), torch.tensor(CODES))
    np.testing.assert_allclose(rows.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_binary_cross_entropy_is_the_textbooks(share: float) -> None:
    codes, z = CODES % 2, Z[:, :1]
    rows = loss("bce", label_smoothing=share).rows(torch.tensor(z), torch.tensor(codes))
    expected = of_bits(z[:, 0], codes * (1 - share) + share / 2)
    np.testing.assert_allclose(rows.numpy(), expected, rtol=1e-12)
    several = loss("bce", label_smoothing=share).rows(torch.tensor(Z), torch.tensor(ONE_HOT))
    np.testing.assert_allclose(several.numpy(), of_bits(Z, ONE_HOT * (1 - share) + share / 2).mean(1), rtol=1e-12)


@pytest.mark.parametrize(("name", "options", "formula"), NUMBERS)
def test_a_loss_of_numbers_is_the_textbooks(name: str, options: dict[str, float], formula: Callable[[X, X], X]) -> None:
    found = loss(name, **options)
    assert not found.of_classes
    rows = found.rows(torch.tensor(FOUND), torch.tensor(WANTED))
    np.testing.assert_allclose(rows.numpy(), formula(FOUND, WANTED).mean(1), rtol=1e-12)


def test_poissons_loss_is_the_likelihood_but_for_what_does_not_depend_on_the_rate() -> None:
    counts, rates = np.array([[0.0], [3.0], [7.0]]), np.array([[0.5], [2.0], [9.0]])
    rows = loss("poisson").rows(torch.tensor(rates), torch.tensor(counts)).numpy()
    other = loss("poisson").rows(torch.tensor(rates + 1), torch.tensor(counts)).numpy()
    likelihoods = [-poisson_distribution.logpmf(counts, rates + more)[:, 0] for more in (0, 1)]
    np.testing.assert_allclose(rows - other, likelihoods[0] - likelihoods[1], rtol=1e-12)


@pytest.mark.parametrize("name", LOSSES.names())
def test_the_gradient_is_that_of_finite_differences(name: str) -> None:
    found = loss(name, label_smoothing=0.1)
    if name == "bce":
        outputs, targets = Z[:, :1], torch.tensor(CODES % 2)
    elif found.of_classes:
        outputs, targets = Z[:, : found.n_outputs(K)], torch.tensor(CODES)
    else:
        outputs, targets = FOUND, torch.tensor(WANTED)
    weights = torch.tensor(RNG.uniform(0.1, 2, N))
    z = torch.tensor(outputs, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: weighted_mean(found.rows(values, targets), weights), (z,))


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_shares_of_classes_and_codes_agree(name: str) -> None:
    found = loss(name)
    by_code = found.rows(torch.tensor(Z), torch.tensor(CODES))
    np.testing.assert_allclose(by_code, found.rows(torch.tensor(Z), torch.tensor(ONE_HOT)), rtol=1e-12)


def test_a_row_that_weighs_twice_counts_as_two_rows() -> None:
    losses = torch.tensor([1.0, 2.0, 4.0])
    assert weighted_mean(losses, torch.tensor([1.0, 2.0, 0.0])) == weighted_mean(torch.tensor([1.0, 2.0, 2.0]))


@given(z=st.lists(st.floats(-50, 50), min_size=3, max_size=3))
def test_probabilities_are_probabilities_whatever_the_outputs(z: list[float]) -> None:
    outputs = torch.tensor([z], dtype=torch.float64)
    for name, n in (("cross_entropy", 3), ("focal", 3), ("ordinal", 3), ("bce", 1)):
        p = loss(name).answers(outputs[:, :n])
        assert p.shape == (1, {"ordinal": 4, "bce": 2}.get(name, 3))
        assert (p >= 0).all()
        assert p.sum().item() == pytest.approx(1)


def test_ordinal_probabilities_follow_the_thresholds() -> None:
    p = loss("ordinal").answers(torch.logit(torch.tensor([[0.9, 0.6, 0.1]], dtype=torch.float64)))
    np.testing.assert_allclose(p.numpy(), [[0.1, 0.3, 0.5, 0.1]], rtol=1e-12)


def test_large_errors_do_not_overflow() -> None:
    far, near = torch.tensor([[1e4], [-1e4]]), torch.zeros(2, 1)
    np.testing.assert_allclose(loss("log_cosh").rows(far, near).numpy(), 1e4 - np.log(2), rtol=1e-6)
    rows = loss("poisson").rows(torch.tensor([[-3.0]]), torch.tensor([[2.0]]))
    assert torch.isfinite(rows).all()
    assert torch.isfinite(loss("msle").rows(torch.tensor([[-3.0]]), torch.tensor([[2.0]]))).all()


@pytest.mark.parametrize(
    ("name", "targets", "message"),
    [
        ("poisson", [1.0, -2.0], "loss 'poisson' takes targets from 0 on, the smallest is -2; loss = 'huber' would do"),
        ("msle", [-0.5, 3.0], "loss 'msle' takes targets from 0 on, the smallest is -0.5; loss = 'huber' would do"),
        ("mape", [0.0, 1.0, 0.0], "loss 'mape' divides by the target, 2 of which are 0; loss = 'mae' would do"),
        ("mape", [1.0, 2.0], ""),
        ("poisson", [0.0, 1.0], ""),
        ("mse", [-1.0], ""),
    ],
)
def test_targets_outside_a_losss_domain_are_named_with_the_loss_that_would_do(
    name: str, targets: list[float], message: str
) -> None:
    assert loss(name).problem(np.array(targets)) == message


def test_binary_cross_entropy_refuses_more_classes() -> None:
    with pytest.raises(DataError, match="loss 'bce' takes two classes, found 3; say loss = 'cross_entropy'"):
        loss("bce").n_outputs(3)
