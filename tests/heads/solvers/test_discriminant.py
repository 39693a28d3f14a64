"""Discriminant analyses from one decomposition equal scikit-learn's, fitted one after another.

Modules: heads.solvers.principal_axes.
"""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from featx.heads.solvers.discriminant import discriminant_probabilities
from featx.heads.solvers.principal_axes import PrincipalAxes

VALUES = (1e-4, 0.1, 1.0)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize(("n", "d"), [(300, 12), (60, 200)])
def test_probabilities_equal_scikit_learns(n: int, d: int, n_classes: int) -> None:
    rng = np.random.default_rng(3)
    targets = [np.arange(n) % n_classes, rng.permutation(np.minimum(np.arange(n) // 8, n_classes - 1))]
    x = rng.normal(size=(n + 50, d)) * np.geomspace(5, 0.05, d) + 2
    x[:n] += 0.3 * targets[0][:, None] * np.geomspace(5, 0.05, d)
    # Two features occur twice, one is constant.
    x = np.hstack([x, x[:, :2], np.full((len(x), 1), 7.0)])
    axes = PrincipalAxes.from_features(x[:n], x[n:])
    path_proba = list(discriminant_probabilities(axes, targets, d + 3, VALUES))
    for value, target_proba in zip(VALUES, path_proba, strict=True):
        assert target_proba.shape == (2, 50, n_classes)
        for codes, proba in zip(targets, target_proba, strict=True):
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=value).fit(x[:n], codes)
            np.testing.assert_allclose(proba, model.predict_proba(x[n:]), atol=1e-6)


def test_classes_of_identical_rows_stay_finite() -> None:
    x = np.repeat(np.array([[-1.0, 5.0], [1.0, 5.0]]), 30, axis=0)
    codes = np.arange(60) // 30
    *_, proba = discriminant_probabilities(PrincipalAxes.from_features(x, x), [codes], 2, VALUES)
    assert (proba[0].argmax(1) == codes).all()
