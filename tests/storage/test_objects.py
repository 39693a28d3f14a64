"""Properties of stores in buckets only; test_store and test_compaction test those of all stores.

Modules: storage.all_stores, storage.buckets, storage.places, storage.segment_store.
"""

import pickle
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, ClassVar

import numpy as np
import pytest
from fsspec import register_implementation
from fsspec.implementations.memory import MemoryFileSystem

from featx.errors import CorruptError, DataError, StoreError, UnreachableError
from featx.storage.all_stores import stores_at
from featx.storage.buckets import Bucket
from featx.storage.checks import check_store, repair_store
from featx.storage.objects import MAX_GAP_BYTES, ObjectSegmentStore
from featx.storage.places import cache_at
from featx.storage.segment_store import LocalSegmentStore
from featx.storage.store import EmbeddingStore, segment_store_at
from tests.processes import start_script
from tests.s3 import allow, refuse
from tests.storage.stores import DEVICE_ROWS, SPEC, D, make_rows, make_store, open_toy_store, segment_names

KILLED_WRITER = """
import os, signal
from featx.storage.buckets import Bucket
from tests.storage.stores import DEVICE_ROWS, make_rows, open_toy_store

put = Bucket.put

def killed(self, objects):
    if any(name.endswith(f"{name.split('/')[0]}/zarr.json") for name in objects):
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, objects)

Bucket.put = killed
open_toy_store(PLACE).add(*make_rows(3, 6), DEVICE_ROWS, {})
"""


@pytest.fixture
def place(empty_bucket: str) -> str:
    return f"s3://{empty_bucket}/cache/toy.zarr"


@pytest.fixture
def store_with_leftover(place: str) -> str:
    """Return a store of six rows with the objects of a writer that was killed before it wrote its ``zarr.json``."""
    make_store(place)
    writer = start_script(KILLED_WRITER.replace("PLACE", repr(place)), stderr=subprocess.PIPE)
    _, fail_command = writer.communicate()
    assert writer.returncode == -signal.SIGKILL, fail_command
    return place


def test_an_incomplete_segment_of_a_killed_writer_is_ignored(store_with_leftover: str) -> None:
    objects = {name.split("/")[0] for name, _ in segment_store_at(store_with_leftover).file_sizes()}
    assert len(objects) == 3  # its header, a segment, and another

    store = open_toy_store(store_with_leftover)

    assert len(store) == 6
    assert store.missing(make_rows(9)[0]) == make_rows(9)[0][6:]
    assert check_store(store_with_leftover).is_whole
    store.add(*make_rows(9), DEVICE_ROWS, {})
    assert np.array_equal(open_toy_store(store_with_leftover).read(make_rows(9)[0]), make_rows(9)[1])


def test_leftovers_are_found_only_after_their_lease(
    store_with_leftover: str, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = stores_at(cache_at(store_with_leftover.rpartition("/")[0]))
    assert stores.leftovers() == []  # it may still be at work

    monkeypatch.setattr("featx.storage.objects.LEASE_S", -1.0)
    (leftover,) = stores.leftovers()
    assert leftover.name.startswith("toy.zarr/segment-")
    assert leftover.n_bytes > 3 * D * 4
    leftover.remove()

    assert stores.leftovers() == []
    assert len(s3.find(store_with_leftover.removeprefix("s3://"))) == 1 + 7
    assert np.array_equal(open_toy_store(store_with_leftover).read(make_rows(6)[0]), make_rows(6)[1])


def test_nothing_is_a_leftover_where_the_store_has_no_clock(
    store_with_leftover: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.storage.objects.LEASE_S", -1.0)
    stores = stores_at(cache_at(store_with_leftover.rpartition("/")[0]))
    assert stores.leftovers()
    monkeypatch.setattr(Bucket, "info", lambda _bucket, _name: {})
    assert stores.leftovers() == []


def test_a_leftover_that_its_writer_completes_meanwhile_stays(
    store_with_leftover: str, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.storage.objects.LEASE_S", -1.0)
    (leftover,) = stores_at(cache_at(store_with_leftover.rpartition("/")[0])).leftovers()
    segment = leftover.name.partition("/")[2]
    s3.pipe_file(f"{store_with_leftover.removeprefix('s3://')}/{segment}/zarr.json", b"{}")
    leftover.remove()
    assert segment in segment_names(open_toy_store(store_with_leftover))
    assert np.array_equal(open_toy_store(store_with_leftover).read(make_rows(9)[0]), make_rows(9)[1])


def test_one_of_two_concurrent_writers_with_other_batch_sizes_is_refused(place: str) -> None:
    start = Barrier(2)

    def write(rows: int) -> str:
        store = open_toy_store(place)
        start.wait()
        try:
            store.add(*make_rows(6, rows), rows, {})
        except StoreError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        messages = list(pool.map(write, (8, 16)))

    (refusal,) = [message for message in messages if message]
    winner = 8 if messages[0] == "" else 16
    assert f"holds rows of batches of {winner} images" in refusal
    assert open_toy_store(place).device_rows == winner
    assert open_toy_store(place).digests == make_rows(6, winner)[0]


@pytest.mark.parametrize("moment", ["get", "list_objects"])
def test_a_store_that_is_created_while_its_header_is_read_is_not_damaged(
    place: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = getattr(Bucket, moment)

    def after_another_writer(bucket: Bucket, *arguments: str) -> Any:
        monkeypatch.setattr(Bucket, moment, call)
        make_store(place)
        return call(bucket, *arguments)

    monkeypatch.setattr(Bucket, moment, after_another_writer)
    assert open_toy_store(place).digests == make_rows(6)[0]


def test_changes_by_another_process_are_seen_at_once(place: str) -> None:
    store = make_store(place)
    code = "from tests.storage.stores import *; open_toy_store(PLACE).add(*make_rows(3, 6), DEVICE_ROWS, {})"
    writer = start_script(code.replace("PLACE", repr(place)), stderr=subprocess.PIPE)
    assert writer.communicate() == (None, "")
    store.refresh()
    assert np.array_equal(store.read(make_rows(9)[0]), make_rows(9)[1])

    code = "from featx.storage.store import segment_store_at; segment_store_at(PLACE).remove()"
    writer = start_script(code.replace("PLACE", repr(place)), stderr=subprocess.PIPE)
    assert writer.communicate() == (None, "")
    store.refresh()
    assert len(store) == 0
    assert segment_store_at(place).read_header() is None
    assert not list(segment_store_at(place).file_sizes())


def test_a_store_that_is_removed_during_writing_is_created_again(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(place)
    original_put, state = Bucket.put, {"removed": False}

    def removed_first(bucket: Bucket, objects: dict[str, bytes]) -> None:
        if not state["removed"]:
            state["removed"] = True
            segment_store_at(place).remove()
        original_put(bucket, objects)

    monkeypatch.setattr(Bucket, "put", removed_first)
    store.add(*make_rows(3, 6), DEVICE_ROWS, {})

    assert open_toy_store(place).digests == make_rows(3, 6)[0]
    assert open_toy_store(place).device_rows == DEVICE_ROWS


def test_few_rows_are_read_by_ranges_and_many_rows_as_a_whole(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    d = 4096
    x = np.arange(200 * d, dtype=np.float32).reshape(200, d)
    digests = [f"{number:032x}" for number in range(200)]
    EmbeddingStore(place, SPEC, d).add(digests, x, DEVICE_ROWS, {})
    requested: list[tuple[int, int]] = []
    read_ranges = Bucket.read_ranges

    def record_ranges(bucket: Bucket, name: str, starts: list[int], ends: list[int]) -> list[bytes]:
        requested.extend(zip(starts, ends, strict=True))
        return read_ranges(bucket, name, starts, ends)

    store = EmbeddingStore(place, SPEC, d)
    monkeypatch.setattr(Bucket, "read_ranges", record_ranges)
    rows = [100, 3, 1, 100, 102]  # in any order, one twice
    assert np.array_equal(store.read([digests[row] for row in rows]), x[rows])
    row_bytes = 4 * d
    assert 98 * row_bytes > MAX_GAP_BYTES > 2 * row_bytes
    assert requested == [(row_bytes, 4 * row_bytes), (100 * row_bytes, 103 * row_bytes)]

    requested.clear()
    assert np.array_equal(store.read(digests[::-1]), x[::-1])
    assert requested == [(0, 200 * row_bytes)]
    requested.clear()
    assert np.array_equal(store.segments[0].read_all(), x)
    assert requested == [(0, 200 * row_bytes + 4)]


def test_a_refresh_takes_one_listing_and_no_other_request(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_toy_store(place)
    for first in range(0, 12, 3):
        open_toy_store(place).add(*make_rows(3, first), DEVICE_ROWS, {})
    store.refresh()
    calls: list[str] = []
    for name in ("list_objects", "info", "get", "read_ranges", "read_many"):
        method = getattr(Bucket, name)
        monkeypatch.setattr(
            Bucket, name, lambda self, *args, name=name, method=method: (calls.append(name), method(self, *args))[1]
        )
    store.refresh()
    assert calls == ["list_objects", "read_many"]  # which has nothing to ask for
    calls.clear()
    assert len(open_toy_store(place)) == 12
    assert calls == ["get", "list_objects", "read_many"]


def test_a_segment_is_hidden_first_and_a_refused_removal_changes_nothing(
    place: str, s3: Any, empty_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(place)
    (segment,) = segment_names(store)
    refuse(s3, empty_bucket, "s3:DeleteObject")
    with pytest.raises(UnreachableError, match=rf"^{place} cannot be deleted: .*; stored rows are kept$"):
        store.segment_store.remove_segment(segment)
    assert check_store(place).is_whole
    assert len(open_toy_store(place)) == 6
    allow(s3, empty_bucket)

    removed_names: list[str] = []
    delete = Bucket.delete
    monkeypatch.setattr(Bucket, "delete", lambda self, names: (removed_names.extend(names), delete(self, names))[1])
    store.segment_store.remove_segment(segment)
    assert removed_names[0] == f"{segment}/zarr.json"
    assert len(removed_names) == 7
    assert [name for name, _ in store.segment_store.file_sizes()] == ["zarr.json"]
    store.segment_store.remove_segment(segment)  # which is gone: no error


def test_rows_removed_during_reading_are_missing_and_not_broken(place: str) -> None:
    first, second = make_store(place), open_toy_store(place)
    store = open_toy_store(place)
    second.segment_store.remove_segment(segment_names(first)[0])
    with pytest.raises(StoreError, match="6 of 6 images have no embedding"):
        store.read(make_rows(6)[0])


@pytest.mark.parametrize("n_bytes", [0, 4, 11, None])
@pytest.mark.parametrize("name", ["x/c/0/0", "digest/c/0/0", "crc/c/0"])
def test_a_truncated_or_missing_object_is_found_and_repaired(
    place: str, s3: Any, name: str, n_bytes: int | None
) -> None:
    store = make_store(place)
    open_toy_store(place).add(*make_rows(3, 6), DEVICE_ROWS, {})
    key = f"{place.removeprefix('s3://')}/{segment_names(store)[0]}/{name}"
    s3.pipe_file(key, s3.cat_file(key)[:n_bytes]) if n_bytes is not None else s3.rm_file(key)

    with pytest.raises(CorruptError, match="run 'featx cache verify --repair'"):
        open_toy_store(place).read(make_rows(9)[0])
    (damage,) = check_store(place).damaged_segments
    assert damage.problems
    repair_store(place)
    assert check_store(place).is_whole
    assert 3 <= len(open_toy_store(place)) <= 9


def test_a_changed_byte_is_never_returned(place: str, s3: Any) -> None:
    store = make_store(place)
    key = f"{place.removeprefix('s3://')}/{segment_names(store)[0]}/x/c/0/0"
    content = bytearray(s3.cat_file(key))
    content[2 * D * 4] ^= 1
    s3.pipe_file(key, bytes(content))
    digests, x = make_rows(6)
    assert np.array_equal(open_toy_store(place).read(digests[:2]), x[:2])
    with pytest.raises(CorruptError, match="1 rows do not match their checksums, first row 2"):
        open_toy_store(place).read(digests)


def test_objects_that_are_no_store_are_left_alone(place: str, s3: Any) -> None:
    s3.pipe_file(f"{place.removeprefix('s3://')}/notes.txt", b"words")
    with pytest.raises(CorruptError, match=r"toy\.zarr is no embedding store of featx; move it away"):
        open_toy_store(place)
    make_store(place.replace("toy", "other"))
    s3.rm_file(f"{place.removeprefix('s3://').replace('toy', 'other')}/zarr.json")
    with pytest.raises(CorruptError, match=r"other\.zarr is no embedding store of featx; move it away"):
        open_toy_store(place.replace("toy", "other"))


def test_a_store_goes_to_another_process(place: str) -> None:
    store = make_store(place)
    (segment,) = pickle.loads(pickle.dumps(store.segments))
    assert np.array_equal(segment.read_all(), make_rows(6)[1])


def test_a_refusal_is_not_reported_as_damage(place: str, s3: Any, empty_bucket: str) -> None:
    make_store(place)
    refuse(s3, empty_bucket, "s3:GetObject")
    with pytest.raises(UnreachableError, match=r"toy\.zarr cannot be read: "):
        check_store(place)
    with pytest.raises(UnreachableError, match=r"toy\.zarr cannot be read: "):
        repair_store(place)
    allow(s3, empty_bucket)
    assert len(open_toy_store(place)) == 6


def test_a_refused_write_changes_nothing(place: str, s3: Any, empty_bucket: str) -> None:
    store = make_store(place)
    refuse(s3, empty_bucket, "s3:PutObject")
    with pytest.raises(UnreachableError, match=rf"^{place} cannot be written: .*; stored rows are kept$"):
        store.add(*make_rows(3, 6), DEVICE_ROWS, {})
    with pytest.raises(UnreachableError, match="cannot be written"):
        open_toy_store(place.replace("toy", "new")).add(*make_rows(3), DEVICE_ROWS, {})
    allow(s3, empty_bucket)
    assert len(open_toy_store(place)) == 6
    store.add(*make_rows(3, 6), DEVICE_ROWS, {})
    assert len(open_toy_store(place)) == 9


def test_a_missing_bucket_is_reported_before_anything_is_written(s3: Any) -> None:
    with pytest.raises(
        UnreachableError, match=r"^s3://none-such/x/toy\.zarr cannot be listed: .*bucket does not exist"
    ):
        open_toy_store("s3://none-such/x/toy.zarr")


def test_another_store_of_fsspec_keeps_rows_as_well() -> None:
    import fsspec

    place = "memory://bucket/cache/toy.zarr"
    try:
        store = make_store(place)
        open_toy_store(place).add(*make_rows(3, 6), DEVICE_ROWS, {})
        store.refresh()
        assert np.array_equal(store.read(make_rows(9)[0]), make_rows(9)[1])
        assert check_store(place).is_whole
        (store_files,) = stores_at(cache_at("memory://bucket/cache")).segment_stores() or ()
        assert (store_files.name, store_files.place) == ("toy.zarr", place)
        store.segment_store.remove_segment(segment_names(store)[0])
        store_files.remove()
        assert store_files.read_header() is None
        assert stores_at(cache_at("memory://bucket/other")).segment_stores() is None
    finally:
        fsspec.filesystem("memory").store.clear()


class UnconditionalFileSystem(MemoryFileSystem):
    """A store without conditional writes."""

    protocol = "plain"
    store: ClassVar[dict[str, Any]] = {}

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        if mode == "create":
            raise NotImplementedError
        super().pipe_file(path, value, **kwargs)


def test_a_store_without_conditional_writes_can_be_created() -> None:
    register_implementation("plain", UnconditionalFileSystem, clobber=True)
    place = "plain://bucket/toy.zarr"
    late_reader = open_toy_store(place)
    store = make_store(place)
    with pytest.raises(StoreError, match=f"holds rows of batches of {DEVICE_ROWS} images"):
        late_reader.add(*make_rows(6, 6), 2 * DEVICE_ROWS, {})
    store.add(*make_rows(6, 6), DEVICE_ROWS, {})
    assert len(open_toy_store(place)) == 12


def test_a_cache_is_text_and_its_notes_are_a_folder() -> None:
    remote = cache_at("s3://bucket/prefix/")
    assert (remote.stores, remote.local_folder, remote.folder) == ("s3://bucket/prefix/", Path("cache"), None)
    assert remote.store("toy.zarr") == "s3://bucket/prefix/toy.zarr"
    local = cache_at(Path("/big/cache"))
    assert (local.stores, local.local_folder, local.folder) == ("/big/cache", Path("/big/cache"), Path("/big/cache"))
    assert local.store("toy.zarr") == "/big/cache/toy.zarr"
    assert cache_at("s3://bucket", "/scratch").local_folder == Path("/scratch")
    assert cache_at("file:///big/cache") == local
    assert isinstance(segment_store_at("/big/cache/toy.zarr"), LocalSegmentStore)
    assert isinstance(segment_store_at("s3://bucket/toy.zarr"), ObjectSegmentStore)
    with pytest.raises(DataError, match=r"PosixPath\('s3:/bucket'\), which has lost a slash; name a URL by text"):
        cache_at(Path("s3://bucket"))
    with pytest.raises(DataError, match=r"paths\.local_cache: found 's3://b', expected a local folder"):
        cache_at("s3://bucket", "s3://b")
