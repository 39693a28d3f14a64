"""Reading of files in all released formats."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import InconsistentVersionWarning

import featx
from featx.specs.embedding import EmbeddingSpec
from featx.storage.checks import check_store
from featx.storage.store import EmbeddingStore

GOLDEN = Path(__file__).parent / "golden"
STORES = sorted(GOLDEN.glob("format-*/*.zarr"))
RUNS = sorted(path.parent for path in GOLDEN.glob("format-*/*/header.json"))

EXPORTED = sorted(GOLDEN.glob("format-*/exports/*.skops"))


def test_there_are_golden_files() -> None:
    assert STORES
    assert RUNS
    assert EXPORTED


@pytest.mark.parametrize("path", STORES, ids=lambda path: path.parent.name)
def test_a_golden_store_is_read(path: Path) -> None:
    header = json.loads((path / "zarr.json").read_text())["attributes"]["featx"]
    store = EmbeddingStore(path, EmbeddingSpec(**header["spec"]), header["n_features"])
    assert path.name.endswith(f"{store.spec.fingerprint()}.zarr")
    expected = np.load(path.parent / "vectors.npz")
    np.testing.assert_array_equal(store.read(expected["digests"].tolist()), expected["x"])
    assert check_store(path).is_whole


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.parent.name)
def test_a_golden_run_predicts_as_it_did(path: Path) -> None:
    with warnings.catch_warnings():
        # The files were written by older versions on purpose.
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        model = featx.load(path)
    expected = np.load(path.parent / "vectors.npz")
    proba = np.load(path / "answers.npy") if (path / "answers.npy").is_file() else expected["proba"]
    np.testing.assert_allclose(model.predict_proba(expected["x"]), proba, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("path", EXPORTED, ids=lambda path: path.name)
def test_a_golden_export_predicts_as_it_did(path: Path) -> None:
    x = np.load(path.parents[1] / "vectors.npz")["x"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        np.testing.assert_allclose(featx.load(path).predict_proba(x), np.load(path.parent / "answers.npy"), rtol=1e-6)
