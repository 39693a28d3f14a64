"""Many at one store: writers, readers, those that join and those that clear up; and these killed at any moment."""

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
from featx.storage.checks import check, open_store
from featx.storage.compaction import compact
from featx.storage.segments import as_text
from featx.storage.shelves import TRASH
from featx.storage.store import EmbeddingStore
from featx.study.study import Study
from tests.conftest import TOY_RECIPE, make_images
from tests.rows import stored_rows
from tests.storage.killing import adding, begun, clearing, command, fresh_rng, joining, killed_at
from tests.storage.stores import DEVICE_ROWS, D, dead_name, filled, left_by_dead_writer, numbered, opened

N_KILLS = 30
N_SEGMENTS = 12
N_ROWS = 300
ENGINE = '\n[extraction]\nruntime = "torch"\nworkers = 1\nsegment_rows = 16\n'


def look(store: EmbeddingStore, expected: dict[str, bytes]) -> int:
    """Read all that a store has, in both ways, and compare; return how much that is."""
    store.refresh()
    digests = store.digests
    assert [row.tobytes() for row in store.read(digests)] == [expected[digest] for digest in digests]
    for keys, rows in store.blocks():
        assert [row.tobytes() for row in rows] == [expected[digest] for digest in as_text(keys)]
    return len(digests)


def number_bytes(n: int) -> dict[str, bytes]:
    digests, x = numbered(n)
    return {digest: row.tobytes() for digest, row in zip(digests, x, strict=True)}


def scattered(place: Path) -> None:
    """Make a store of small segments, some of whose rows stand twice: their writers did not know of one another."""
    step = N_ROWS // N_SEGMENTS
    writers = [opened(place) for _ in range(N_SEGMENTS)]
    for number, writer in enumerate(writers):
        writer.add(*numbered(min(3 * step // 2, N_ROWS - number * step), number * step), DEVICE_ROWS, {})


def halves(home: Path) -> list[str]:
    """Write four recipes with label tables, each of half of the images of one folder; return their files."""
    ids = make_images(home / "images", n_each=60)
    every = pd.DataFrame({"path": ids, "class": [name.split("/")[0] for name in ids]}).sample(frac=1, random_state=0)
    recipe = TOY_RECIPE.replace('source = "images"', 'source = "images"\nlabels = {{ file = "{}.csv" }}') + ENGINE
    files = []
    for number, start in enumerate(np.linspace(0, len(ids) / 2, 4).astype(int)):
        every.iloc[start : start + len(ids) // 2].to_csv(home / "images" / f"half{number}.csv", index=False)
        (home / f"half{number}.toml").write_text(recipe.format(f"half{number}"))
        files.append(f"half{number}.toml")
    return files


def test_four_extractions_of_overlapping_halves_and_readers_beside_them(home: Path) -> None:
    files = halves(home)
    (home / "all.toml").write_text(TOY_RECIPE + ENGINE)
    extract("all.toml")  # undisturbed
    calm = stored_rows(Study.open("all.toml"))
    (place,) = (home / "cache").glob("*.zarr")
    known = open_store(place)
    digests = known.digests
    expected = {digest: row.tobytes() for digest, row in zip(digests, known.read(digests), strict=True)}
    for name in ("cache", "runs"):
        shutil.rmtree(name)

    at_work = [begun(command, home, "extract", "-r", file) for file in files]
    reader, sizes = None, []
    while any(process.is_alive() for process in at_work):
        if place.exists():
            reader = reader or open_store(place)
            sizes += [look(reader, expected), look(open_store(place), expected)]
        time.sleep(0.01)
    assert [process.exitcode for process in at_work] == [0] * 4, (home / "said.txt").read_text()

    parts = [pd.read_csv(home / "images" / f"half{number}.csv")["path"] for number in range(4)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 2
    assert [stored_rows(Study.open(file)) for file in files] == [{name: calm[name] for name in part} for part in parts]
    done = compact(open_store(place))
    assert (done.n_rows, done.n_after) == (len(expected), 1)
    assert sum(map(len, open_store(place).segments)) == len(expected)
    assert [stored_rows(Study.open(file)) for file in files] == [{name: calm[name] for name in part} for part in parts]
    assert gc().leftovers == []


def test_writers_readers_and_those_that_join_and_clear_up_do_not_disturb_one_another(home: Path) -> None:
    place, expected = home / "cache" / "toy.zarr", number_bytes(N_ROWS)
    place.parent.mkdir()
    firsts = [list(range(start, N_ROWS - 19, 20)) for start in (0, 0, 10)]
    writers = [begun(adding, place, some, 20) for some in firsts]
    others = [begun(joining, place, True), begun(joining, place, True), begun(clearing, home, True)]
    reader, sizes = None, []
    while any(process.is_alive() for process in writers):
        if place.exists():
            reader = reader or opened(place)
            sizes += [look(reader, expected), look(opened(place), expected)]
    (home / "over").touch()
    for process in (*writers, *others):
        process.join(300)
        assert process.exitcode == 0, (home / "said.txt").read_text()
    assert sizes == sorted(sizes)
    assert look(opened(place), expected) == N_ROWS
    compact(opened(place))
    assert sum(map(len, opened(place).segments)) == N_ROWS
    assert check(place).is_whole
    assert [path.name for path in place.parent.iterdir()] == ["toy.zarr"]


def killed_in(work: Callable[[Path], tuple[object, ...]], prepared: Path, home: Path) -> Iterator[Path]:
    """Yield working directories with a copy of a cache, in each of which a process was killed at a random moment."""
    rng, n_killed, all_s = fresh_rng(), 0, 5.0
    for number in range(20 * N_KILLS):
        if n_killed == N_KILLS:
            return
        folder = home / str(number)
        shutil.copytree(prepared, folder)
        call, *args = work(folder)
        assert callable(call)
        start = time.perf_counter()
        if killed_at(begun(call, *args), rng.uniform(0, all_s)):
            n_killed += 1
            yield folder
        else:
            all_s = time.perf_counter() - start
        shutil.rmtree(folder)
    raise AssertionError(f"only {n_killed} could be killed")


def test_joining_that_is_killed_loses_nothing_and_the_next_one_mends(home: Path) -> None:
    expected, found = number_bytes(N_ROWS), []
    scattered(home / "prepared" / "cache" / "toy.zarr")
    for folder in killed_in(lambda folder: (joining, folder / "cache" / "toy.zarr"), home / "prepared", home):
        place = folder / "cache" / "toy.zarr"
        found.append(len(open_store(place).segments))
        assert check(place).is_whole
        assert look(open_store(place), expected) == N_ROWS
        compact(open_store(place))
        assert sum(map(len, open_store(place).segments)) == look(open_store(place), expected) == N_ROWS
        gc(cache=place.parent)
        assert [path.name for path in place.parent.iterdir()] == [place.name]
    print(f"segments after each kill: {sorted(found)}")
    assert len(found) == N_KILLS


def with_leftovers(folder: Path) -> None:
    """Make a cache with a store that a recipe needs, two that none does, and what dead writers left."""
    made = filled(folder / "cache" / "made.zarr", 2)
    needed = folder / "cache" / f"toy-{made.spec.fingerprint()}.zarr"
    Path(str(made)).rename(needed)
    filled(needed, 40)
    for name in ("a-0123456789abcdef.zarr", "b-0123456789abcdef.zarr"):
        scattered(folder / "cache" / name)
    for n_files in range(1, 8):
        left_by_dead_writer(needed, *numbered(9), n_files)
        shutil.copytree(folder / "cache" / name, folder / "cache" / dead_name(f"{name}.{TRASH}"))
    request = {"request": {}, "spec": made.spec.model_dump(mode="json"), "n_features": D, "weights_file": None}
    (folder / "runs" / "toy").mkdir(parents=True)
    write_sealed(folder / "runs" / "toy" / "embeddings.lock.json", {"embeddings": [request]})


def test_clearing_up_that_is_killed_loses_nothing_and_the_next_one_ends_it(home: Path) -> None:
    found = []
    with_leftovers(home / "prepared")
    (needed,) = (path.name for path in (home / "prepared" / "cache").glob("toy-*"))
    for folder in killed_in(lambda folder: (clearing, folder), home / "prepared", home):
        cache = folder / "cache"
        found.append(len(list(cache.iterdir())))
        for place in cache.glob("[!.]*.zarr"):  # what is in sight is whole, though it may be about to go
            n_rows = 40 if place.name == needed else N_ROWS
            assert check(place).is_whole
            assert look(open_store(place), number_bytes(n_rows)) == n_rows
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            gc()
        assert [path.name for path in cache.iterdir()] == [needed]
        assert look(open_store(cache / needed), number_bytes(40)) == 40
    print(f"files and folders after each kill: {sorted(found)}")
    assert len(found) == N_KILLS
