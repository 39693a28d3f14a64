"""Logistic regressions side by side are those that scikit-learn finds one after another."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from featx.heads.solvers import newton
from featx.heads.solvers.principal_axes import PrincipalAxes

VALUES = (1e-3, 0.1, 10.0)


def drawn(n: int, d: int, noise: float) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Return features of n rows and of 50 more, the scales of which differ much, and three labels, one of them rare."""
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(n + 50, d)) * np.geomspace(5, 0.05, d) + 2).astype(np.float32)
    logits = x[:n] @ rng.normal(size=(d, 3)) - np.array([0.0, 3.0, 12.0]) + noise * rng.normal(size=(n, 3))
    return x[:n], x[n:], (logits > 0).astype(np.int64)


def one_by_one(
    x: NDArray[np.float32], held: NDArray[np.float32], y: NDArray[np.int64], weights: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return (v, m, t) probabilities."""
    long = {"tol": 1e-8, "max_iter": 20_000}
    inside, outside = x.astype(np.float64), held.astype(np.float64)
    each = [
        [LogisticRegression(C=c, **long).fit(inside, one, weights).predict_proba(outside)[:, 1] for one in y.T]
        for c in VALUES
    ]
    return np.asarray(each).swapaxes(1, 2)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "d"), [(400, 20), (60, 200)])
@pytest.mark.parametrize("noise", [8.0, 0.0])  # without noise classes can be told apart: coefficients grow with C
def test_they_are_those_that_are_found_one_after_another(n: int, d: int, noise: float, weighted: bool) -> None:
    x, held, y = drawn(n, d, noise)
    weights = np.random.default_rng(4).uniform(0, 3, n) if weighted else None
    found = np.stack(list(newton.probabilities(PrincipalAxes.of(x, held), y, weights, VALUES)))
    assert found.shape == (len(VALUES), 50, 3)
    assert np.abs(found - one_by_one(x, held, y, weights)).max() < 0.02


def test_features_that_do_not_vary_are_left_out() -> None:
    x, held, y = drawn(200, 10, 8.0)
    still = [np.hstack([rows, rows[:, :2], np.full((len(rows), 1), 7, np.float32)]) for rows in (x, held)]
    axes = PrincipalAxes.of(*still)
    assert axes.learn.shape == (200, 10 + 1)
    found = np.stack(list(newton.probabilities(axes, y, None, VALUES)))
    assert np.abs(found - one_by_one(*still, y, None)).max() < 0.02


def test_labels_that_are_told_apart_with_ease_or_all_alike_stay_finite() -> None:
    x = np.repeat(np.array([[-1000.0], [1000.0]], np.float32), 30, axis=0)
    y = np.stack([np.arange(60) // 30, np.zeros(60), np.ones(60)], axis=1).astype(np.int64)
    *_, found = newton.probabilities(PrincipalAxes.of(x, x), y, None, (1e-3, 1e3, 1e6))
    assert np.abs(found - y).max() < 1e-3
