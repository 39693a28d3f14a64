"""Joined segments hold what the single ones held, whoever looks meanwhile."""

import json
from pathlib import Path

import numpy as np
import pytest

from featx.errors import CorruptError
from featx.storage.checks import check
from featx.storage.compaction import compact
from featx.storage.segments import as_text
from featx.storage.store import EmbeddingStore
from tests.storage.stores import DEVICE_ROWS, D, chunks, filled, numbered, opened, segment_names, segments

ROW_BYTES = 4 * D


def twice(path: Path | str, *ranges: tuple[int, int]) -> EmbeddingStore:
    """A store whose writers did not know of one another."""
    writers = [opened(path) for _ in ranges]
    for writer, (first, n) in zip(writers, ranges, strict=True):
        writer.add(*numbered(n, first), DEVICE_ROWS, {"writer": first})
    return opened(path)


def test_small_segments_become_one_and_each_image_stands_once(place: str) -> None:
    store = twice(f"{place}/toy.zarr", (0, 4), (2, 4), (6, 2))
    digests, x = numbered(8)
    assert sum(map(len, store.segments)) == 10

    done = compact(store)

    assert (done.n_before, done.n_after, done.n_rows, done.n_removed) == (3, 1, 8, 2)
    for one in (store, opened(f"{place}/toy.zarr")):
        assert np.array_equal(one.read(digests), x)
        assert len(one) == sum(map(len, one.segments)) == 8
    assert check(store.shelf.place).is_whole
    assert {name.partition("/")[0] for name, _ in store.shelf.files()} == {"zarr.json", *segment_names(store)}


def test_who_made_the_rows_is_remembered(place: str) -> None:
    store = twice(f"{place}/toy.zarr", (0, 2), (2, 2))
    compact(store)
    store.add(*numbered(2, 4), DEVICE_ROWS, {"writer": 4})
    compact(store)
    (segment,) = store.segments
    made_by = sorted(one["writer"] for one in segment.provenance()["joined"])
    assert made_by == [0, 2, 4]


def test_segments_are_no_larger_than_asked_for_and_large_ones_stay(place: str) -> None:
    store = twice(f"{place}/toy.zarr", *((first, 1) for first in range(10)))
    assert compact(store, most_bytes=4 * ROW_BYTES).n_after == 3
    kept = segment_names(store)
    again = compact(store, most_bytes=4 * ROW_BYTES)
    assert again.n_after == again.n_before == 3
    assert segment_names(store) == kept
    assert np.array_equal(store.read(numbered(10)[0]), numbered(10)[1])


def test_a_segment_alone_and_an_empty_store_stay_as_they_are(place: str) -> None:
    store = filled(f"{place}/toy.zarr")
    (before,) = segment_names(store)
    assert compact(store).n_after == 1
    assert segment_names(store) == [before]
    nothing = compact(opened(f"{place}/none.zarr"))
    assert (nothing.n_before, nothing.n_after, nothing.n_rows) == (0, 0, 0)


def test_a_reader_from_before_finds_the_rows_where_they_are_now(place: str) -> None:
    store = twice(f"{place}/toy.zarr", (0, 4), (4, 4))
    reader, slow = opened(f"{place}/toy.zarr"), opened(f"{place}/toy.zarr")
    digests, x = numbered(8)
    blocks = slow.blocks()
    first = next(blocks)
    compact(store)
    assert np.array_equal(reader.read(digests), x)
    seen = {key: row.tolist() for keys, rows in (first, *blocks) for key, row in zip(as_text(keys), rows, strict=True)}
    assert seen == dict(zip(digests, x.tolist(), strict=True))


def test_a_broken_row_stops_it_and_nothing_is_taken_away(tmp_path: Path) -> None:
    store = twice(tmp_path / "toy.zarr", (0, 4), (4, 4))
    file = chunks(segments(store)[0])["x"]
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    before = segments(store)
    with pytest.raises(CorruptError, match="1 rows do not match their checksums.*; run 'featx cache verify --repair'"):
        compact(opened(tmp_path / "toy.zarr"))
    assert set(before) <= set(segments(store))


def test_a_segment_that_another_process_removes_meanwhile_is_no_error(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = twice(f"{place}/toy.zarr", (0, 4), (4, 4), (2, 4))
    other = opened(f"{place}/toy.zarr")
    publish = type(store.shelf).publish
    state = {"raced": False}

    def race(shelf, segment, files) -> None:  # type: ignore[no-untyped-def]
        if not state["raced"]:
            state["raced"] = True
            compact(other)
        publish(shelf, segment, files)

    monkeypatch.setattr(type(store.shelf), "publish", race)
    compact(store)
    monkeypatch.undo()
    assert np.array_equal(store.read(numbered(8)[0]), numbered(8)[1])
    assert compact(store).n_rows == 8
    assert sum(map(len, store.segments)) == 8


def test_metadata_is_hashed_into_the_name(tmp_path: Path) -> None:
    store = filled(tmp_path / "toy.zarr")
    (folder,) = segments(store)
    metadata = json.loads((folder / "zarr.json").read_text())
    metadata["attributes"]["featx"]["device"] = "another"
    (folder / "zarr.json").write_text(json.dumps(metadata))
    (damage,) = check(store.shelf.place).damages
    assert damage.problems == ["its metadata is not what its name says"]
    assert (damage.n_good, damage.n_lost) == (6, 0)
