"""Tests of Intel's solver, run by test_intel.py in a process of their own."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.svm import SVC, SVR

from featx.heads.fitting import fit_pipeline
from featx.heads.folds import TrainRows
from featx.heads.head_definition import HeadTask
from featx.heads.solvers.intel import IntelSVC, IntelSVR
from featx.registry import HEADS
from featx.specs.head import HeadSpec
from featx.tables.target_values import TargetValues

PARAMS = {"kernel": "rbf", "scaling": "standard", "C": 3.0, "gamma": 1.0}


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    return load_digits(return_X_y=True)


@pytest.mark.parametrize("k", [2, 3, 10])
@pytest.mark.parametrize("weighted", [False, True])
def test_intels_machines_predict_as_scikit_learns(digits, k: int, weighted: bool) -> None:
    x, y = (column[digits[1] < k] for column in digits)
    train, held_out = np.arange(0, len(y), 2), np.arange(1, len(y), 2)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(train)) if weighted else None
    intel_model, model = (
        machine(C=3, decision_function_shape="ovo").fit(x[train], y[train], weights) for machine in (IntelSVC, SVC)
    )
    difference = intel_model.decision_function(x[held_out]) - model.decision_function(x[held_out])
    assert np.abs(difference).max() < 5e-3
    assert np.mean(intel_model.predict(x[held_out]) == model.predict(x[held_out])) > 0.99


def test_intels_regression_predicts_as_scikit_learns(digits) -> None:
    x, y = digits[0], digits[0][:, 20] / 16 + digits[1]
    intel_model, model = (machine(C=3).fit(x[::2], y[::2]) for machine in (IntelSVR, SVR))
    assert np.abs(intel_model.predict(x[1::2]) - model.predict(x[1::2])).max() < 5e-3 * np.ptp(y)


@pytest.mark.parametrize("machine", [IntelSVC, IntelSVR])
def test_a_pickle_holds_scikit_learns_own_class(digits, machine: type) -> None:
    model = machine(C=3).fit(*digits)
    content = pickle.dumps(model)
    loaded = pickle.loads(content)
    assert type(loaded) in (SVC, SVR)
    assert b"featx" not in content
    assert b"sklearnex" not in content
    assert np.array_equal(loaded.predict(digits[0]), model.predict(digits[0]))
    assert vars(loaded).keys() == vars(type(loaded)(C=3).fit(*digits)).keys()


@pytest.mark.parametrize("method", ["none", "platt"])
def test_a_pickled_head_fitted_by_intel_is_scikit_learns(digits, method: str) -> None:
    x, y = (column[:400] for column in digits)
    rows = TrainRows(x.astype(np.float32), TargetValues("classes", tuple("0123456789"), y))
    models = []
    for solver in ("intel", "sklearn"):
        head = HEADS.get("svm")(HeadTask(*rows.x.shape, 10, 0, "classes", solver))
        models.append(fit_pipeline(head, PARAMS, rows, method, HeadSpec(name="svm", solver=solver)))
    content = pickle.dumps(models[0])
    assert b"featx" not in content
    loaded = pickle.loads(content)
    assert isinstance(loaded[-1], SVC if method == "none" else CalibratedClassifierCV)
    assert np.mean(loaded.predict(digits[0][400:]) == models[1].predict(digits[0][400:])) > 0.99


def test_scikit_learn_itself_is_not_patched() -> None:
    imports = "from featx.heads.solvers import intel; intel.check_installed()"
    code = f"{imports}; from sklearn.svm import SVC; print(SVC.__module__)"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "sklearn.svm._classes"
