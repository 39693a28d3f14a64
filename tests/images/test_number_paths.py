"""Numbers of a table that name images with zeros in front: matched where unique, and said.

Modules: images.path_columns.
"""

from pathlib import Path

import pytest

from featx.errors import DataError
from featx.images.init import init
from featx.images.readers import read_source
from featx.specs.recipe import load_recipe
from tests.images.test_public_layouts import draw, recognised, write

N = 24
# Cells of the column of ids, and names of the images.
STYLES = {
    "zeros in front": ("{i}", "{i:03}.png"),
    "in a folder": ("{i}", "train/{i:06}.jpg"),
    "with a prefix in the names": ("{i}", "scan_{i:04}.png"),
    "with a prefix in both": ("scan{i}", "scan{i:04}.png"),
    "with an ending": ("{i}.png", "{i:05}.png"),
    "in a path": ("images/{i}.png", "images/{i:05}.png"),
    "of two formats": ("{i}", "{i:03}.{suffix}"),
    "fewer zeros in the names": ("{i:08}", "{i:03}.png"),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("is_named", [False, True], ids=["found", "named"])
def test_numbers_name_images_with_zeros_in_front(style: str, is_named: bool, home: Path) -> None:
    cell, name = STYLES[style]
    names = [name.format(i=i, suffix=["png", "jpg"][i % 2]) for i in range(N)]
    draw(home / "d", *names)
    write(home / "d", "labels.csv", [("age", "id", "y"), *((40, cell.format(i=i), "ab"[i % 2]) for i in range(N))])
    options = {"labels": str(home / "d" / "labels.csv")} if is_named else {}
    recognition, recipe, listing = recognised(home / "d", target="y", **options)
    assert recognition.classes == {"a": 12, "b": 12}
    assert [Path(uri).name for uri in listing.manifest.uris] == [Path(name).name for name in names]
    assert listing.manifest.column("y").tolist() == ["a", "b"] * 12
    assert recipe.data.labels is not None
    assert recipe.data.labels.match == "number"
    assert "names 24 of 24 images, by the numbers of their names such as" in recognition.choice[0]


def test_images_that_numbers_fit_twice_are_an_error(home: Path) -> None:
    draw(home / "d", *(f"{i:03}.png" for i in range(N)), "0007.png")
    write(home / "d", "labels.csv", [("id", "y"), *((i, "ab"[i % 2]) for i in range(N))])
    with pytest.raises(DataError, match=r"1 paths fit several images, first '7' \('0007\.png', '007\.png'\)"):
        init(home / "d")


def test_numbers_that_are_names_as_they_are_are_paths(home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    write(home / "d", "labels.csv", [("id", "y"), *((i, "ab"[i % 2]) for i in range(N))])
    recipe = recognised(home / "d", target="y")[1]
    assert recipe.data.labels is not None
    assert recipe.data.labels.match == "path"


@pytest.mark.parametrize("table", ["sizes", "log"])
def test_other_numbers_name_no_images(table: str, home: Path) -> None:
    draw(home / "d", *(f"{i:03}.png" for i in range(N)))
    rows = {
        "sizes": [("id", "y"), *((100 + i % 5, "ab"[i % 2]) for i in range(N))],
        "log": [("epoch", "y"), *((i, "ab"[i % 2]) for i in range(N))],
    }
    write(home / "d", f"{table}.csv", rows[table])
    assert init(home / "d").reader == "images"


def test_a_number_without_an_image_is_missing(home: Path) -> None:
    draw(home / "d", *(f"{i:03}.png" for i in range(N - 1)))
    write(home / "d", "labels.csv", [("id", "y"), *((i, "ab"[i % 2]) for i in range(N))])
    assert "1 of 24 rows of labels.csv name no image of the source" in init(home / "d", target="y").warnings
    recipe = load_recipe()
    assert list(read_source(recipe.data, recipe.folder).known) == ["23"]
