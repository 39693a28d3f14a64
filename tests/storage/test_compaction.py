"""Compaction keeps all rows, also for readers and writers that use the store meanwhile."""

import json
from pathlib import Path

import numpy as np
import pytest

from featx.errors import CorruptError
from featx.storage.checks import check_store
from featx.storage.compaction import compact
from featx.storage.segments import keys_to_digests
from featx.storage.store import EmbeddingStore
from tests.storage.stores import DEVICE_ROWS, D, chunks, make_rows, make_store, open_toy_store, segment_names, segments

ROW_BYTES = 4 * D


def overlapping_store(path: Path | str, *ranges: tuple[int, int]) -> EmbeddingStore:
    """Return a store with overlapping ranges of rows, each from another writer."""
    writers = [open_toy_store(path) for _ in ranges]
    for writer, (first, n) in zip(writers, ranges, strict=True):
        writer.add(*make_rows(n, first), DEVICE_ROWS, {"writer": first})
    return open_toy_store(path)


def test_small_segments_are_joined_and_each_image_is_stored_once(place: str) -> None:
    store = overlapping_store(f"{place}/toy.zarr", (0, 4), (2, 4), (6, 2))
    digests, x = make_rows(8)
    assert sum(map(len, store.segments)) == 10

    result = compact(store)

    assert (result.n_before, result.n_after, result.n_rows, result.n_removed) == (3, 1, 8, 2)
    for handle in (store, open_toy_store(f"{place}/toy.zarr")):
        assert np.array_equal(handle.read(digests), x)
        assert len(handle) == sum(map(len, handle.segments)) == 8
    assert check_store(store.segment_store.place).is_whole
    assert {name.partition("/")[0] for name, _ in store.segment_store.file_sizes()} == {
        "zarr.json",
        *segment_names(store),
    }


def test_joined_segments_keep_the_provenance_of_all_rows(place: str) -> None:
    store = overlapping_store(f"{place}/toy.zarr", (0, 2), (2, 2))
    compact(store)
    store.add(*make_rows(2, 4), DEVICE_ROWS, {"writer": 4})
    compact(store)
    (segment,) = store.segments
    writers = sorted(origin["writer"] for origin in segment.provenance()["joined"])
    assert writers == [0, 2, 4]


def test_joined_segments_have_a_maximum_size_and_large_ones_stay(place: str) -> None:
    store = overlapping_store(f"{place}/toy.zarr", *((first, 1) for first in range(10)))
    assert compact(store, max_segment_bytes=4 * ROW_BYTES).n_after == 3
    names_before = segment_names(store)
    result = compact(store, max_segment_bytes=4 * ROW_BYTES)
    assert result.n_after == result.n_before == 3
    assert segment_names(store) == names_before
    assert np.array_equal(store.read(make_rows(10)[0]), make_rows(10)[1])


def test_a_single_segment_and_an_empty_store_stay_unchanged(place: str) -> None:
    store = make_store(f"{place}/toy.zarr")
    (segment_name,) = segment_names(store)
    assert compact(store).n_after == 1
    assert segment_names(store) == [segment_name]
    empty = compact(open_toy_store(f"{place}/none.zarr"))
    assert (empty.n_before, empty.n_after, empty.n_rows) == (0, 0, 0)


def test_a_reader_finds_rows_that_were_joined_since_it_was_opened(place: str) -> None:
    store = overlapping_store(f"{place}/toy.zarr", (0, 4), (4, 4))
    reader, slow_reader = open_toy_store(f"{place}/toy.zarr"), open_toy_store(f"{place}/toy.zarr")
    digests, x = make_rows(8)
    blocks = slow_reader.blocks()
    first = next(blocks)
    compact(store)
    assert np.array_equal(reader.read(digests), x)
    rows_by_digest = {
        key: row.tolist()
        for keys, rows in (first, *blocks)
        for key, row in zip(keys_to_digests(keys), rows, strict=True)
    }
    assert rows_by_digest == dict(zip(digests, x.tolist(), strict=True))


def test_a_broken_row_stops_the_compaction_and_nothing_is_removed(tmp_path: Path) -> None:
    store = overlapping_store(tmp_path / "toy.zarr", (0, 4), (4, 4))
    file = chunks(segments(store)[0])["x"]
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    segments_before = segments(store)
    with pytest.raises(CorruptError, match="1 rows do not match their checksums.*; run 'featx cache verify --repair'"):
        compact(open_toy_store(tmp_path / "toy.zarr"))
    assert set(segments_before) <= set(segments(store))


def test_a_segment_that_another_process_removes_meanwhile_is_no_error(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = overlapping_store(f"{place}/toy.zarr", (0, 4), (4, 4), (2, 4))
    second_handle = open_toy_store(f"{place}/toy.zarr")
    publish = type(store.segment_store).publish
    state = {"raced": False}

    def race(store_files, segment, files) -> None:  # type: ignore[no-untyped-def]
        if not state["raced"]:
            state["raced"] = True
            compact(second_handle)
        publish(store_files, segment, files)

    monkeypatch.setattr(type(store.segment_store), "publish", race)
    compact(store)
    monkeypatch.undo()
    assert np.array_equal(store.read(make_rows(8)[0]), make_rows(8)[1])
    assert compact(store).n_rows == 8
    assert sum(map(len, store.segments)) == 8


def test_metadata_is_hashed_into_the_name(tmp_path: Path) -> None:
    store = make_store(tmp_path / "toy.zarr")
    (folder,) = segments(store)
    metadata = json.loads((folder / "zarr.json").read_text())
    metadata["attributes"]["featx"]["device"] = "another"
    (folder / "zarr.json").write_text(json.dumps(metadata))
    (damage,) = check_store(store.segment_store.place).damaged_segments
    assert damage.problems == ["its metadata does not match the hash in its name"]
    assert (damage.n_intact_rows, damage.n_damaged_rows) == (6, 0)
