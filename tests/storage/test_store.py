"""The cache keeps what it was given, bit by bit, or says that it did not."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from featx.cache.clearing import gc
from featx.errors import CorruptError, IncompleteError, StoreError
from featx.storage.compaction import compact
from featx.storage.store import EmbeddingStore
from tests.storage.stores import (
    DEVICE_ROWS,
    SIZE,
    SPEC,
    D,
    DyingShelf,
    KilledError,
    by_plain_zarr,
    chunks,
    filled,
    left_by_dead_writer,
    numbered,
    opened,
    segment_names,
    segments,
)

Float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
# few digests, so that they meet again; zeros and high bytes at both ends, where text comparison could go wrong
ENDS = [(first, inner, last) for first in ("00", "ff", "80") for inner in ("00", "41") for last in ("00", "ff")]
Digests = st.sampled_from([first + inner + "7f" * 12 + inner + last for first, inner, last in ENDS])
Rows = st.dictionaries(Digests, st.tuples(*[Float32] * D), max_size=8)


def segment(store: EmbeddingStore) -> Path:
    (found,) = segments(store)
    return found


def chunk(store: EmbeddingStore, name: str) -> Path:
    return chunks(segment(store))[name]


@pytest.mark.parametrize("moment", ["exists", "read_bytes"])
def test_a_store_that_another_writer_makes_while_its_header_is_read_is_no_damage(
    home: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, n_calls = getattr(Path, moment), []

    def before_another_writer(path: Path) -> Any:
        n_calls.append(path)
        try:
            return call(path)
        finally:
            if len(n_calls) == 1:
                filled(home / "toy.zarr")

    monkeypatch.setattr(Path, moment, before_another_writer)
    store = opened(home / "toy.zarr")
    store.refresh()
    assert store.digests in ([], numbered(6)[0])
    assert opened(home / "toy.zarr").digests in ([], numbered(6)[0])


class StoreMachine(RuleBasedStateMachine):
    """Two handles on one store, against a dictionary that keeps the first row given for a digest."""

    @initialize()
    def start(self) -> None:
        self.path = self.new_store()
        self.stores = [opened(self.path), opened(self.path)]
        self.model: dict[str, tuple[float, ...]] = {}

    def new_store(self) -> str:
        raise NotImplementedError

    @rule(rows=Rows, which=st.integers(0, 1))
    def add(self, rows: dict[str, tuple[float, ...]], which: int) -> None:
        self.stores[which].refresh()
        x = np.array(list(rows.values()), dtype=np.float32).reshape(-1, D)
        self.stores[which].add(list(rows), x, DEVICE_ROWS, {"device": "cpu"})
        self.model = rows | self.model

    @rule(which=st.integers(0, 1), most_rows=st.integers(1, 30))
    def join(self, which: int, most_rows: int) -> None:
        compact(self.stores[which], most_bytes=most_rows * D * 4)
        found = opened(self.path)
        assert sum(map(len, found.segments)) == len(found)

    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        self.stores[which] = opened(self.path)

    @rule(wanted=st.lists(Digests, max_size=10), which=st.integers(0, 1))
    def read(self, wanted: list[str], which: int) -> None:
        store = self.stores[which]
        store.refresh()
        lost = list(dict.fromkeys(digest for digest in wanted if digest not in self.model))
        assert store.missing(wanted) == lost
        if lost:
            with pytest.raises(IncompleteError, match=f"of {len(wanted)} images .*first digest {lost[0]}"):
                store.read(wanted)
        expected = [digest for digest in wanted if digest in self.model]
        x = np.array([self.model[digest] for digest in expected], dtype=np.float32).reshape(-1, D)
        assert store.read(expected).tobytes() == x.tobytes()

    @invariant()
    def a_reader_sees_all_that_was_added(self) -> None:
        if hasattr(self, "path"):
            assert opened(self.path).digests == sorted(self.model)


class CrashingMachine(StoreMachine):
    """The same on a disk, where other writers die."""

    @rule(rows=Rows.filter(len), n_files=st.integers(1, 7))
    def die_writing(self, rows: dict[str, tuple[float, ...]], n_files: int) -> None:
        left_by_dead_writer(Path(self.path), list(rows), np.array(list(rows.values()), dtype=np.float32), n_files)

    @rule(withdrawals=st.integers(0, 2), leaves_trash=st.booleans())
    def die_joining(self, withdrawals: int, leaves_trash: bool) -> None:
        store = opened(self.path)
        store.shelf = DyingShelf(Path(self.path), withdrawals, leaves_trash=leaves_trash)
        with suppress(KilledError):
            compact(store)

    @precondition(lambda self: Path(self.path).parent.exists())
    @rule()
    def clear(self) -> None:
        folder = Path(self.path).parent
        gc(cache=folder)
        assert {path.name for path in folder.iterdir()} <= {"toy.zarr"}


def test_the_store_is_a_dictionary_that_keeps_the_first_row(place: str) -> None:
    class Machine(StoreMachine):
        def new_store(self) -> str:
            return f"{place}/{uuid4().hex}.zarr"

    run_state_machine_as_test(Machine, settings=settings(max_examples=12, stateful_step_count=12))


def test_a_store_on_a_disk_outlives_whoever_dies_over_it(home: Path) -> None:
    class Machine(CrashingMachine):
        def new_store(self) -> str:
            return str(home / uuid4().hex / "toy.zarr")

    run_state_machine_as_test(Machine, settings=settings(max_examples=20, stateful_step_count=20))


def test_plain_zarr_reads_the_same_arrays(place: str) -> None:
    store = opened(f"{place}/toy.zarr")
    digests, x = numbered(5)
    store.add(digests, x, DEVICE_ROWS, {"device": "cpu", "runtime": "torch 9"})

    with by_plain_zarr(str(store)) as root:
        group = root[segment_names(store)[0]]

        assert np.array_equal(group["x"][:], store.read(digests))
        assert [row.tobytes().hex() for row in group["digest"][:]] == digests
        assert (group["crc"].shape, group["crc"].dtype) == ((5,), np.uint32)
        assert group.attrs["featx"] == {"device": "cpu", "runtime": "torch 9", "device_rows": DEVICE_ROWS}
        assert root.attrs["featx"]["spec"]["weights_sha256"] == SPEC.weights_sha256


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["x", "digest", "crc"]), at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_an_error_and_never_returned(tmp_path: Path, name: str, at: int, bit: int) -> None:
    shutil.rmtree(tmp_path / "toy.zarr", ignore_errors=True)
    store = filled(tmp_path / "toy.zarr")
    digests, x = numbered(6)
    file = chunk(store, name)
    content = bytearray(file.read_bytes())
    at %= len(content)
    content[at] ^= 1 << bit
    file.write_bytes(content)

    if name == "x" and at >= x.nbytes:  # zarr's own checksum of x: rows have theirs
        assert np.array_equal(opened(Path(str(store))).read(digests), x)
        return
    with pytest.raises(CorruptError, match=r"segment-\w+: .*match.* checksums?.*; run 'featx cache verify"):
        opened(Path(str(store))).read(digests)


def test_a_segment_of_zeros_is_stored_like_any_other(place: str) -> None:
    store = opened(f"{place}/toy.zarr")

    store.add(["00" * 16], np.zeros((1, D), dtype=np.float32), DEVICE_ROWS, {})

    assert opened(str(store)).read(["00" * 16]).tolist() == [[0, 0, 0]]


def test_a_store_of_half_precision_keeps_rounded_rows_in_half_the_room(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path / "toy.zarr", SPEC.model_copy(update={"dtype": "float16"}), D)
    digests, x = numbered(6)

    store.add(digests, x / 3, DEVICE_ROWS, {})

    found = EmbeddingStore(Path(str(store)), store.spec, D).read(digests)
    assert found.dtype == np.float16
    assert np.array_equal(found, (x / 3).astype(np.float16))
    assert chunk(store, "x").stat().st_size == 6 * D * 2 + 4


def test_values_that_half_precision_does_not_hold_are_refused(place: str) -> None:
    store = EmbeddingStore(f"{place}/toy.zarr", SPEC.model_copy(update={"dtype": "float16"}), D)

    with pytest.raises(StoreError, match="values up to 70000 do not fit float16; say dtype = 'float32'"):
        store.add(["00" * 16], np.array([[1.0, -70000.0, 2.0]], dtype=np.float32), DEVICE_ROWS, {})
    assert store.shelf.header() is None
    assert not list(store.shelf.files())


def test_rows_beside_a_broken_one_can_be_read_and_its_segment_can_be_removed(tmp_path: Path) -> None:
    store = filled(tmp_path / "toy.zarr")
    file = chunk(store, "x")
    content = bytearray(file.read_bytes())
    content[2 * D * 4] ^= 1
    file.write_bytes(content)
    digests, x = numbered(6)
    fine = [0, 1, 3, 4, 5]

    assert np.array_equal(opened(Path(str(store))).read([digests[at] for at in fine]), x[fine])
    with pytest.raises(CorruptError, match="1 rows do not match their checksums, first row 2"):
        opened(Path(str(store))).read(digests)
    shutil.rmtree(segment(store))
    assert opened(Path(str(store))).missing(digests) == digests


@pytest.mark.parametrize("name", ["x", "digest", "crc"])
@pytest.mark.parametrize("left", [0, 4, 11, None])
def test_a_truncated_or_missing_file_is_an_error(tmp_path: Path, name: str, left: int | None) -> None:
    store = filled(tmp_path / "toy.zarr")
    file = chunk(store, name)
    if left is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:left])

    with pytest.raises(CorruptError, match="run 'featx cache verify --repair'"):
        opened(Path(str(store))).read(numbered(6)[0])


@pytest.mark.parametrize(
    ("change", "n_features", "message"),
    [
        ({"pool": "max"}, D, "another spec: spec.pool is 'avg', expected 'max'"),
        ({"preprocessing": SIZE.model_copy(update={"size_px": 17})}, D, "size_px is 16, expected 17"),
        ({}, D + 1, "n_features is 3, expected 4"),
    ],
)
def test_another_specs_folder_is_not_taken(
    place: str, change: dict[str, object], n_features: int, message: str
) -> None:
    store = filled(f"{place}/toy.zarr")

    with pytest.raises(CorruptError, match=message):
        EmbeddingStore(str(store), SPEC.model_copy(update=change), n_features)


@pytest.mark.parametrize("header", [None, "", "{", "[]", "{}", '{"attributes": {}}', b"\xff\xfe\x00"])
def test_a_folder_that_is_no_store_is_left_alone(tmp_path: Path, header: str | bytes | None) -> None:
    (tmp_path / "toy.zarr").mkdir()
    if header is not None:
        content = header if isinstance(header, bytes) else header.encode()
        (tmp_path / "toy.zarr" / "zarr.json").write_bytes(content)

    with pytest.raises(CorruptError, match=r"toy\.zarr is no embedding store of featx; move it away"):
        opened(tmp_path / "toy.zarr")


def test_writers_that_add_the_same_digests_at_once_lose_nothing(place: str) -> None:
    writers = [opened(f"{place}/toy.zarr") for _ in range(4)]

    def write(which: int) -> None:
        for first in (0, 3, 6):
            writers[which].add(*numbered(6, first), DEVICE_ROWS, {"writer": which})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))

    digests, x = numbered(12)
    for store in (*writers, opened(f"{place}/toy.zarr")):
        store.refresh()
        assert len(store) == 12
        assert np.array_equal(store.read(digests), x)
    assert sum(1 for _ in store.shelf.files()) == 1 + 7 * len(store.segments)  # and nothing else


def test_a_half_written_folder_is_invisible(tmp_path: Path) -> None:
    store = filled(tmp_path / "toy.zarr")
    shutil.copytree(segment(store), tmp_path / ".toy.zarr.0123456789ab")
    digests, _ = numbered(9)

    assert opened(Path(str(store))).missing(digests) == digests[6:]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = filled(tmp_path / "toy.zarr")

    with pytest.raises(TypeError, match="not JSON serializable"):
        store.add(*numbered(3, 6), DEVICE_ROWS, {"device": object()})

    assert len(opened(Path(str(store)))) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["toy.zarr"]


def test_adding_what_is_there_writes_nothing(place: str) -> None:
    store = filled(f"{place}/toy.zarr")
    digests, x = numbered(6)

    store.add(digests, x + 1, DEVICE_ROWS, {})

    assert len(segment_names(store)) == 1
    assert np.array_equal(store.read(digests), x)


def test_an_empty_store_makes_no_folder_and_lacks_everything(place: str) -> None:
    store = opened(f"{place}/toy.zarr")

    assert store.missing(["00" * 16, "00" * 16]) == ["00" * 16]
    assert (len(store), store.read([]).shape) == (0, (0, D))
    assert store.shelf.header() is None
    assert not list(store.shelf.files())


def test_a_store_knows_the_batches_that_its_rows_come_from(place: str) -> None:
    store = opened(f"{place}/toy.zarr")
    assert store.device_rows is None

    store.add(*numbered(3), 32, {})

    assert (store.device_rows, opened(str(store)).device_rows) == (32, 32)
    store.add(*numbered(6), 32, {})
    assert len(opened(str(store))) == 6
    with by_plain_zarr(str(store)) as root:
        assert root.attrs["featx"]["device_rows"] == 32


def test_rows_of_batches_of_another_size_are_refused_and_nothing_is_written(place: str) -> None:
    store = filled(f"{place}/toy.zarr")
    other = opened(f"{place}/toy.zarr")

    with pytest.raises(
        StoreError,
        match=rf"^{store} holds rows of batches of {DEVICE_ROWS} images, these are of 32; another extraction "
        r"began it meanwhile: run again$",
    ):
        other.add(*numbered(9), 32, {})

    assert len(opened(str(store))) == 6
    assert len(segment_names(store)) == 1
    other.add(*numbered(9), DEVICE_ROWS, {})
    assert len(opened(str(store))) == 9


def test_of_two_writers_that_begin_a_store_at_once_with_other_batches_one_is_refused(place: str) -> None:
    first, second = opened(f"{place}/toy.zarr"), opened(f"{place}/toy.zarr")
    first.add(*numbered(6), 16, {})

    with pytest.raises(StoreError, match="holds rows of batches of 16 images, these are of 8"):
        second.add(*numbered(6, 6), 8, {})

    assert opened(f"{place}/toy.zarr").device_rows == second.device_rows == 16


def test_rows_that_are_stored_already_may_come_from_any_batches(place: str) -> None:
    store = filled(f"{place}/toy.zarr")

    store.add(*numbered(6), 2 * DEVICE_ROWS, {})

    assert (len(opened(str(store))), opened(str(store)).device_rows) == (6, DEVICE_ROWS)


@pytest.mark.parametrize("rows", [None, "many", []])
def test_a_header_without_the_batches_size_is_no_stores(tmp_path: Path, rows: object) -> None:
    store = filled(tmp_path / "toy.zarr")
    header = Path(str(store)) / "zarr.json"
    content = json.loads(header.read_text())
    content["attributes"]["featx"]["device_rows"] = rows
    header.write_text(json.dumps(content))

    with pytest.raises(CorruptError, match=r"toy\.zarr is no embedding store of featx; move it away"):
        opened(Path(str(store)))
