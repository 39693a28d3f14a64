"""Lists without headers that are joined by their ids, as of CUB-200."""

from pathlib import Path

import pytest

from tests.images.test_public_layouts import draw, recognised, write

N = 24
CLASSES = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross"]


def write_cub(folder: Path, first_id: int = 1, key: str = "{}", **lists: list[tuple[object, ...]]) -> None:
    """Write images in class folders, and lists of CUB-200 with the ids `key`."""
    names = [f"{CLASSES[i % 3]}/{CLASSES[i % 3][4:]}_{i:04}_{7 * i}.jpg" for i in range(N)]
    draw(folder, *(f"images/{name}" for name in names))
    ids = [key.format(first_id + i) for i in range(N)]
    write(folder, "images.txt", list(zip(ids, names, strict=True)), " ")
    write(folder, "image_class_labels.txt", [(ids[i], i % 3 + 1) for i in range(N)], " ")
    write(folder, "train_test_split.txt", [(ids[i], int(i < 15)) for i in range(N)], " ")
    write(folder, "bounding_boxes.txt", [(ids[i], 60.0, 27.0, 325.0, 304.0) for i in range(N)], " ")
    for name, rows in lists.items():
        write(folder, f"{name}.txt", rows, " ")


NAMES = [(code, name) for code, name in enumerate(CLASSES, start=1)]


@pytest.mark.parametrize(("first_id", "key"), [(1, "{}"), (0, "{}"), (5000, "{:06}"), (17, "ab{:04}-cd")])
def test_lists_are_joined_by_their_ids(first_id: int, key: str, home: Path) -> None:
    write_cub(home / "d", first_id, key, classes=NAMES)
    recognition, recipe, listing = recognised(home / "d")
    assert (recognition.reader, recognition.target) == ("id_lists", "class")
    assert (recognition.classes, recognition.parts) == (dict.fromkeys(CLASSES, 8), {"train": 15, "test": 9})
    assert recipe.split.column == "split"
    assert all(name.split("/")[0] == label for name, label in listing.manifest.column("class").items())
    assert recognition.choice[0].endswith("joined by ids")


def test_values_without_names_stay_as_they_are(home: Path) -> None:
    write_cub(home / "d")
    assert recognised(home / "d")[0].classes == {"1": 8, "2": 8, "3": 8}


def test_several_lists_of_labels_are_columns(home: Path) -> None:
    write_cub(
        home / "d", classes=NAMES, image_season_labels=[(i + 1, "summer" if i % 2 else "winter") for i in range(N)]
    )
    recognition = recognised(home / "d", target="season")[0]
    assert (recognition.classes, recognition.candidates["class"]) == ({"summer": 12, "winter": 12}, 3)


def test_class_names_with_spaces_are_read(home: Path) -> None:
    write_cub(home / "d", classes=[(1, "Black footed"), (2, "Laysan, young"), (3, "Sooty")])
    assert list(recognised(home / "d")[0].classes) == ["Black footed", "Laysan, young", "Sooty"]


def test_lists_without_labels_are_not_joined(home: Path) -> None:
    write_cub(home / "d")
    (home / "d" / "image_class_labels.txt").unlink()
    assert recognised(home / "d")[0].reader == "folder"
