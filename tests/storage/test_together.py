"""Writers, readers, compactions and clearings that use one store at the same time, or are killed."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx import extract
from featx.cache.clearing import gc
from featx.files.seals import write_sealed
from featx.storage.checks import check_store, open_store
from featx.storage.compaction import compact
from featx.storage.segment_store import TRASH_NAME
from featx.storage.segments import keys_to_digests
from featx.storage.store import EmbeddingStore
from featx.study.study import Study
from tests.conftest import make_images
from tests.processes import kill_after, run_command, start_process
from tests.recipes import TOY_RECIPE, toy_recipe
from tests.rows import stored_rows
from tests.storage.killing import add_rows, clear_cache, compact_store, fresh_rng
from tests.storage.stores import (
    DEVICE_ROWS,
    D,
    dead_name,
    leave_incomplete_segment,
    make_rows,
    make_store,
    open_toy_store,
)

# The moments of the kills differ in each run of the tests.
N_KILLS = [8, pytest.param(60, marks=pytest.mark.slow)]
N_SEGMENTS = 12
N_ROWS = 300
ENGINE = '\n[extraction]\nruntime = "torch"\nworkers = 1\nsegment_rows = 16\n'


def compare_rows(store: EmbeddingStore, expected: dict[str, bytes]) -> int:
    """Read all rows of a store in both ways and compare them; return their number."""
    store.refresh()
    digests = store.digests
    assert [row.tobytes() for row in store.read(digests)] == [expected[digest] for digest in digests]
    for keys, rows in store.blocks():
        assert [row.tobytes() for row in rows] == [expected[digest] for digest in keys_to_digests(keys)]
    return len(digests)


def number_bytes(n: int) -> dict[str, bytes]:
    digests, x = make_rows(n)
    return {digest: row.tobytes() for digest, row in zip(digests, x, strict=True)}


def make_fragmented_store(place: Path) -> None:
    """Make a store of small segments with some duplicate rows, because its writers did not see each other."""
    step = N_ROWS // N_SEGMENTS
    writers = [open_toy_store(place) for _ in range(N_SEGMENTS)]
    for number, writer in enumerate(writers):
        writer.add(*make_rows(min(3 * step // 2, N_ROWS - number * step), number * step), DEVICE_ROWS, {})


def write_half_recipes(home: Path) -> list[str]:
    """Write four recipes, each with the labels of another half of the images; return their files."""
    ids = make_images(home / "images", n_each=60)
    labels = pd.DataFrame({"path": ids, "class": [name.split("/")[0] for name in ids]}).sample(frac=1, random_state=0)
    files = []
    for number, start in enumerate(np.linspace(0, len(ids) / 2, 4).astype(int)):
        labels.iloc[start : start + len(ids) // 2].to_csv(home / "images" / f"half{number}.csv", index=False)
        (home / f"half{number}.toml").write_text(
            toy_recipe(data={"source": "images", "labels": {"file": f"half{number}.csv"}}) + ENGINE
        )
        files.append(f"half{number}.toml")
    return files


def test_four_overlapping_extractions_run_beside_readers(home: Path) -> None:
    files = write_half_recipes(home)
    (home / "all.toml").write_text(TOY_RECIPE + ENGINE)
    extract("all.toml")  # undisturbed
    expected_rows = stored_rows(Study.open("all.toml"))
    (place,) = (home / "cache").glob("*.zarr")
    store = open_store(place)
    digests = store.digests
    expected = {digest: row.tobytes() for digest, row in zip(digests, store.read(digests), strict=True)}
    for name in ("cache", "runs"):
        shutil.rmtree(name)

    processes = [start_process(run_command, home, "extract", "-r", file) for file in files]
    reader, sizes = None, []
    while any(process.is_alive() for process in processes):
        if place.exists():
            reader = reader or open_store(place)
            sizes += [compare_rows(reader, expected), compare_rows(open_store(place), expected)]
        time.sleep(0.01)
    assert [process.exitcode for process in processes] == [0] * 4, (home / "output.txt").read_text()

    parts = [pd.read_csv(home / "images" / f"half{number}.csv")["path"] for number in range(4)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 2
    assert [stored_rows(Study.open(file)) for file in files] == [
        {name: expected_rows[name] for name in part} for part in parts
    ]
    result = compact(open_store(place))
    assert (result.n_rows, result.n_after) == (len(expected), 1)
    assert sum(map(len, open_store(place).segments)) == len(expected)
    assert [stored_rows(Study.open(file)) for file in files] == [
        {name: expected_rows[name] for name in part} for part in parts
    ]
    assert gc().leftovers == []


def test_writing_reading_compacting_and_clearing_run_at_the_same_time(home: Path) -> None:
    place, expected = home / "cache" / "toy.zarr", number_bytes(N_ROWS)
    place.parent.mkdir()
    firsts = [list(range(start, N_ROWS - 19, 20)) for start in (0, 0, 10)]
    writers = [start_process(add_rows, place, numbers, 20) for numbers in firsts]
    maintainers = [
        start_process(compact_store, place, True),
        start_process(compact_store, place, True),
        start_process(clear_cache, home, True),
    ]
    reader, sizes = None, []
    while any(process.is_alive() for process in writers):
        if place.exists():
            reader = reader or open_toy_store(place)
            sizes += [compare_rows(reader, expected), compare_rows(open_toy_store(place), expected)]
    (home / "over").touch()
    for process in (*writers, *maintainers):
        process.join(300)
        assert process.exitcode == 0, (home / "output.txt").read_text()
    assert sizes == sorted(sizes)
    assert compare_rows(open_toy_store(place), expected) == N_ROWS
    compact(open_toy_store(place))
    assert sum(map(len, open_toy_store(place).segments)) == N_ROWS
    assert check_store(place).is_whole
    assert [path.name for path in place.parent.iterdir()] == ["toy.zarr"]


def folders_after_kills(
    work: Callable[[Path], tuple[object, ...]], prepared: Path, home: Path, n_kills: int
) -> Iterator[Path]:
    """Yield copies of a cache, in each of which a process was killed at a random moment."""
    rng, n_killed, all_s = fresh_rng(), 0, 5.0
    for number in range(20 * n_kills):
        if n_killed == n_kills:
            return
        folder = home / str(number)
        shutil.copytree(prepared, folder)
        call, *args = work(folder)
        assert callable(call)
        start = time.perf_counter()
        if kill_after(start_process(call, *args), rng.uniform(0, all_s)):
            n_killed += 1
            yield folder
        else:
            all_s = time.perf_counter() - start
        shutil.rmtree(folder)
    raise AssertionError(f"only {n_killed} could be killed")


@pytest.mark.parametrize("n_kills", N_KILLS)
def test_a_killed_compaction_loses_nothing_and_the_next_one_completes_it(home: Path, n_kills: int) -> None:
    expected, n_segments = number_bytes(N_ROWS), []
    make_fragmented_store(home / "prepared" / "cache" / "toy.zarr")
    for folder in folders_after_kills(
        lambda folder: (compact_store, folder / "cache" / "toy.zarr"), home / "prepared", home, n_kills
    ):
        place = folder / "cache" / "toy.zarr"
        n_segments.append(len(open_store(place).segments))
        assert check_store(place).is_whole
        assert compare_rows(open_store(place), expected) == N_ROWS
        compact(open_store(place))
        assert sum(map(len, open_store(place).segments)) == compare_rows(open_store(place), expected) == N_ROWS
        gc(cache=place.parent)
        assert [path.name for path in place.parent.iterdir()] == [place.name]
    print(f"segments after each kill: {sorted(n_segments)}")
    assert len(n_segments) == n_kills


def make_cache_with_leftovers(folder: Path) -> None:
    """Make a cache with one needed store, two unneeded stores, and unfinished files of killed writers."""
    store = make_store(folder / "cache" / "store.zarr", 2)
    needed_store = folder / "cache" / f"toy-{store.spec.fingerprint()}.zarr"
    Path(str(store)).rename(needed_store)
    make_store(needed_store, 40)
    for name in ("a-0123456789abcdef.zarr", "b-0123456789abcdef.zarr"):
        make_fragmented_store(folder / "cache" / name)
    for n_files in range(1, 8):
        leave_incomplete_segment(needed_store, *make_rows(9), n_files)
        shutil.copytree(folder / "cache" / name, folder / "cache" / dead_name(f"{name}.{TRASH_NAME}"))
    request = {"request": {}, "spec": store.spec.model_dump(mode="json"), "n_features": D, "weights_file": None}
    (folder / "runs" / "toy").mkdir(parents=True)
    write_sealed(folder / "runs" / "toy" / "embeddings.lock.json", {"embeddings": [request]})


@pytest.mark.parametrize("n_kills", N_KILLS)
def test_a_killed_clearing_loses_nothing_and_the_next_one_completes_it(home: Path, n_kills: int) -> None:
    n_files = []
    make_cache_with_leftovers(home / "prepared")
    (needed_name,) = (path.name for path in (home / "prepared" / "cache").glob("toy-*"))
    for folder in folders_after_kills(lambda folder: (clear_cache, folder), home / "prepared", home, n_kills):
        cache = folder / "cache"
        n_files.append(len(list(cache.iterdir())))
        for place in cache.glob("[!.]*.zarr"):  # visible stores are intact, also those to be removed
            n_rows = 40 if place.name == needed_name else N_ROWS
            assert check_store(place).is_whole
            assert compare_rows(open_store(place), number_bytes(n_rows)) == n_rows
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            gc()
        assert [path.name for path in cache.iterdir()] == [needed_name]
        assert compare_rows(open_store(cache / needed_name), number_bytes(40)) == 40
    print(f"files and folders after each kill: {sorted(n_files)}")
    assert len(n_files) == n_kills
