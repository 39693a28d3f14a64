"""Flipped bits of a store are found by its check, and readers never return wrong rows.

Modules: storage.checks, storage.segments.
"""

import random
from pathlib import Path

import numpy as np
import pytest

from featx.errors import StoreError
from featx.storage.checks import check_store, open_store
from featx.storage.segments import keys_to_digests
from featx.storage.store import EmbeddingStore, parse_header
from tests.storage.stores import DEVICE_ROWS, make_rows, make_store, open_toy_store

N_FLIPS = 1000
N_ROWS = 20
X = dict(zip(*make_rows(N_ROWS), strict=True))


def count_refused(store: EmbeddingStore, digests: list[str]) -> int:
    """Read rows one by one, together and by blocks; return how many single rows were refused."""
    n_refused = 0
    for digest in digests:
        try:
            (row,) = store.read([digest])
        except StoreError:
            n_refused += 1
        else:
            assert np.array_equal(row, X[digest])
    try:
        assert np.array_equal(store.read(digests), [X[digest] for digest in digests])
        for keys, rows in store.blocks():
            assert np.array_equal(rows, [X[digest] for digest in keys_to_digests(keys)])
    except StoreError:
        n_refused = max(n_refused, 1)
    return n_refused


def test_a_thousand_flipped_bits_are_all_found_and_never_returned(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    place = tmp_path / "toy.zarr"
    writer = open_toy_store(place)
    for first in range(0, N_ROWS, N_ROWS // 2):
        writer.add(*make_rows(N_ROWS // 2, first), DEVICE_ROWS, {"device": "cpu"})
    digests, first_reader = list(X), open_toy_store(place)
    first_reader.read(digests)
    files = sorted(path for path in place.rglob("*") if path.is_file())
    assert len(files) == 1 + 2 * 7
    n_refused, unnoticed = 0, []
    for _ in range(N_FLIPS):
        file = rng.choice(files)
        original = file.read_bytes()
        position, bit_number = rng.randrange(len(original)), rng.randrange(8)
        file.write_bytes(original[:position] + bytes([original[position] ^ 1 << bit_number]) + original[position + 1 :])
        if check_store(place).is_whole:
            start = max(0, position - 30)
            unnoticed.append(
                f"{file.relative_to(place)}, bit {bit_number} of byte {position}: {original[start : position + 30]!r}"
            )
        n_refused += bool(count_refused(first_reader, digests))
        try:
            n_refused += bool(count_refused(open_store(place), digests))
        except StoreError:
            n_refused += 1
        file.write_bytes(original)
    assert not unnoticed
    assert n_refused > N_FLIPS / 4
    assert check_store(place).is_whole
    assert count_refused(first_reader, digests) == 0


def test_every_flipped_bit_of_a_header_is_found(tmp_path: Path) -> None:
    original = (Path(str(make_store(tmp_path / "toy.zarr"))) / "zarr.json").read_bytes()
    for bit_number in range(8 * len(original)):
        flipped_header = bytearray(original)
        flipped_header[bit_number // 8] ^= 1 << bit_number % 8
        with pytest.raises(StoreError, match=r"is no embedding store|was changed after|has format \d+, this featx"):
            parse_header(bytes(flipped_header), "toy.zarr")
