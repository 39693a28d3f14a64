"""Files of each format are read by the current code and give the stored outputs."""

from pathlib import Path

import numpy as np
import pytest
import zarr

import featx
from featx.predictors.models import NetworkModel
from featx.storage.checks import check_store, open_store
from featx.study.run_folder import RunFolder

GOLDEN = Path(__file__).parent / "golden"
STORES = sorted(GOLDEN.glob("format-*/*.zarr"))
RUNS = sorted(path.parent for path in GOLDEN.glob("format-*/*/header.json"))
EXPORTS = sorted(GOLDEN.glob("format-*/exports/*.skops"))
MAX_FILE_BYTES = 500_000


def test_there_are_small_golden_files_of_each_kind() -> None:
    assert STORES
    assert EXPORTS
    assert {RunFolder(path).kind for path in RUNS} == {"head", "network", "ensemble"}
    assert max(path.stat().st_size for path in GOLDEN.rglob("*")) < MAX_FILE_BYTES


@pytest.mark.parametrize("path", STORES, ids=lambda path: path.parent.name)
def test_a_golden_store_is_read(path: Path) -> None:
    store = open_store(path)
    assert path.name.endswith(f"{store.spec.fingerprint()}.zarr")
    expected = np.load(path.parent / "vectors.npz")
    np.testing.assert_array_equal(store.read(expected["digests"].tolist()), expected["x"])
    assert check_store(path).is_whole


@pytest.mark.parametrize("path", STORES, ids=lambda path: path.parent.name)
def test_plain_zarr_opens_a_golden_store(path: Path) -> None:
    segments = [group for _, group in zarr.open_group(path, mode="r").groups()]
    digests = [digest for group in segments for digest in group["digest"][:].tobytes().hex(" ", 16).split()]
    rows = dict(zip(digests, np.concatenate([group["x"][:] for group in segments]), strict=True))
    expected = np.load(path.parent / "vectors.npz")
    np.testing.assert_array_equal([rows[digest] for digest in expected["digests"]], expected["x"])


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_a_golden_run_is_intact_and_gives_the_stored_outputs(path: Path) -> None:
    assert RunFolder(path).damage == ""
    model = featx.load(path)
    if isinstance(model, NetworkModel):
        outputs = model.predict_images(sorted(path.parent.glob("picture-*.png"))).proba
    else:
        outputs = model.predict_proba(np.load(path.parent / "vectors.npz")["x"])
    np.testing.assert_allclose(outputs, np.load(path / "expected.npy"), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("path", EXPORTS, ids=lambda path: path.name)
def test_a_golden_export_gives_the_stored_outputs(path: Path) -> None:
    x = np.load(path.parents[1] / "vectors.npz")["x"]
    np.testing.assert_allclose(featx.load(path).predict_proba(x), np.load(path.parent / "expected.npy"), rtol=1e-6)
