"""Extraction gives each image one outcome, and one vector that does not depend on the other images.

Modules: embeddings.outcomes, study.extracted_data, study.extraction_tables.
"""

import json
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
from featx.networks.backbones import get_backbone
from featx.specs.extraction import EngineSpec
from featx.storage.store import EmbeddingStore
from featx.study.extracted_data import HAS_EMBEDDING
from featx.study.study import Study
from tests.image_files import wait_until_settled
from tests.recipes import toy_recipe

PLACES = '\n[paths]\ncache = "cache"\nruns = "runs"\n'
OUTCOMES = ("embedded", "cached", "duplicate", "unreadable", "missing", "ignored")


@pytest.fixture
def recipe(toy_home: Path) -> Path:
    """Return the toy recipe, with its cache and runs beside it."""
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
    """Return id → bytes of the row for all images of a recipe that are in the cache."""
    study = Study.open(recipe)
    ids = study.outcomes.loc[study.outcomes["outcome"].isin(HAS_EMBEDDING), "id"].to_numpy(object)
    rows = read_embeddings(study, ids, locked_embeddings(study))
    return {name: row.tobytes() for name, row in zip(rows.ids, rows.x, strict=True)}


def cache_state(recipe: Path) -> dict[str, tuple[int, bytes]]:
    """Return path → time and content of all files of the stores."""
    files = (path for path in (recipe.parent / "cache").glob("*.zarr/**/*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def outcome_of(recipe: Path) -> dict[str, str]:
    return dict(Study.open(recipe).outcomes.set_index("id")["outcome"])


def counts(extraction: Extraction) -> dict[str, int]:
    return {name: number for name in OUTCOMES if (number := getattr(extraction, f"n_{name}"))}


def test_a_clean_extraction_embeds_every_image_once(recipe: Path) -> None:
    extraction = extract(recipe)

    assert (extraction.n_found, counts(extraction), extraction.failures) == (48, {"embedded": 48}, [])
    assert extraction.parts == {"train": 26, "val": 11, "test": 11}
    assert [embedding["n_features"] for embedding in extraction.embeddings] == [8]
    assert len(set(vectors(recipe).values())) == 48


def test_each_broken_file_has_its_outcome_and_shifts_no_row(recipe: Path) -> None:
    extract(recipe)
    clean_vectors = vectors(recipe)
    broken_recipe = copied(recipe, "broken")
    dark, light = broken_recipe.parent / "images" / "dark", broken_recipe.parent / "images" / "light"
    (dark / "000.png").write_text("no picture")
    (dark / "005.png").write_bytes(b"")
    (light / "003.png").write_bytes((light / "003.png").read_bytes()[:300])
    (light / "0035.png").symlink_to("nowhere.png")
    shutil.copy(dark / "007.png", dark / "0035.png")
    shutil.copy(dark / "000.png", light / "zz.png")

    extraction = extract(broken_recipe)

    assert counts(extraction) == {"embedded": 45, "duplicate": 1, "unreadable": 5}
    assert sum(counts(extraction).values()) == extraction.n_found == 51
    unreadable = {"dark/000.png", "dark/005.png", "light/003.png", "light/0035.png", "light/zz.png"}
    outcomes = outcome_of(broken_recipe)
    assert {name for name, outcome in outcomes.items() if outcome == "unreadable"} == unreadable
    assert outcomes["dark/007.png"] == "duplicate"
    assert {name for name, *_ in extraction.failures} == unreadable
    assert all(reason for *_, reason in extraction.failures)
    expected = {name: row for name, row in clean_vectors.items() if name not in unreadable}
    assert vectors(broken_recipe) == expected | {"dark/0035.png": clean_vectors["dark/007.png"]}


def test_extracting_twice_writes_nothing(recipe: Path) -> None:
    extract(recipe)
    state_before = cache_state(recipe)

    extraction = extract(recipe)

    assert counts(extraction) == {"cached": 48}
    assert extraction.images_per_s == 0
    assert cache_state(recipe) == state_before


def test_an_image_is_read_again_only_when_its_file_changes(recipe: Path) -> None:
    wait_until_settled()
    assert [extract(recipe).n_read for _ in range(2)] == [48, 0]
    image = recipe.parent / "images" / "dark" / "003.png"
    Image.new("RGB", (5, 5), "red").save(image)

    extraction = extract(recipe)

    assert (extraction.n_read, counts(extraction)) == (1, {"embedded": 1, "cached": 47})


def test_new_labels_recompute_nothing(recipe: Path) -> None:
    extract(recipe)
    state_before, rows = cache_state(recipe), vectors(recipe)
    images = recipe.parent / "images"
    (images / "light").rename(images / "bright")
    (images / "dark" / "000.png").rename(images / "bright" / "extra.png")

    extraction = extract(recipe)

    assert counts(extraction) == {"cached": 48}
    assert cache_state(recipe) == state_before
    assert sorted(vectors(recipe).values()) == sorted(rows.values())
    assert vectors(recipe)["bright/extra.png"] == rows["dark/000.png"]


def test_an_interrupted_extraction_continues_with_identical_vectors(recipe: Path) -> None:
    clean_recipe = copied(recipe, "clean")
    extract(clean_recipe)

    def interrupt(stage: str, n_done: int, total: int, note: str = "") -> None:
        if stage == "embed" and n_done == 33:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        extract(recipe, progress=interrupt)
    extraction = extract(recipe)

    assert counts(extraction) == {"embedded": 16, "cached": 32}
    assert vectors(recipe) == vectors(clean_recipe)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(48)), first=st.integers(2, 47))
def test_an_image_has_one_vector_in_any_order_and_any_number_of_runs(
    recipe: Path, order: list[int], first: int
) -> None:
    extract(recipe)
    clean_vectors = vectors(recipe)
    names = [f"images/{sorted(clean_vectors)[number]}" for number in order]
    table = pd.DataFrame({"path": names, "class": ["a", "b"] * 24})
    with TemporaryDirectory() as home:
        file = recipe.parent / "shuffled.toml"
        file.write_text(
            toy_recipe(
                data={"source": ".", "labels": {"file": "labels.csv"}},
                split={"test": 0, "val": 0},
                head=None,
                paths={"cache": f"{home}/cache", "runs": f"{home}/runs"},
            )
        )
        for rows in (table[:first], table):
            rows.to_csv(recipe.parent / "labels.csv", index=False)
            extraction = extract(file)
        assert counts(extraction) == {"embedded": 48 - first, "cached": first}
        assert vectors(file) == {f"images/{name}": row for name, row in clean_vectors.items()}


def test_taps_embedded_together_equal_those_embedded_alone(recipe: Path) -> None:
    grid = {"0.0": '["0.0", "last"]', "avg": '["avg", "gem"]'}
    change = 'weights = "none"\ntap = {}\npool = {}'
    joint_recipe = copied(recipe, "all", lambda text: text.replace('weights = "none"', change.format(*grid.values())))

    extraction = extract(joint_recipe)

    assert (counts(extraction), len(extraction.embeddings)) == ({"embedded": 48}, 4)
    study = Study.open(joint_recipe)
    for number, embedding in enumerate(study.locked):
        settings = change.format(f'"{embedding.request.tap}"', f'"{embedding.request.pool}"')
        single_recipe = copied(
            recipe, f"alone{number}", lambda text, settings=settings: text.replace('weights = "none"', settings)
        )
        extract(single_recipe)
        ids = study.manifest.ids
        x = read_embeddings(study, ids, [embedding]).x
        assert x.tobytes() == b"".join(vectors(single_recipe)[name] for name in ids)


def test_a_tap_that_is_added_later_changes_no_other_store(recipe: Path) -> None:
    extract(recipe)
    state_before, rows = cache_state(recipe), vectors(recipe)
    recipe.write_text(recipe.read_text().replace('weights = "none"', 'weights = "none"\npool = ["avg", "max"]'))

    extraction = extract(recipe)

    assert counts(extraction) == {"embedded": 48}
    state_after = cache_state(recipe)
    assert {file: state_after[file] for file in state_before} == state_before
    assert len({file.split(".zarr")[0] for file in state_after}) == 2
    assert all(row.startswith(rows[name]) for name, row in vectors(recipe).items())


def test_an_image_with_a_nan_vector_is_unreadable(recipe: Path) -> None:
    state = {name: torch.zeros_like(tensor) for name, tensor in get_backbone("toy").build().state_dict().items()}
    state["0.0.weight"] += 1.5e37  # white overflows to infinity, and 0 · ∞ is not a number; noise around 200 does not
    torch.save(state, recipe.parent / "toy.pth")
    recipe.write_text(recipe.read_text().replace('"none"', '"toy.pth"'))
    white = recipe.parent / "images" / "dark" / "0005.png"
    Image.new("RGB", (20, 20), "white").save(white)

    extraction = extract(recipe)

    assert counts(extraction) == {"embedded": 48, "unreadable": 1}
    assert extraction.failures == [("dark/0005.png", "unreadable", "the network gives values that are not finite")]
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
def test_wrong_options_raise_an_error_and_store_nothing(
    recipe: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        extract(recipe, **options)

    assert not cache_state(recipe)


def test_a_source_without_a_readable_image_is_an_error(recipe: Path) -> None:
    for image in (recipe.parent / "images").rglob("*.png"):
        image.write_bytes(b"")

    with pytest.raises(DataError, match=r"none of 48 images can be read, first 'dark/000.png': unreadable, is empty"):
        extract(recipe)


def test_a_segment_names_the_device_and_runtime_that_were_used(recipe: Path) -> None:
    extract(recipe, engine=EngineSpec(device="auto", runtime="onnx"))
    (segment,) = recipe.parent.glob("cache/*.zarr/segment-*/zarr.json")
    made_by = json.loads(segment.read_text())["attributes"]["featx"]
    assert made_by["device"] == "cpu"
    assert made_by["runtime"] == f"onnxruntime {version('onnxruntime')}"


@pytest.fixture
def rows_of_32(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Set the batch size on the CPU to 32 images, and return the function that resets it."""
    default_batch_sizes = dict(runtimes.BATCH_SIZES)
    monkeypatch.setitem(runtimes.BATCH_SIZES, "cpu", 32)
    return lambda: monkeypatch.setitem(runtimes.BATCH_SIZES, "cpu", default_batch_sizes["cpu"])


def device_rows(recipe: Path) -> list[int | None]:
    """Return the batch size of each store."""
    study = Study.open(recipe)
    return [
        EmbeddingStore(study.store_path(embedding.spec), embedding.spec, embedding.n_features).device_rows
        for embedding in study.locked
    ]


@pytest.mark.parametrize("runtime", ["torch", "onnx", "openvino"])
def test_a_continued_extraction_uses_the_batch_size_of_the_store(
    recipe: Path, rows_of_32: Callable[[], None], runtime: Any
) -> None:
    engine = EngineSpec(device="cpu", runtime=runtime)
    clean_recipe = copied(recipe, "clean")
    extract(clean_recipe, engine=engine)

    def interrupt(stage: str, n_done: int, total: int, note: str = "") -> None:
        if stage == "embed" and n_done == 34:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        extract(recipe, engine=engine, progress=interrupt)
    rows_of_32()
    assert runtimes.BATCH_SIZES["cpu"] == 8
    extraction = extract(recipe, engine=engine)

    assert counts(extraction) == {"embedded": 16, "cached": 32}
    assert device_rows(recipe) == device_rows(clean_recipe) == [32]
    assert vectors(recipe) == vectors(clean_recipe)


def test_an_added_tap_uses_the_batch_size_of_the_stored_taps(recipe: Path, rows_of_32: Callable[[], None]) -> None:
    extract(recipe)
    rows_of_32()
    recipe.write_text(recipe.read_text().replace('weights = "none"', 'weights = "none"\npool = ["avg", "max"]'))

    extraction = extract(recipe)

    assert counts(extraction) == {"embedded": 48}
    assert device_rows(recipe) == [32, 32]


def test_stores_with_different_batch_sizes_are_filled_separately(recipe: Path, rows_of_32: Callable[[], None]) -> None:
    text = recipe.read_text()
    extract(recipe)
    rows_of_32()
    recipe.write_text(text.replace('weights = "none"', 'weights = "none"\npool = "max"'))
    extract(recipe)
    Image.new("RGB", (5, 5), "red").save(recipe.parent / "images" / "dark" / "new.png")
    recipe.write_text(text.replace('weights = "none"', 'weights = "none"\npool = ["avg", "max"]'))

    extraction = extract(recipe)

    assert counts(extraction) == {"embedded": 1, "cached": 48}
    rows = {
        embedding.request.pool: n_rows
        for embedding, n_rows in zip(Study.open(recipe).locked, device_rows(recipe), strict=True)
    }
    assert rows == {"avg": 32, "max": 8}


def test_a_batch_size_reduced_for_lack_of_memory_is_stored(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = runtimes.PortableNetwork._build_for_batch

    def build_runner(self: runtimes.PortableNetwork, execution: runtimes.Execution, rows: int) -> Runner:
        if rows > 3:
            raise MemoryError
        return original(self, execution, rows)

    monkeypatch.setattr(runtimes.PortableNetwork, "_build_for_batch", build_runner)

    assert counts(extract(recipe)) == {"embedded": 48}
    assert device_rows(recipe) == [2]


@pytest.mark.parametrize("views", ["flip", "four-flips", "five-crops"])
def test_joins_embedded_together_equal_those_embedded_alone(recipe: Path, views: str) -> None:
    def joined(name: str, *joins: str) -> Path:
        sections = [f'weights = "none"\nviews = "{views}"\njoin = "{join}"\n' for join in joins]
        settings = '\n[[embedding]]\nbackbone = "toy"\n'.join(sections)
        return copied(recipe, name, lambda text: text.replace('weights = "none"', settings))

    joint_recipe = joined("both", "mean", "stack")

    extraction = extract(joint_recipe)

    n_views = {"flip": 2, "four-flips": 4, "five-crops": 5}[views]
    assert (counts(extraction), [embedding["n_features"] for embedding in extraction.embeddings]) == (
        {"embedded": 48},
        [8, 8 * n_views],
    )
    study = Study.open(joint_recipe)
    for embedding in study.locked:
        single_recipe = joined(f"alone-{embedding.request.join}", embedding.request.join)
        extract(single_recipe)
        x = read_embeddings(study, study.manifest.ids, [embedding]).x
        assert x.tobytes() == b"".join(vectors(single_recipe)[name] for name in study.manifest.ids)
