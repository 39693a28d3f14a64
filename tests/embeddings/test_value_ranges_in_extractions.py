"""Extractions report clipped values, and refuse images whose range or channels are not known."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

import featx
from featx import extract
from featx.specs.extraction import ClusterSpec
from featx.study.study import Study
from tests.conftest import TOY_RECIPE
from tests.embeddings.clusters import PRELOAD

PLACES = '\n[paths]\ncache = "cache"\nruns = "runs"\n'


@pytest.fixture
def recipe(home: Path) -> Path:
    """Return a recipe over 16 images with values of 12 bits; two of them have brighter pixels."""
    values = np.random.default_rng(0).integers(0, 4096, (16, 32, 32)).astype(np.uint16)
    values[3, 0, 0], values[12, 5, 5] = 5000, 4096
    for number, image in enumerate(values):
        folder = home / "images" / ("dark" if number < 8 else "light")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:03}.png")
    file = home / "featx.toml"
    file.write_text(TOY_RECIPE + PLACES + "\n[decoding]\nvalue_range = [0, 4095]\n")
    return file


def clipping(warnings: list[str]) -> list[str]:
    """Return the warnings about clipped values."""
    return [warning for warning in warnings if "clipped" in warning]


WARNING = (
    "2 images hold values outside decoding.value_range (0 to 4095), which are clipped: they range from 0 to 5000, "
    "first 'dark/003.png'; set a wider range if they matter"
)


def test_clipped_values_are_counted(recipe: Path) -> None:
    first = extract(recipe)
    assert (first.n_embedded, first.n_unreadable) == (16, 0)
    assert clipping(first.warnings) == [WARNING]
    # Cached images are not decoded again.
    assert clipping(extract(recipe).warnings) == []
    recipe.write_text(recipe.read_text().replace("4095", "5000"))
    wider = extract(recipe)
    assert wider.n_embedded == 16
    assert clipping(wider.warnings) == []


def test_clipped_values_are_counted_by_dask_workers(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__PRELOAD", PRELOAD)
    monkeypatch.setenv("PYTHONPATH", str(Path(featx.__file__).parents[1]))
    assert clipping(extract(recipe, cluster=ClusterSpec(workers_local=1)).warnings) == [WARNING]


def test_clipped_values_are_counted_without_embeddings(recipe: Path) -> None:
    section = '[[finetune]]\nbackbone = "toy"\nweights = "none"\nepochs = 2\nstrategy = "head"\n'
    text = recipe.read_text()
    recipe.write_text(text[: text.index("[[embedding]]")] + section + text[text.index("[paths]") :])
    assert clipping(extract(recipe).warnings) == [WARNING]


def test_images_of_an_unknown_range_are_unreadable(recipe: Path) -> None:
    file = recipe.parent / "images/dark/000.png"
    Image.fromarray(np.full((32, 32), -7, dtype=np.int32)).save(file, "TIFF")
    recipe.write_text(recipe.read_text().replace("value_range = [0, 4095]", ""))
    extraction = extract(recipe)
    reason = "holds values from -7 to -7 of int32; set decoding.value_range = [low, high]"
    assert extraction.failures == [("dark/000.png", "unreadable", reason)]


def test_arrays_with_four_channels_need_bands(home: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 4), dtype=np.uint8)
    with h5py.File("tiles.h5", "w") as file:
        file["images"], file["labels"] = values, np.arange(8) % 2
    featx.init("tiles.h5")
    recipe = Path("featx.toml")
    recipe_text = recipe.read_text().replace('"efficientnet_lite0"', '"toy"\nweights = "none"') + PLACES
    recipe.write_text(recipe_text.replace("bands = [0, 1, 2]", ""))
    extraction = extract(recipe)
    reason = "has 4 channels without names; choose 1 or 3 by position, such as decoding.bands = [0, 1, 2]"
    assert extraction.failures == [(f"tiles.h5#{row}", "unreadable", reason) for row in range(8)]
    recipe.write_text(recipe_text)
    assert extract(recipe).n_embedded == 8
    assert Study.open(recipe).recipe.decoding.bands == (0, 1, 2)
