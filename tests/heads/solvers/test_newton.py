"""Logistic regressions of many labels at once equal scikit-learn's, fitted one after another."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from featx.heads.solvers.newton import logistic_probabilities
from featx.heads.solvers.principal_axes import PrincipalAxes

VALUES = (1e-3, 0.1, 10.0)


def make_rows(n: int, d: int, noise: float) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Return features of n rows and of 50 more, whose scales differ much, and three labels, one of them rare."""
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(n + 50, d)) * np.geomspace(5, 0.05, d) + 2).astype(np.float32)
    logits = x[:n] @ rng.normal(size=(d, 3)) - np.array([0.0, 3.0, 12.0]) + noise * rng.normal(size=(n, 3))
    return x[:n], x[n:], (logits > 0).astype(np.int64)


def scikit_learn_probabilities(
    x: NDArray[np.float32], held_out: NDArray[np.float32], y: NDArray[np.int64], weights: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return (v, m, t) probabilities."""
    x_double, held_out_double = x.astype(np.float64), held_out.astype(np.float64)

    def probabilities(c: float, labels: NDArray[np.int64]) -> NDArray[np.float64]:
        model = LogisticRegression(C=c, tol=1e-8, max_iter=20_000).fit(x_double, labels, weights)
        return model.predict_proba(held_out_double)[:, 1]

    return np.asarray([[probabilities(c, labels) for labels in y.T] for c in VALUES]).swapaxes(1, 2)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "d"), [(400, 20), (60, 200)])
# Without noise classes are separable, and coefficients grow with C.
@pytest.mark.parametrize("noise", [8.0, 0.0])
def test_probabilities_equal_scikit_learns(n: int, d: int, noise: float, weighted: bool) -> None:
    x, held_out, y = make_rows(n, d, noise)
    weights = np.random.default_rng(4).uniform(0, 3, n) if weighted else None
    axes = PrincipalAxes.from_features(x, held_out)
    proba = np.stack(list(logistic_probabilities(axes, y, weights, VALUES)))
    assert proba.shape == (len(VALUES), 50, 3)
    assert np.abs(proba - scikit_learn_probabilities(x, held_out, y, weights)).max() < 0.02


def test_features_that_do_not_vary_are_dropped() -> None:
    x, held_out, y = make_rows(200, 10, 8.0)
    redundant = [np.hstack([rows, rows[:, :2], np.full((len(rows), 1), 7, np.float32)]) for rows in (x, held_out)]
    axes = PrincipalAxes.from_features(*redundant)
    assert axes.train.shape == (200, 10 + 1)
    proba = np.stack(list(logistic_probabilities(axes, y, None, VALUES)))
    assert np.abs(proba - scikit_learn_probabilities(*redundant, y, None)).max() < 0.02


def test_separable_or_constant_labels_stay_finite() -> None:
    x = np.repeat(np.array([[-1000.0], [1000.0]], np.float32), 30, axis=0)
    y = np.stack([np.arange(60) // 30, np.zeros(60), np.ones(60)], axis=1).astype(np.int64)
    *_, proba = logistic_probabilities(PrincipalAxes.from_features(x, x), y, None, (1e-3, 1e3, 1e6))
    assert np.abs(proba - y).max() < 1e-3
