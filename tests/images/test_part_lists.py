"""Lists of the images of train, val and test are the given split, beside class folders or another table."""

from pathlib import Path

import pytest

from featx.errors import DataError
from featx.images.init import init
from featx.images.readers import read_source
from featx.specs.recipe import load_recipe
from tests.images.listings import png, zipped
from tests.images.test_public_layouts import draw, recognised, write

CLASSES = ("cat", "dog")
NAMES = [f"{name}/{i}.png" for name in CLASSES for i in range(12)]


def write_lists(folder: Path, form: str, suffix: str = ".txt", **parts: list[str]) -> None:
    """Write one list for each part, whose lines have the form `form` of the path."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, names in parts.items():
        lines = [form.format(path=name, stem=name.removesuffix(".png"), base=name.split("/")[1]) for name in names]
        (folder / f"{part}{suffix}").write_text("\n".join(lines) + "\n")


FORMS = {
    "paths": "{path}",
    "paths without endings": "{stem}",
    "paths from above": "images/{path}",
    "paths of another machine": "/home/ada/pets/images/{path}",
    "paths of Windows": ".\\images\\{path}",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("home_of_lists", ["d", "d/meta", "d/images"])
def test_lists_beside_class_folders_are_the_split(form: str, home_of_lists: str, home: Path) -> None:
    draw(home / "d" / "images", *NAMES)
    write_lists(home / home_of_lists, FORMS[form], train=NAMES[::2], test=NAMES[1::2])
    recognition, recipe, listing = recognised(home / "d")
    assert (recognition.reader, recognition.parts) == ("folder", {"train": 12, "test": 12})
    assert (recipe.split.column, recognition.classes) == ("split", dict.fromkeys(CLASSES, 12))
    assert [name for name, part in listing.manifest.column("split").items() if part == "test"] == sorted(
        NAMES[1::2], key=listing.manifest.ids.tolist().index
    )
    assert sum("lists the images of parts" in sentence for sentence in recognition.choice) == 2
    assert recognition.warnings == []


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"train": NAMES[::3], "val": NAMES[1::3], "test": NAMES[2::3]}, {"train": 8, "val": 8, "test": 8}),
        ({"train_val_list": NAMES[::2], "test_list": NAMES[1::2]}, {"train": 12, "test": 12}),
        ({"trainval": NAMES[::2], "train": NAMES[::4], "val": NAMES[2::4], "test": NAMES[1::2]},
         {"test": 12, "train": 6, "val": 6}),
        ({"test": NAMES[::4]}, {"train": 18, "test": 6}),
        ({"testing_list": NAMES[::4], "validation_list": NAMES[1::4]}, {"train": 12, "test": 6, "val": 6}),
    ],
)  # fmt: skip
def test_lists_may_have_other_names_and_parts(
    parts: dict[str, list[str]], expected: dict[str, int], home: Path
) -> None:
    draw(home / "d", *NAMES)
    write_lists(home / "d", "{path}", **parts)
    assert recognised(home / "d")[0].parts == expected


def test_images_in_no_list_are_left_out_and_counted(home: Path) -> None:
    draw(home / "d", *NAMES)
    write_lists(home / "d", "{path}", train=NAMES[:8] + NAMES[12:18], test=NAMES[18:])
    recognition, _, listing = recognised(home / "d")
    assert (recognition.n_found, recognition.ignored["is in no list of parts"]) == (20, 4)
    assert "4 images are in no list of parts and are left out" in listing.warnings


def test_lists_with_labels_are_tables(home: Path) -> None:
    draw(home / "d", *NAMES)
    lines = {part: [(name, int("dog" in name)) for name in names] for part, names in
             (("train", NAMES[::2]), ("test", NAMES[1::2]))}  # fmt: skip
    for part, rows in lines.items():
        write(home / "d", f"{part}.txt", rows, " ")
    recognition = recognised(home / "d")[0]
    assert (recognition.reader, recognition.classes) == ("table", {"0": 12, "1": 12})
    assert recognition.parts == {"train": 12, "test": 12}


def test_lists_beside_a_table_are_the_split(home: Path) -> None:
    draw(home / "d", *(f"all/{i}.png" for i in range(24)))
    write(home / "d", "labels.csv", [("file", "y"), *((f"{i}.png", CLASSES[i % 2]) for i in range(24))])
    for part, numbers in (("train", range(16)), ("test", range(16, 24))):
        (home / "d" / f"{part}.txt").write_text("\n".join(f"{i}.png" for i in numbers))
    recognition = recognised(home / "d")[0]
    assert (recognition.reader, recognition.parts) == ("table", {"train": 16, "test": 8})


def test_a_table_of_parts_beside_class_folders_is_the_split(home: Path) -> None:
    draw(home / "d" / "images", *NAMES)
    rows = [(f"images/{name}", ["Training", "Test"][i % 2]) for i, name in enumerate(NAMES)]
    write(home / "d", "split.csv", [("path", "subset"), *rows])
    recognition = recognised(home / "d")[0]
    assert (recognition.reader, recognition.parts) == ("folder", {"train": 12, "test": 12})


def test_lists_whose_paths_have_different_forms_are_not_used(home: Path) -> None:
    draw(home / "d", *NAMES)
    write_lists(home / "d", "{path}", train=NAMES[::2])
    write_lists(home / "d", "{stem}", test=NAMES[1::2])
    recognition, recipe, _ = recognised(home / "d")
    assert (recipe.data.parts, recognition.parts) == (None, {})
    assert any("list the images of parts and are not used" in warning for warning in recognition.warnings)


def test_an_image_in_two_lists_is_an_error(home: Path) -> None:
    draw(home / "d", *NAMES)
    write_lists(home / "d", "{path}", train=NAMES[::2], test=NAMES[1::2] + NAMES[:1])
    with pytest.raises(DataError, match=r"data\.parts: 'cat/0\.png' is in 'te?[rs].*' and in 'te?[rs]"):
        init(home / "d")


def test_lists_in_an_archive_are_read(home: Path) -> None:
    files = {name: png(i % 6) for i, name in enumerate(NAMES)}
    lists = {"train.txt": "\n".join(NAMES[::2]).encode(), "test.txt": "\n".join(NAMES[1::2]).encode()}
    zipped(home / "d.zip", files | lists)
    assert recognised(home / "d.zip")[0].parts == {"train": 12, "test": 12}


def test_lists_of_other_images_are_an_error_in_a_recipe(home: Path) -> None:
    draw(home / "d", *NAMES)
    write_lists(home / "d", "{path}", train=NAMES[::2], test=NAMES[1::2])
    init(home / "d")
    write_lists(home / "d", "x{path}", train=NAMES[::2], test=NAMES[1::2])
    recipe = load_recipe()
    with pytest.raises(DataError, match=r"data\.parts: no image is in a list"):
        read_source(recipe.data, recipe.folder)
