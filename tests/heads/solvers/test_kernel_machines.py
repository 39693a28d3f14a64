"""Support vector machines with a kernel matrix equal those of scikit-learn, and are stored as such."""

import io

import joblib
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.svm import SVC, SVR

from featx.heads.solvers import kernel_machines
from featx.heads.solvers.kernel_machines import MatrixKernelSVC, MatrixKernelSVR


def make_rows(n_classes: int) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return features and classes of 80 rows, and features of 600 more, which take several blocks."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(680, 40))
    codes = np.clip(np.round(x[:80, 0] + rng.normal(size=80) / 3 + 1), 0, n_classes - 1)
    return x[:80], codes.astype(np.int64), x[80:]


@pytest.mark.parametrize("kernel", ["rbf", "linear", "sigmoid"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_decisions_equal_those_of_scikit_learn(kernel: str, n_classes: int) -> None:
    x, y, new = make_rows(n_classes)
    weights = np.linspace(0.5, 2, len(y))
    plain = SVC(kernel=kernel, C=2.0).fit(x, y, weights)
    machine = MatrixKernelSVC(kernel=kernel, C=2.0).fit(x, y, weights)
    np.testing.assert_allclose(machine.decision_function(new), plain.decision_function(new), rtol=0, atol=1e-6)
    assert (machine.predict(new) == plain.predict(new)).all()
    assert machine.support_vectors_.shape == plain.support_vectors_.shape


def test_regressions_equal_those_of_scikit_learn() -> None:
    x, _, new = make_rows(2)
    values = x[:, 0] + x[:, 1] ** 2
    plain, machine = SVR(C=3.0).fit(x, values), MatrixKernelSVR(C=3.0).fit(x, values)
    np.testing.assert_allclose(machine.predict(new), plain.predict(new), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("machine_type", "plain_type"), [(MatrixKernelSVC, SVC), (MatrixKernelSVR, SVR)])
def test_stored_machines_are_those_of_scikit_learn(machine_type: type, plain_type: type) -> None:
    x, y, new = make_rows(2)
    machine, file = machine_type().fit(x, y), io.BytesIO()
    joblib.dump(machine, file)
    file.seek(0)
    loaded = joblib.load(file)
    assert type(loaded) is plain_type
    assert b"featx" not in file.getvalue()
    np.testing.assert_allclose(loaded.predict(new), machine.predict(new), rtol=0, atol=1e-9)


def test_kernels_that_are_too_large_are_left_to_libsvm(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, new = make_rows(3)
    expected = MatrixKernelSVC().fit(x, y).decision_function(new)
    monkeypatch.setattr(kernel_machines, "MAX_KERNEL_BYTES", 1)
    monkeypatch.setattr(kernel_machines, "_kernel_matrix", None)
    np.testing.assert_allclose(MatrixKernelSVC().fit(x, y).decision_function(new), expected, rtol=0, atol=1e-6)
