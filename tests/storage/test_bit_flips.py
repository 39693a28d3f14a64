"""Whatever bit of a store is flipped: its check finds it, and no reader gets anything but the right rows."""

import random
from pathlib import Path

import numpy as np
import pytest

from featx.errors import StoreError
from featx.storage.checks import check, open_store
from featx.storage.segments import as_text
from featx.storage.store import EmbeddingStore, header_of
from tests.storage.stores import DEVICE_ROWS, filled, numbered, opened

N_FLIPS = 1000
N_ROWS = 20
X = dict(zip(*numbered(N_ROWS), strict=True))


def read_or_refused(store: EmbeddingStore, digests: list[str]) -> int:
    """Read rows one by one, together and by blocks; return how many single ones were refused."""
    refused = 0
    for digest in digests:
        try:
            (row,) = store.read([digest])
        except StoreError:
            refused += 1
        else:
            assert np.array_equal(row, X[digest])
    try:
        assert np.array_equal(store.read(digests), [X[digest] for digest in digests])
        for keys, rows in store.blocks():
            assert np.array_equal(rows, [X[digest] for digest in as_text(keys)])
    except StoreError:
        refused = max(refused, 1)
    return refused


def test_a_thousand_flipped_bits_are_all_found_and_none_is_read(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    place = tmp_path / "toy.zarr"
    writer = opened(place)
    for first in range(0, N_ROWS, N_ROWS // 2):
        writer.add(*numbered(N_ROWS // 2, first), DEVICE_ROWS, {"device": "cpu"})
    digests, before = list(X), opened(place)
    before.read(digests)
    files = sorted(path for path in place.rglob("*") if path.is_file())
    assert len(files) == 1 + 2 * 7
    n_refused, overlooked = 0, []
    for _ in range(N_FLIPS):
        file = rng.choice(files)
        whole = file.read_bytes()
        at, bit = rng.randrange(len(whole)), rng.randrange(8)
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        if check(place).is_whole:
            overlooked.append(
                f"{file.relative_to(place)}, bit {bit} of byte {at}: {whole[max(0, at - 30) : at + 30]!r}"
            )
        n_refused += bool(read_or_refused(before, digests))
        try:
            n_refused += bool(read_or_refused(open_store(place), digests))
        except StoreError:
            n_refused += 1
        file.write_bytes(whole)
    assert not overlooked
    assert n_refused > N_FLIPS / 4
    assert check(place).is_whole
    assert read_or_refused(before, digests) == 0


def test_every_single_bit_of_a_stores_header_is_watched(tmp_path: Path) -> None:
    whole = (Path(str(filled(tmp_path / "toy.zarr"))) / "zarr.json").read_bytes()
    for at in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(StoreError, match=r"is no embedding store|was changed after|has format \d+, this featx"):
            header_of(bytes(flipped), "toy.zarr")
