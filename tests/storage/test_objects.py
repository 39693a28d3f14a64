"""What is special about stores in buckets; what all stores promise is in test_store and test_compaction."""

import pickle
import signal
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
from featx.storage.checks import check, mend
from featx.storage.objects import NEAR_BYTES, ObjectSegmentStore
from featx.storage.places import cache_at
from featx.storage.shelves import LocalSegmentStore
from featx.storage.store import EmbeddingStore, segment_store_at
from tests.s3 import allow, process, refuse
from tests.storage.stores import DEVICE_ROWS, SPEC, D, filled, numbered, opened, segment_names

KILLED = """
import os, signal
from featx.storage.buckets import Bucket
from tests.storage.stores import DEVICE_ROWS, numbered, opened

put = Bucket.put

def killed(self, objects):
    if any(name.endswith(f"{name.split('/')[0]}/zarr.json") for name in objects):
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, objects)

Bucket.put = killed
opened(PLACE).add(*numbered(3, 6), DEVICE_ROWS, {})
"""


@pytest.fixture
def place(empty_bucket: str) -> str:
    return f"s3://{empty_bucket}/cache/toy.zarr"


@pytest.fixture
def abandoned(place: str) -> str:
    """A store of six rows, and what a writer left that was killed before it wrote its segment's ``zarr.json``."""
    filled(place)
    writer = process(KILLED.replace("PLACE", repr(place)))
    _, complaint = writer.communicate()
    assert writer.returncode == -signal.SIGKILL, complaint
    return place


def test_what_a_writer_left_that_was_killed_before_the_last_object_is_no_segment(abandoned: str) -> None:
    objects = {name.split("/")[0] for name, _ in segment_store_at(abandoned).files()}
    assert len(objects) == 3  # its header, a segment, and another

    store = opened(abandoned)

    assert len(store) == 6
    assert store.missing(numbered(9)[0]) == numbered(9)[0][6:]
    assert check(abandoned).is_whole
    store.add(*numbered(9), DEVICE_ROWS, {})
    assert np.array_equal(opened(abandoned).read(numbered(9)[0]), numbered(9)[1])


def test_leftovers_are_found_when_the_lease_is_over_and_not_before(
    abandoned: str, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = stores_at(cache_at(abandoned.rpartition("/")[0]))
    assert stores.leftovers() == []  # it may still be at work

    monkeypatch.setattr("featx.storage.objects.LEASE_S", -1.0)
    (found,) = stores.leftovers()
    assert found.name.startswith("toy.zarr/segment-")
    assert found.n_bytes > 3 * D * 4
    found.remove()

    assert stores.leftovers() == []
    assert len(s3.find(abandoned.removeprefix("s3://"))) == 1 + 7
    assert np.array_equal(opened(abandoned).read(numbered(6)[0]), numbered(6)[1])


def test_a_leftover_that_its_writer_finishes_meanwhile_is_kept(
    abandoned: str, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.storage.objects.LEASE_S", -1.0)
    (found,) = stores_at(cache_at(abandoned.rpartition("/")[0])).leftovers()
    segment = found.name.partition("/")[2]
    s3.pipe_file(f"{abandoned.removeprefix('s3://')}/{segment}/zarr.json", b"{}")
    found.remove()
    assert segment in segment_names(opened(abandoned))
    assert np.array_equal(opened(abandoned).read(numbered(9)[0]), numbered(9)[1])


def test_of_two_writers_that_begin_at_the_same_moment_with_other_batches_one_is_refused(place: str) -> None:
    start = Barrier(2)

    def write(rows: int) -> str:
        store = opened(place)
        start.wait()
        try:
            store.add(*numbered(6, rows), rows, {})
        except StoreError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(write, (8, 16)))

    (refused,) = [one for one in said if one]
    winner = 8 if said[0] == "" else 16
    assert f"holds rows of batches of {winner} images" in refused
    assert opened(place).device_rows == winner
    assert opened(place).digests == numbered(6, winner)[0]


@pytest.mark.parametrize("moment", ["get", "listed"])
def test_a_store_that_another_writer_makes_while_its_header_is_read_is_no_damage(
    place: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = getattr(Bucket, moment)

    def after_another_writer(bucket: Bucket, *arguments: str) -> Any:
        monkeypatch.setattr(Bucket, moment, call)
        filled(place)
        return call(bucket, *arguments)

    monkeypatch.setattr(Bucket, moment, after_another_writer)
    assert opened(place).digests == numbered(6)[0]


def test_what_another_process_writes_and_removes_is_seen_at_once(place: str) -> None:
    store = filled(place)
    code = "from tests.storage.stores import *; opened(PLACE).add(*numbered(3, 6), DEVICE_ROWS, {})"
    assert process(code.replace("PLACE", repr(place))).communicate() == (None, "")
    store.refresh()
    assert np.array_equal(store.read(numbered(9)[0]), numbered(9)[1])

    code = "from featx.storage.store import shelf_at; shelf_at(PLACE).remove()"
    assert process(code.replace("PLACE", repr(place))).communicate() == (None, "")
    store.refresh()
    assert len(store) == 0
    assert segment_store_at(place).header() is None
    assert not list(segment_store_at(place).files())


def test_a_store_that_is_removed_under_a_writer_is_begun_again(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(place)
    put, state = Bucket.put, {"removed": False}

    def removed_first(bucket: Bucket, objects: dict[str, bytes]) -> None:
        if not state["removed"]:
            state["removed"] = True
            segment_store_at(place).remove()
        put(bucket, objects)

    monkeypatch.setattr(Bucket, "put", removed_first)
    store.add(*numbered(3, 6), DEVICE_ROWS, {})

    assert opened(place).digests == numbered(3, 6)[0]
    assert opened(place).device_rows == DEVICE_ROWS


def test_few_rows_of_a_large_segment_are_asked_for_by_ranges_and_many_as_a_whole(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    d = 4096
    x = np.arange(200 * d, dtype=np.float32).reshape(200, d)
    digests = [f"{at:032x}" for at in range(200)]
    EmbeddingStore(place, SPEC, d).add(digests, x, DEVICE_ROWS, {})
    asked: list[tuple[int, int]] = []
    ranges = Bucket.ranges

    def noted(bucket: Bucket, name: str, starts: list[int], ends: list[int]) -> list[bytes]:
        asked.extend(zip(starts, ends, strict=True))
        return ranges(bucket, name, starts, ends)

    store = EmbeddingStore(place, SPEC, d)
    monkeypatch.setattr(Bucket, "ranges", noted)
    wanted = [100, 3, 1, 100, 102]  # in any order, one twice
    assert np.array_equal(store.read([digests[at] for at in wanted]), x[wanted])
    row = 4 * d
    assert 98 * row > NEAR_BYTES > 2 * row
    assert asked == [(row, 4 * row), (100 * row, 103 * row)]

    asked.clear()
    assert np.array_equal(store.read(digests[::-1]), x[::-1])
    assert asked == [(0, 200 * row)]
    asked.clear()
    assert np.array_equal(store.segments[0].whole(), x)
    assert asked == [(0, 200 * row + 4)]


def test_a_refresh_takes_one_listing_and_no_question_about_what_is_known(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(place)
    for first in range(0, 12, 3):
        opened(place).add(*numbered(3, first), DEVICE_ROWS, {})
    store.refresh()
    calls: list[str] = []
    for name in ("listed", "info", "get", "ranges", "several"):
        method = getattr(Bucket, name)
        monkeypatch.setattr(
            Bucket, name, lambda self, *args, name=name, method=method: (calls.append(name), method(self, *args))[1]
        )
    store.refresh()
    assert calls == ["listed", "several"]  # which has nothing to ask for
    calls.clear()
    assert len(opened(place)) == 12
    assert calls == ["get", "listed", "several"]


def test_a_segment_goes_out_of_sight_before_its_objects_do_and_a_refusal_leaves_it_whole(
    place: str, s3: Any, empty_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(place)
    (segment,) = segment_names(store)
    refuse(s3, empty_bucket, "s3:DeleteObject")
    with pytest.raises(UnreachableError, match=rf"^{place} cannot be cleared up: .*; what is stored there is kept$"):
        store.shelf.withdraw(segment)
    assert check(place).is_whole
    assert len(opened(place)) == 6
    allow(s3, empty_bucket)

    removed: list[str] = []
    delete = Bucket.delete
    monkeypatch.setattr(Bucket, "delete", lambda self, names: (removed.extend(names), delete(self, names))[1])
    store.shelf.withdraw(segment)
    assert removed[0] == f"{segment}/zarr.json"
    assert len(removed) == 7
    assert [name for name, _ in store.shelf.files()] == ["zarr.json"]
    store.shelf.withdraw(segment)  # which is gone: no error


def test_rows_that_went_while_they_were_read_are_missing_and_not_broken(place: str) -> None:
    first, second = filled(place), opened(place)
    store = opened(place)
    second.shelf.withdraw(segment_names(first)[0])
    with pytest.raises(StoreError, match="6 of 6 images have no embedding"):
        store.read(numbered(6)[0])


@pytest.mark.parametrize("left", [0, 4, 11, None])
@pytest.mark.parametrize("name", ["x/c/0/0", "digest/c/0/0", "crc/c/0"])
def test_an_object_that_is_cut_short_or_gone_is_found_and_mended(
    place: str, s3: Any, name: str, left: int | None
) -> None:
    store = filled(place)
    opened(place).add(*numbered(3, 6), DEVICE_ROWS, {})
    key = f"{place.removeprefix('s3://')}/{segment_names(store)[0]}/{name}"
    s3.pipe_file(key, s3.cat_file(key)[:left]) if left is not None else s3.rm_file(key)

    with pytest.raises(CorruptError, match="run 'featx cache verify --repair'"):
        opened(place).read(numbered(9)[0])
    (damage,) = check(place).damages
    assert damage.problems
    mend(place)
    assert check(place).is_whole
    assert 3 <= len(opened(place)) <= 9


def test_a_changed_byte_is_never_returned(place: str, s3: Any) -> None:
    store = filled(place)
    key = f"{place.removeprefix('s3://')}/{segment_names(store)[0]}/x/c/0/0"
    content = bytearray(s3.cat_file(key))
    content[2 * D * 4] ^= 1
    s3.pipe_file(key, bytes(content))
    digests, x = numbered(6)
    assert np.array_equal(opened(place).read(digests[:2]), x[:2])
    with pytest.raises(CorruptError, match="1 rows do not match their checksums, first row 2"):
        opened(place).read(digests)


def test_objects_that_are_no_store_are_left_alone(place: str, s3: Any) -> None:
    s3.pipe_file(f"{place.removeprefix('s3://')}/notes.txt", b"words")
    with pytest.raises(CorruptError, match=r"toy\.zarr is no embedding store of featx; move it away"):
        opened(place)
    filled(place.replace("toy", "other"))
    s3.rm_file(f"{place.removeprefix('s3://').replace('toy', 'other')}/zarr.json")
    with pytest.raises(CorruptError, match=r"other\.zarr is no embedding store of featx; move it away"):
        opened(place.replace("toy", "other"))


def test_a_store_goes_to_another_process(place: str) -> None:
    store = filled(place)
    (segment,) = pickle.loads(pickle.dumps(store.segments))
    assert np.array_equal(segment.whole(), numbered(6)[1])


def test_a_refusal_is_no_damage(place: str, s3: Any, empty_bucket: str) -> None:
    filled(place)
    refuse(s3, empty_bucket, "s3:GetObject")
    with pytest.raises(UnreachableError, match=r"toy\.zarr cannot be read: "):
        check(place)
    with pytest.raises(UnreachableError, match=r"toy\.zarr cannot be read: "):
        mend(place)
    allow(s3, empty_bucket)
    assert len(opened(place)) == 6


def test_a_refused_write_leaves_what_is_there(place: str, s3: Any, empty_bucket: str) -> None:
    store = filled(place)
    refuse(s3, empty_bucket, "s3:PutObject")
    with pytest.raises(UnreachableError, match=rf"^{place} cannot be written: .*; what is stored there is kept$"):
        store.add(*numbered(3, 6), DEVICE_ROWS, {})
    with pytest.raises(UnreachableError, match="cannot be written"):
        opened(place.replace("toy", "new")).add(*numbered(3), DEVICE_ROWS, {})
    allow(s3, empty_bucket)
    assert len(opened(place)) == 6
    store.add(*numbered(3, 6), DEVICE_ROWS, {})
    assert len(opened(place)) == 9


def test_a_bucket_that_is_not_there_is_told_before_anything_is_written(s3: Any) -> None:
    with pytest.raises(
        UnreachableError, match=r"^s3://none-such/x/toy\.zarr cannot be listed: .*bucket does not exist"
    ):
        opened("s3://none-such/x/toy.zarr")


def test_another_store_of_fsspec_keeps_rows_as_well() -> None:
    import fsspec

    place = "memory://shelf/cache/toy.zarr"
    try:
        store = filled(place)
        opened(place).add(*numbered(3, 6), DEVICE_ROWS, {})
        store.refresh()
        assert np.array_equal(store.read(numbered(9)[0]), numbered(9)[1])
        assert check(place).is_whole
        (shelf,) = stores_at(cache_at("memory://shelf/cache")).shelves() or ()
        assert (shelf.name, shelf.place) == ("toy.zarr", place)
        store.shelf.withdraw(segment_names(store)[0])
        shelf.remove()
        assert shelf.header() is None
        assert stores_at(cache_at("memory://shelf/other")).shelves() is None
    finally:
        fsspec.filesystem("memory").store.clear()


class Plain(MemoryFileSystem):
    """A store that cannot write under a condition."""

    protocol = "plain"
    store: ClassVar[dict[str, Any]] = {}

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        if mode == "create":
            raise NotImplementedError
        super().pipe_file(path, value, **kwargs)


def test_a_store_that_knows_no_conditions_is_begun_all_the_same() -> None:
    register_implementation("plain", Plain, clobber=True)
    place = "plain://shelf/toy.zarr"
    late = opened(place)
    store = filled(place)
    with pytest.raises(StoreError, match=f"holds rows of batches of {DEVICE_ROWS} images"):
        late.add(*numbered(6, 6), 2 * DEVICE_ROWS, {})
    store.add(*numbered(6, 6), DEVICE_ROWS, {})
    assert len(opened(place)) == 12


def test_a_cache_is_text_and_its_notes_are_a_folder() -> None:
    far = cache_at("s3://bucket/prefix/")
    assert (far.stores, far.notes, far.folder) == ("s3://bucket/prefix/", Path("cache"), None)
    assert far.store("toy.zarr") == "s3://bucket/prefix/toy.zarr"
    near = cache_at(Path("/big/cache"))
    assert (near.stores, near.notes, near.folder) == ("/big/cache", Path("/big/cache"), Path("/big/cache"))
    assert near.store("toy.zarr") == "/big/cache/toy.zarr"
    assert cache_at("s3://bucket", "/scratch").notes == Path("/scratch")
    assert cache_at("file:///big/cache") == near
    assert isinstance(segment_store_at("/big/cache/toy.zarr"), LocalSegmentStore)
    assert isinstance(segment_store_at("s3://bucket/toy.zarr"), ObjectSegmentStore)
    with pytest.raises(DataError, match=r"PosixPath\('s3:/bucket'\), which has lost a slash; name a URL by text"):
        cache_at(Path("s3://bucket"))
    with pytest.raises(DataError, match=r"paths\.notes: found 's3://b', expected a local folder"):
        cache_at("s3://bucket", "s3://b")
