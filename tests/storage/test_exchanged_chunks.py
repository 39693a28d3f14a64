"""Chunks of another segment, which match their own checksums, are found, and a repair keeps no wrong row.

Modules: storage.checks, storage.segments.
"""

from pathlib import Path

import numpy as np
import pytest

from featx.errors import CorruptError
from featx.storage.checks import check_store, open_store, repair_store
from featx.storage.segments import CHUNKS
from tests.storage.stores import DEVICE_ROWS, make_rows, open_toy_store, segments

X = dict(zip(*make_rows(12), strict=True))


def make_exchanged_store(place: Path, n_rows: tuple[int, int], array: str) -> Path:
    """Write a store of two segments, and exchange their chunks of one array."""
    writer = open_toy_store(place)
    writer.add(*make_rows(n_rows[0]), DEVICE_ROWS, {})
    writer.add(*make_rows(n_rows[1], n_rows[0]), DEVICE_ROWS, {})
    files = [segment / CHUNKS[array] for segment in segments(writer)]
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, reversed(contents), strict=True):
        file.write_bytes(content)
    return place


@pytest.mark.parametrize("array", list(CHUNKS))
@pytest.mark.parametrize("n_rows", [(6, 6), (4, 8), (8, 4)])
def test_an_exchanged_chunk_is_found_and_repaired(tmp_path: Path, n_rows: tuple[int, int], array: str) -> None:
    place = make_exchanged_store(tmp_path / "toy.zarr", n_rows, array)
    for digest in X:
        with pytest.raises(CorruptError, match="run 'featx cache verify --repair'"):
            open_store(place).read([digest])

    result = check_store(place)

    assert [damage.problems for damage in result.damaged_segments] == [
        ["digest, x and crc are not those of the same rows"]
    ] * 2
    assert sum(damage.n_damaged_rows for damage in result.damaged_segments) == len(X)
    assert repair_store(place) == len(X)
    assert check_store(place).is_whole
    writer = open_toy_store(place)
    assert writer.missing(list(X)) == list(X)
    writer.add(list(X), np.stack(list(X.values())), DEVICE_ROWS, {})
    np.testing.assert_array_equal(open_store(place).read(list(X)), list(X.values()))
