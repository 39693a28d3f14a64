"""Use of saved models in a virtual environment without featx and torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import featx
from featx.registry import HEADS


@pytest.mark.slow
def test_models_predict_with_four_packages_installed(toy_home: Path) -> None:
    featx.extract()
    runs = featx.fit(heads=HEADS.names(), trials=1)
    x = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    np.save("x.npy", x)
    subprocess.run([sys.executable, "-m", "venv", "bare"], check=True)
    pins = [f"{name}=={version}" for name, version in featx.load(runs[0].path).header.versions.items()
            if name in {"numpy", "scikit-learn", "xgboost", "joblib"}]  # fmt: skip
    assert len(pins) == 4
    subprocess.run(["bare/bin/python", "-m", "pip", "install", "--quiet", *pins], check=True)
    for run in runs:
        model = f"joblib.load('{run.path}/model.joblib')"
        code = f"import joblib, numpy as np; np.save('out.npy', {model}.predict_proba(np.load('x.npy')))"
        code += f"; from sklearn.utils.validation import check_is_fitted; check_is_fitted({model})"
        code += f"; assert {model}.n_features_in_ == 8; assert {model}.classes_.tolist() == [0, 1]"
        subprocess.run(["bare/bin/python", "-I", "-W", "ignore", "-c", code], check=True)
        np.testing.assert_array_equal(np.load("out.npy"), featx.load(run.path).predict_proba(x))
    process = subprocess.run(["bare/bin/python", "-I", "-c", "import featx"], capture_output=True)
    assert process.returncode != 0
