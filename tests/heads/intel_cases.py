"""Run by test_intel.py, in a process of their own."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.svm import SVC, SVR

from featx.heads.builtin import HeadTask
from featx.heads.fitting import fitted
from featx.heads.folds import TrainRows
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
def test_what_intel_learns_answers_as_scikit_learns_own_does(digits, k: int, weighted: bool) -> None:
    x, y = (column[digits[1] < k] for column in digits)
    learn, held = np.arange(0, len(y), 2), np.arange(1, len(y), 2)
    weights = np.random.default_rng(0).uniform(0.5, 2, len(learn)) if weighted else None
    each = (IntelSVC, SVC)
    mine, own = (kind(C=3, decision_function_shape="ovo").fit(x[learn], y[learn], weights) for kind in each)
    found, expected = (model.decision_function(x[held]) for model in (mine, own))
    assert np.abs(found - expected).max() < 5e-3
    assert np.mean(mine.predict(x[held]) == own.predict(x[held])) > 0.99


def test_numbers_are_learnt_too(digits) -> None:
    x, y = digits[0], digits[0][:, 20] / 16 + digits[1]
    mine, own = (kind(C=3).fit(x[::2], y[::2]) for kind in (IntelSVR, SVR))
    assert np.abs(mine.predict(x[1::2]) - own.predict(x[1::2])).max() < 5e-3 * np.ptp(y)


@pytest.mark.parametrize("kind", [IntelSVC, IntelSVR])
def test_what_is_kept_is_scikit_learns_own(digits, kind: type) -> None:
    model = kind(C=3).fit(*digits)
    text = pickle.dumps(model)
    kept = pickle.loads(text)
    assert type(kept) in (SVC, SVR)
    assert b"featx" not in text
    assert b"sklearnex" not in text
    assert np.array_equal(kept.predict(digits[0]), model.predict(digits[0]))
    assert vars(kept).keys() == vars(type(kept)(C=3).fit(*digits)).keys()


@pytest.mark.parametrize("method", ["none", "platt"])
def test_a_head_fitted_by_intel_is_plain_once_it_is_kept(digits, method: str) -> None:
    x, y = (column[:400] for column in digits)
    rows = TrainRows(x.astype(np.float32), TargetValues("classes", tuple("0123456789"), y))
    both = []
    for solver in ("intel", "sklearn"):
        head = HEADS.get("svm")(HeadTask(*rows.x.shape, 10, 0, "classes", solver))
        both.append(fitted(head, PARAMS, rows, method, HeadSpec(name="svm", solver=solver)))
    text = pickle.dumps(both[0])
    assert b"featx" not in text
    kept = pickle.loads(text)
    assert isinstance(kept[-1], SVC if method == "none" else CalibratedClassifierCV)
    assert np.mean(kept.predict(digits[0][400:]) == both[1].predict(digits[0][400:])) > 0.99


def test_scikit_learn_itself_is_left_as_it_is() -> None:
    patched = "from featx.heads.solvers import intel; intel.check_installed()"
    code = f"{patched}; from sklearn.svm import SVC; print(SVC.__module__)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "sklearn.svm._classes"
