"""A table is an annotation of an image only if many images have a table of their name."""

from pathlib import Path

import pytest

from featx.images.init import init
from featx.images.sources import open_tree
from featx.images.table_listing import (
    ANNOTATION_TABLE_USE,
    MAX_TABLES,
    OMITTED_TABLE_USE,
    explain_unread_tables,
    list_annotation_tables,
    list_tables,
)
from tests.images.test_public_layouts import draw, recognised, write

ROWS = [("file", "y"), *((f"images/{i}.png", ("cat", "dog")[i % 2]) for i in range(24))]


@pytest.mark.parametrize("picture", ["labels.png", "figures/labels.png", "images/labels.png"])
def test_a_picture_with_the_name_of_the_table_does_not_hide_it(picture: str, home: Path) -> None:
    draw(home / "d", *(f"images/{i}.png" for i in range(24)), picture)
    write(home / "d", "labels.csv", ROWS)
    recognition = recognised(home / "d")[0]
    assert (recognition.reader, recognition.n_found, recognition.target) == ("table", 24, "y")


def test_a_table_and_a_picture_of_each_folder_do_not_hide_each_other(home: Path) -> None:
    draw(home / "d", *(f"site{i % 3}/{i}.png" for i in range(24)), *(f"site{i}/metadata.png" for i in range(3)))
    for site in range(3):
        write(home / "d", f"site{site}/metadata.csv", [("file", "y"), (f"{site}.png", "cat")])
    assert list_annotation_tables(open_tree(str(home / "d"))) == frozenset()
    assert list_tables(open_tree(str(home / "d"))) == [f"site{site}/metadata.csv" for site in range(3)]


@pytest.mark.parametrize("folder", ["photos", "boxes"])
def test_tables_of_many_images_are_annotations_that_are_counted(folder: str, home: Path) -> None:
    draw(home / "d", *(f"photos/{i}.png" for i in range(24)))
    for i in range(8):
        write(home / "d", f"{folder}/{i}.csv", [("x", "y"), (3, 4)])
    tree = open_tree(str(home / "d"))
    assert list_annotation_tables(tree) == {f"{folder}/{i}.csv" for i in range(8)}
    assert list_tables(tree) == []
    recognition = init(home / "d", recipe=home / "r.toml")
    assert recognition.inventory.uses[ANNOTATION_TABLE_USE] == 8
    assert recognition.choice[0].endswith("the only tables are 8 annotations of single images")


def test_of_many_tables_those_at_the_top_are_listed(home: Path) -> None:
    draw(home / "d", *(f"images/{i}.png" for i in range(24)))
    for i in range(MAX_TABLES + 1):
        write(home / "d", f"meta/part{i}.csv", ROWS[:2])
    write(home / "d", "labels.csv", ROWS)
    tree = open_tree(str(home / "d"))
    assert list_tables(tree) == ["labels.csv"]
    assert set(explain_unread_tables(tree).values()) == {OMITTED_TABLE_USE}
    (home / "d" / "labels.csv").unlink()
    recognition = init(home / "d", recipe=home / "r.toml")
    assert recognition.inventory.uses[OMITTED_TABLE_USE] == MAX_TABLES + 1
    assert f"{MAX_TABLES + 1} tables are not read, because there are more than 50" in recognition.choice[0]
