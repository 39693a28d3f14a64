"""A store returns every row bit by bit, or raises an error."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featx.errors import CorruptError, StoreError
from featx.storage.segment_store import LocalSegmentStore
from featx.storage.store import EmbeddingStore
from tests.storage.stores import (
    DEVICE_ROWS,
    SIZE,
    SPEC,
    D,
    chunks,
    make_rows,
    make_store,
    open_toy_store,
    open_with_zarr,
    segment_names,
    segments,
)


def segment(store: EmbeddingStore) -> Path:
    (folder,) = segments(store)
    return folder


def chunk(store: EmbeddingStore, name: str) -> Path:
    return chunks(segment(store))[name]


@pytest.mark.parametrize("moment", ["exists", "read_bytes"])
def test_a_store_that_is_created_while_its_header_is_read_is_not_damaged(
    home: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, n_calls = getattr(Path, moment), []

    def before_another_writer(path: Path) -> Any:
        n_calls.append(path)
        try:
            return call(path)
        finally:
            if len(n_calls) == 1:
                make_store(home / "toy.zarr")

    monkeypatch.setattr(Path, moment, before_another_writer)
    store = open_toy_store(home / "toy.zarr")
    store.refresh()
    assert store.digests in ([], make_rows(6)[0])
    assert open_toy_store(home / "toy.zarr").digests in ([], make_rows(6)[0])


def test_plain_zarr_reads_the_same_arrays(place: str) -> None:
    store = open_toy_store(f"{place}/toy.zarr")
    digests, x = make_rows(5)
    store.add(digests, x, DEVICE_ROWS, {"device": "cpu", "runtime": "torch 9"})

    with open_with_zarr(str(store)) as root:
        group = root[segment_names(store)[0]]

        assert np.array_equal(group["x"][:], store.read(digests))
        assert [row.tobytes().hex() for row in group["digest"][:]] == digests
        assert (group["crc"].shape, group["crc"].dtype) == ((5,), np.uint32)
        assert group.attrs["featx"] == {"device": "cpu", "runtime": "torch 9", "device_rows": DEVICE_ROWS}
        assert root.attrs["featx"]["spec"]["weights_sha256"] == SPEC.weights_sha256


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["x", "digest", "crc"]), position=st.integers(0, 10_000), bit_number=st.integers(0, 7))
def test_a_flipped_bit_is_an_error_and_never_returned(
    tmp_path: Path, name: str, position: int, bit_number: int
) -> None:
    shutil.rmtree(tmp_path / "toy.zarr", ignore_errors=True)
    store = make_store(tmp_path / "toy.zarr")
    digests, x = make_rows(6)
    file = chunk(store, name)
    content = bytearray(file.read_bytes())
    position %= len(content)
    content[position] ^= 1 << bit_number
    file.write_bytes(content)

    if name == "x" and position >= x.nbytes:  # zarr's own checksum of x: rows have theirs
        assert np.array_equal(open_toy_store(Path(str(store))).read(digests), x)
        return
    with pytest.raises(CorruptError, match=r"segment-\w+: .*match.* checksums?.*; run 'featx cache verify"):
        open_toy_store(Path(str(store))).read(digests)


def test_a_segment_of_zeros_is_stored_like_any_other(place: str) -> None:
    store = open_toy_store(f"{place}/toy.zarr")

    store.add(["00" * 16], np.zeros((1, D), dtype=np.float32), DEVICE_ROWS, {})

    assert open_toy_store(str(store)).read(["00" * 16]).tolist() == [[0, 0, 0]]


def test_a_float16_store_holds_rounded_rows_in_half_the_size(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path / "toy.zarr", SPEC.model_copy(update={"dtype": "float16"}), D)
    digests, x = make_rows(6)

    store.add(digests, x / 3, DEVICE_ROWS, {})

    stored_x = EmbeddingStore(Path(str(store)), store.spec, D).read(digests)
    assert stored_x.dtype == np.float16
    assert np.array_equal(stored_x, (x / 3).astype(np.float16))
    assert chunk(store, "x").stat().st_size == 6 * D * 2 + 4


def test_values_that_are_too_large_for_float16_are_refused(place: str) -> None:
    store = EmbeddingStore(f"{place}/toy.zarr", SPEC.model_copy(update={"dtype": "float16"}), D)

    with pytest.raises(StoreError, match="values up to 70000 do not fit float16; set dtype = 'float32'"):
        store.add(["00" * 16], np.array([[1.0, -70000.0, 2.0]], dtype=np.float32), DEVICE_ROWS, {})
    assert store.segment_store.read_header() is None
    assert not list(store.segment_store.file_sizes())


def test_intact_rows_beside_a_broken_row_can_be_read(tmp_path: Path) -> None:
    store = make_store(tmp_path / "toy.zarr")
    file = chunk(store, "x")
    content = bytearray(file.read_bytes())
    content[2 * D * 4] ^= 1
    file.write_bytes(content)
    digests, x = make_rows(6)
    intact_rows = [0, 1, 3, 4, 5]

    assert np.array_equal(open_toy_store(Path(str(store))).read([digests[row] for row in intact_rows]), x[intact_rows])
    with pytest.raises(CorruptError, match="1 rows do not match their checksums, first row 2"):
        open_toy_store(Path(str(store))).read(digests)
    shutil.rmtree(segment(store))
    assert open_toy_store(Path(str(store))).missing(digests) == digests


def test_rows_that_are_right_when_they_are_read_again_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "toy.zarr")
    read_rows, n_calls = LocalSegmentStore.read_rows, 0

    def read_wrongly_once(*arguments: Any) -> Iterator[np.ndarray]:
        nonlocal n_calls
        n_calls += 1
        yield from (block + (n_calls == 1) for block in read_rows(*arguments))

    monkeypatch.setattr(LocalSegmentStore, "read_rows", read_wrongly_once)
    with pytest.raises(CorruptError, match="rows did not match their checksums, but did when they were read again"):
        open_toy_store(Path(str(store))).read(make_rows(6)[0][:2])
    assert n_calls == 2


@pytest.mark.parametrize("name", ["x", "digest", "crc"])
@pytest.mark.parametrize("n_bytes", [0, 4, 11, None])
def test_a_truncated_or_missing_file_is_an_error(tmp_path: Path, name: str, n_bytes: int | None) -> None:
    store = make_store(tmp_path / "toy.zarr")
    file = chunk(store, name)
    if n_bytes is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:n_bytes])

    with pytest.raises(CorruptError, match="run 'featx cache verify --repair'"):
        open_toy_store(Path(str(store))).read(make_rows(6)[0])


@pytest.mark.parametrize(
    ("change", "n_features", "message"),
    [
        ({"pool": "max"}, D, "another spec: spec.pool is 'avg', expected 'max'"),
        ({"preprocessing": SIZE.model_copy(update={"size_px": 17})}, D, "size_px is 16, expected 17"),
        ({}, D + 1, "n_features is 3, expected 4"),
    ],
)
def test_the_folder_of_another_spec_is_refused(
    place: str, change: dict[str, object], n_features: int, message: str
) -> None:
    store = make_store(f"{place}/toy.zarr")

    with pytest.raises(CorruptError, match=message):
        EmbeddingStore(str(store), SPEC.model_copy(update=change), n_features)


@pytest.mark.parametrize("header", [None, "", "{", "[]", "{}", '{"attributes": {}}', b"\xff\xfe\x00"])
def test_a_folder_that_is_no_store_is_left_alone(tmp_path: Path, header: str | bytes | None) -> None:
    (tmp_path / "toy.zarr").mkdir()
    if header is not None:
        content = header if isinstance(header, bytes) else header.encode()
        (tmp_path / "toy.zarr" / "zarr.json").write_bytes(content)

    with pytest.raises(CorruptError, match=r"toy\.zarr is no embedding store of featx; move it away"):
        open_toy_store(tmp_path / "toy.zarr")


def test_writers_that_add_the_same_digests_at_once_lose_nothing(place: str) -> None:
    writers = [open_toy_store(f"{place}/toy.zarr") for _ in range(4)]

    def write(number: int) -> None:
        for first in (0, 3, 6):
            writers[number].add(*make_rows(6, first), DEVICE_ROWS, {"writer": number})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))

    digests, x = make_rows(12)
    for store in (*writers, open_toy_store(f"{place}/toy.zarr")):
        store.refresh()
        assert len(store) == 12
        assert np.array_equal(store.read(digests), x)
    assert sum(1 for _ in store.segment_store.file_sizes()) == 1 + 7 * len(store.segments)  # and nothing else


def test_a_half_written_folder_is_invisible(tmp_path: Path) -> None:
    store = make_store(tmp_path / "toy.zarr")
    shutil.copytree(segment(store), tmp_path / ".toy.zarr.0123456789ab")
    digests, _ = make_rows(9)

    assert open_toy_store(Path(str(store))).missing(digests) == digests[6:]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = make_store(tmp_path / "toy.zarr")

    with pytest.raises(TypeError, match="not JSON serializable"):
        store.add(*make_rows(3, 6), DEVICE_ROWS, {"device": object()})

    assert len(open_toy_store(Path(str(store)))) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["toy.zarr"]


def test_adding_stored_rows_writes_nothing(place: str) -> None:
    store = make_store(f"{place}/toy.zarr")
    digests, x = make_rows(6)

    store.add(digests, x + 1, DEVICE_ROWS, {})

    assert len(segment_names(store)) == 1
    assert np.array_equal(store.read(digests), x)


def test_an_empty_store_creates_no_folder(place: str) -> None:
    store = open_toy_store(f"{place}/toy.zarr")

    assert store.missing(["00" * 16, "00" * 16]) == ["00" * 16]
    assert (len(store), store.read([]).shape) == (0, (0, D))
    assert store.segment_store.read_header() is None
    assert not list(store.segment_store.file_sizes())


def test_a_store_states_the_batch_size_of_its_rows(place: str) -> None:
    store = open_toy_store(f"{place}/toy.zarr")
    assert store.device_rows is None

    store.add(*make_rows(3), 32, {})

    assert (store.device_rows, open_toy_store(str(store)).device_rows) == (32, 32)
    store.add(*make_rows(6), 32, {})
    assert len(open_toy_store(str(store))) == 6
    with open_with_zarr(str(store)) as root:
        assert root.attrs["featx"]["device_rows"] == 32


def test_rows_of_another_batch_size_are_refused(place: str) -> None:
    store = make_store(f"{place}/toy.zarr")
    second = open_toy_store(f"{place}/toy.zarr")

    with pytest.raises(
        StoreError,
        match=rf"^{store} holds rows of batches of {DEVICE_ROWS} images, these are of 32; another extraction "
        r"created it meanwhile; run again$",
    ):
        second.add(*make_rows(9), 32, {})

    assert len(open_toy_store(str(store))) == 6
    assert len(segment_names(store)) == 1
    second.add(*make_rows(9), DEVICE_ROWS, {})
    assert len(open_toy_store(str(store))) == 9


def test_the_second_writer_with_another_batch_size_is_refused(place: str) -> None:
    first, second = open_toy_store(f"{place}/toy.zarr"), open_toy_store(f"{place}/toy.zarr")
    first.add(*make_rows(6), 16, {})

    with pytest.raises(StoreError, match="holds rows of batches of 16 images, these are of 8"):
        second.add(*make_rows(6, 6), 8, {})

    assert open_toy_store(f"{place}/toy.zarr").device_rows == second.device_rows == 16


def test_stored_rows_may_be_added_again_with_another_batch_size(place: str) -> None:
    store = make_store(f"{place}/toy.zarr")

    store.add(*make_rows(6), 2 * DEVICE_ROWS, {})

    assert (len(open_toy_store(str(store))), open_toy_store(str(store)).device_rows) == (6, DEVICE_ROWS)


@pytest.mark.parametrize("rows", [None, "many", []])
def test_a_header_without_a_batch_size_is_refused(tmp_path: Path, rows: object) -> None:
    store = make_store(tmp_path / "toy.zarr")
    header = Path(str(store)) / "zarr.json"
    content = json.loads(header.read_text())
    content["attributes"]["featx"]["device_rows"] = rows
    header.write_text(json.dumps(content))

    with pytest.raises(CorruptError, match=r"toy\.zarr is no embedding store of featx; move it away"):
        open_toy_store(Path(str(store)))
