"""Extraction: every image has one outcome, and one vector whatever happened around it."""

import json
import os
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from featx import extract
from featx.embeddings import runtimes
from featx.embeddings.engine import Runner
from featx.embeddings.extract import Extraction
from featx.embeddings.read import locked_embeddings, read_embeddings
from featx.errors import DataError, DeviceError, UnknownNameError, WeightsError
from featx.networks.backbones import backbone
from featx.specs.extraction import EngineSpec
from featx.storage.store import EmbeddingStore
from featx.study.study import HAS_EMBEDDING, Study

PLACES = '\n[paths]\ncache = "cache"\nruns = "runs"\n'
OUTCOMES = ("embedded", "cached", "duplicate", "unreadable", "missing", "ignored")


@pytest.fixture
def recipe(toy_home: Path) -> Path:
    """The toy recipe, its results beside it wherever it is run from."""
    file = toy_home / "featx.toml"
    file.write_text(file.read_text() + PLACES)
    return file


def copied(recipe: Path, name: str, change: Callable[[str], str] = str) -> Path:
    """Copy a home without its results, its recipe changed."""
    home = recipe.parent / name
    shutil.copytree(recipe.parent / "images", home / "images")
    (home / "featx.toml").write_text(change(recipe.read_text()))
    return home / "featx.toml"


def vectors(recipe: Path) -> dict[str, bytes]:
    """All that the cache has for a recipe: id → the bytes of its row."""
    study = Study.open(recipe)
    ids = study.outcomes.loc[study.outcomes["outcome"].isin(HAS_EMBEDDING), "id"].to_numpy(object)
    rows = read_embeddings(study, ids, locked_embeddings(study))
    return {name: row.tobytes() for name, row in zip(rows.ids, rows.x, strict=True)}


def cache_state(recipe: Path) -> dict[str, tuple[int, bytes]]:
    """All files of the stores; the remembered digests are no embeddings."""
    files = (path for path in (recipe.parent / "cache").glob("*.zarr/**/*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def outcome_of(recipe: Path) -> dict[str, str]:
    return dict(Study.open(recipe).outcomes.set_index("id")["outcome"])


def counts(done: Extraction) -> dict[str, int]:
    return {name: number for name in OUTCOMES if (number := getattr(done, f"n_{name}"))}


def test_a_clean_extraction_embeds_every_image_once(recipe: Path) -> None:
    done = extract(recipe)

    assert (done.n_found, counts(done), done.failures) == (48, {"embedded": 48}, [])
    assert done.parts == {"train": 26, "val": 11, "test": 11}
    assert [one["n_features"] for one in done.embeddings] == [8]
    assert len(set(vectors(recipe).values())) == 48


def test_each_broken_file_has_its_outcome_and_shifts_no_row(recipe: Path) -> None:
    extract(recipe)
    clean = vectors(recipe)
    broken = copied(recipe, "broken")
    dark, light = broken.parent / "images" / "dark", broken.parent / "images" / "light"
    (dark / "000.png").write_text("no picture")
    (dark / "005.png").write_bytes(b"")
    (light / "003.png").write_bytes((light / "003.png").read_bytes()[:300])
    (light / "0035.png").symlink_to("nowhere.png")
    shutil.copy(dark / "007.png", dark / "0035.png")
    shutil.copy(dark / "000.png", light / "zz.png")

    done = extract(broken)

    assert counts(done) == {"embedded": 45, "duplicate": 1, "unreadable": 5}
    assert sum(counts(done).values()) == done.n_found == 51
    unreadable = {"dark/000.png", "dark/005.png", "light/003.png", "light/0035.png", "light/zz.png"}
    outcomes = outcome_of(broken)
    assert {name for name, outcome in outcomes.items() if outcome == "unreadable"} == unreadable
    assert outcomes["dark/007.png"] == "duplicate"
    assert {name for name, *_ in done.failures} == unreadable
    assert all(reason for *_, reason in done.failures)
    expected = {name: row for name, row in clean.items() if name not in unreadable}
    assert vectors(broken) == expected | {"dark/0035.png": clean["dark/007.png"]}


def test_extracting_twice_writes_nothing(recipe: Path) -> None:
    extract(recipe)
    before = cache_state(recipe)

    done = extract(recipe)

    assert counts(done) == {"cached": 48}
    assert done.images_per_s == 0
    assert cache_state(recipe) == before


def settle(recipe: Path) -> None:
    """Make the images an hour old: only of files that have settled is the digest remembered."""
    for image in (recipe.parent / "images").rglob("*.png"):
        state = image.stat()
        os.utime(image, ns=(state.st_atime_ns, state.st_mtime_ns - 3_600_000_000_000))


def test_an_image_is_read_again_when_its_file_changes_and_not_before(recipe: Path) -> None:
    settle(recipe)
    assert [extract(recipe).n_read for _ in range(2)] == [48, 0]
    image = recipe.parent / "images" / "dark" / "003.png"
    Image.new("RGB", (5, 5), "red").save(image)

    done = extract(recipe)

    assert (done.n_read, counts(done)) == (1, {"embedded": 1, "cached": 47})


def test_labelling_anew_recomputes_nothing(recipe: Path) -> None:
    extract(recipe)
    before, rows = cache_state(recipe), vectors(recipe)
    images = recipe.parent / "images"
    (images / "light").rename(images / "bright")
    (images / "dark" / "000.png").rename(images / "bright" / "extra.png")

    done = extract(recipe)

    assert counts(done) == {"cached": 48}
    assert cache_state(recipe) == before
    assert sorted(vectors(recipe).values()) == sorted(rows.values())
    assert vectors(recipe)["bright/extra.png"] == rows["dark/000.png"]


def test_an_interrupted_extraction_keeps_what_is_done_and_goes_on_bit_by_bit(recipe: Path) -> None:
    clean = copied(recipe, "clean")
    extract(clean)

    def impatient(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "embed" and done == 33:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        extract(recipe, progress=impatient)
    done = extract(recipe)

    assert counts(done) == {"embedded": 16, "cached": 32}
    assert vectors(recipe) == vectors(clean)


TABLE = """
[data]
source = "."
labels = {{ file = "labels.csv" }}
[targets.class]
column = "class"
[split]
test = 0
val = 0
[[embedding]]
backbone = "toy"
weights = "none"
[paths]
cache = "{home}/cache"
runs = "{home}/runs"
"""


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(48)), first=st.integers(2, 47))
def test_an_image_has_one_vector_in_any_order_company_and_number_of_extractions(
    recipe: Path, order: list[int], first: int
) -> None:
    extract(recipe)
    clean = vectors(recipe)
    names = [f"images/{sorted(clean)[at]}" for at in order]
    table = pd.DataFrame({"path": names, "class": ["a", "b"] * 24})
    with TemporaryDirectory() as home:
        file = recipe.parent / "shuffled.toml"
        file.write_text(TABLE.format(home=home))
        for rows in (table[:first], table):
            rows.to_csv(recipe.parent / "labels.csv", index=False)
            done = extract(file)
        assert counts(done) == {"embedded": 48 - first, "cached": first}
        assert vectors(file) == {f"images/{name}": row for name, row in clean.items()}


def test_taps_filled_in_one_pass_equal_those_filled_alone(recipe: Path) -> None:
    grid = {"0.0": '["0.0", "last"]', "avg": '["avg", "gem"]'}
    change = 'weights = "none"\ntap = {}\npool = {}'
    together = copied(recipe, "all", lambda text: text.replace('weights = "none"', change.format(*grid.values())))

    done = extract(together)

    assert (counts(done), len(done.embeddings)) == ({"embedded": 48}, 4)
    study = Study.open(together)
    for number, one in enumerate(study.locked):
        said = change.format(f'"{one.request.tap}"', f'"{one.request.pool}"')
        alone = copied(recipe, f"alone{number}", lambda text, said=said: text.replace('weights = "none"', said))
        extract(alone)
        ids = study.manifest.ids
        x = read_embeddings(study, ids, [one]).x
        assert x.tobytes() == b"".join(vectors(alone)[name] for name in ids)


def test_a_tap_that_is_added_later_leaves_the_others_alone(recipe: Path) -> None:
    extract(recipe)
    before, rows = cache_state(recipe), vectors(recipe)
    recipe.write_text(recipe.read_text().replace('weights = "none"', 'weights = "none"\npool = ["avg", "max"]'))

    done = extract(recipe)

    assert counts(done) == {"embedded": 48}
    after = cache_state(recipe)
    assert {file: after[file] for file in before} == before
    assert len({file.split(".zarr")[0] for file in after}) == 2
    assert all(row.startswith(rows[name]) for name, row in vectors(recipe).items())


def test_an_image_for_which_the_network_gives_nan_is_an_outcome(recipe: Path) -> None:
    state = {name: torch.zeros_like(tensor) for name, tensor in backbone("toy").build().state_dict().items()}
    state["0.0.weight"] += 1.5e37  # white overflows to infinity, and 0 · ∞ is not a number; noise around 200 does not
    torch.save(state, recipe.parent / "toy.pth")
    recipe.write_text(recipe.read_text().replace('"none"', '"toy.pth"'))
    white = recipe.parent / "images" / "dark" / "0005.png"
    Image.new("RGB", (20, 20), "white").save(white)

    done = extract(recipe)

    assert counts(done) == {"embedded": 48, "unreadable": 1}
    assert done.failures == [("dark/0005.png", "unreadable", "the network gives values that are not finite")]
    assert np.isfinite(np.frombuffer(b"".join(vectors(recipe).values()), np.float32)).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backbones": ["toyy"]}, ValueError, "no backbone is called 'toyy'; did you mean 'toy'"),
        ({"backbones": ["torchvision:toyy"]}, UnknownNameError, "torchvision has no network called 'toyy'"),
        ({"backbones": ["toy"]}, WeightsError, r"toy\.pth"),
        ({"engine": EngineSpec(device="banana")}, DeviceError, "no device is called 'banana'"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_left(
    recipe: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        extract(recipe, **options)

    assert not cache_state(recipe)


def test_images_of_which_none_can_be_read_are_an_error(recipe: Path) -> None:
    for image in (recipe.parent / "images").rglob("*.png"):
        image.write_bytes(b"")

    with pytest.raises(DataError, match=r"none of 48 images can be read, first 'dark/000.png': unreadable, is empty"):
        extract(recipe)


def test_a_segment_says_what_it_was_made_by_and_not_what_was_asked_for(recipe: Path) -> None:
    extract(recipe, engine=EngineSpec(device="auto", runtime="onnx"))
    (segment,) = recipe.parent.glob("cache/*.zarr/segment-*/zarr.json")
    made_by = json.loads(segment.read_text())["attributes"]["featx"]
    assert made_by["device"] == "cpu"
    assert made_by["runtime"] == f"onnxruntime {version('onnxruntime')}"


@pytest.fixture
def rows_of_32(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make batches of 32 images on the CPU, until the function that it gives is called."""
    usual = dict(runtimes.ROWS)
    monkeypatch.setitem(runtimes.ROWS, "cpu", 32)
    return lambda: monkeypatch.setitem(runtimes.ROWS, "cpu", usual["cpu"])


def device_rows(recipe: Path) -> list[int | None]:
    """How large the batches are that each store's rows come from."""
    study = Study.open(recipe)
    return [EmbeddingStore(study.store_path(one.spec), one.spec, one.n_features).device_rows for one in study.locked]


@pytest.mark.parametrize("runtime", ["torch", "onnx", "openvino"])
def test_an_extraction_that_goes_on_keeps_to_the_batches_of_what_is_stored(
    recipe: Path, rows_of_32: Callable[[], None], runtime: Any
) -> None:
    engine = EngineSpec(device="cpu", runtime=runtime)
    clean = copied(recipe, "clean")
    extract(clean, engine=engine)

    def impatient(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "embed" and done == 34:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        extract(recipe, engine=engine, progress=impatient)
    rows_of_32()
    assert runtimes.ROWS["cpu"] == 8
    done = extract(recipe, engine=engine)

    assert counts(done) == {"embedded": 16, "cached": 32}
    assert device_rows(recipe) == device_rows(clean) == [32]
    assert vectors(recipe) == vectors(clean)


def test_a_tap_that_is_added_to_stored_ones_has_their_batches(recipe: Path, rows_of_32: Callable[[], None]) -> None:
    extract(recipe)
    rows_of_32()
    recipe.write_text(recipe.read_text().replace('weights = "none"', 'weights = "none"\npool = ["avg", "max"]'))

    done = extract(recipe)

    assert counts(done) == {"embedded": 48}
    assert device_rows(recipe) == [32, 32]


def test_stores_of_other_batches_are_filled_apart(recipe: Path, rows_of_32: Callable[[], None]) -> None:
    text = recipe.read_text()
    extract(recipe)
    rows_of_32()
    recipe.write_text(text.replace('weights = "none"', 'weights = "none"\npool = "max"'))
    extract(recipe)
    Image.new("RGB", (5, 5), "red").save(recipe.parent / "images" / "dark" / "new.png")
    recipe.write_text(text.replace('weights = "none"', 'weights = "none"\npool = ["avg", "max"]'))

    done = extract(recipe)

    assert counts(done) == {"embedded": 1, "cached": 48}
    rows = {one.request.pool: found for one, found in zip(Study.open(recipe).locked, device_rows(recipe), strict=True)}
    assert rows == {"avg": 32, "max": 8}


def test_an_extraction_that_memory_does_not_do_for_stores_the_batches_that_it_came_to(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = runtimes.Portable._build_runner

    def made(self: runtimes.Portable, how: runtimes.Execution, rows: int) -> Runner:
        if rows > 3:
            raise MemoryError
        return real(self, how, rows)

    monkeypatch.setattr(runtimes.Portable, "_build_runner", made)

    assert counts(extract(recipe)) == {"embedded": 48}
    assert device_rows(recipe) == [2]


@pytest.mark.parametrize("views", ["flip", "five-crops"])
def test_joins_filled_in_one_pass_equal_those_filled_alone(recipe: Path, views: str) -> None:
    def joined(name: str, *joins: str) -> Path:
        sections = [f'weights = "none"\nviews = "{views}"\njoin = "{join}"\n' for join in joins]
        said = '\n[[embedding]]\nbackbone = "toy"\n'.join(sections)
        return copied(recipe, name, lambda text: text.replace('weights = "none"', said))

    together = joined("both", "mean", "stack")

    done = extract(together)

    n_views = {"flip": 2, "five-crops": 5}[views]
    assert (counts(done), [one["n_features"] for one in done.embeddings]) == ({"embedded": 48}, [8, 8 * n_views])
    study = Study.open(together)
    for one in study.locked:
        alone = joined(f"alone-{one.request.join}", one.request.join)
        extract(alone)
        x = read_embeddings(study, study.manifest.ids, [one]).x
        assert x.tobytes() == b"".join(vectors(alone)[name] for name in study.manifest.ids)
