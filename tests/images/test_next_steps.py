"""A source that is not recognised gets the nearest way to one that can be read."""

import io
import os
import shlex
from pathlib import Path

import pytest
from PIL import Image

from featx.errors import DataError
from featx.images.init import init
from tests.images.test_public_layouts import draw, write

ROWS = [("file", "y"), *((f"../images/{i}.png", ("cat", "dog")[i % 2]) for i in range(24))]


@pytest.mark.parametrize("is_absolute", [False, True])
def test_the_command_for_a_table_beside_the_folder_of_its_images_works(
    is_absolute: bool, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(home / "my data" / "images", *(f"{i}.png" for i in range(24)))
    write(home / "my data" / "meta", "labels.csv", ROWS)
    monkeypatch.chdir(home)
    source = home / "my data" / "meta" if is_absolute else Path("my data/meta")
    with pytest.raises(DataError, match="the images are in .*images: run featx init ") as error:
        init(source, recipe=home / "r.toml")
    place, option, table = shlex.split(str(error.value).rpartition("featx init ")[2])
    assert option == "--labels"
    assert os.path.isabs(place) == is_absolute  # noqa: PTH117
    recognition = init(place, labels=table, recipe=home / "r.toml")
    assert (recognition.n_found, recognition.target, recognition.warnings) == (24, "y", [])


def test_a_table_of_images_outside_the_source_says_where_they_are(home: Path) -> None:
    draw(home / "d", *(f"images/{i}.png" for i in range(24)), "meta/logo.png")
    write(home / "d" / "meta", "labels.csv", ROWS)
    recognition = init(home / "d" / "meta", recipe=home / "r.toml")
    assert recognition.choice[0].endswith("(first '../images/0.png', which is in ../images)")
    assert recognition.inventory.tables[0].folder == "../images"


@pytest.mark.parametrize(("file_format", "suffix"), [("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp")])
@pytest.mark.parametrize("ending", ["", ".img"])
def test_images_without_the_suffix_of_their_format_are_named(
    ending: str, file_format: str, suffix: str, home: Path
) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, file_format)
    for name in ("cat", "dog"):
        (home / "d" / name).mkdir(parents=True)
        for i in range(3):
            (home / "d" / name / f"{i}{ending}").write_bytes(stream.getvalue())
    text = f"files such as 'cat/0{ending}' are images, .*; rename them, for example to 'cat/0{ending}{suffix}'"
    with pytest.raises(DataError, match=text):
        init(home / "d", recipe=home / "r.toml")


def test_dicom_files_without_a_suffix_are_named_and_texts_are_not(home: Path) -> None:
    (home / "d").mkdir()
    (home / "d" / "IM-0001").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(DataError, match=r"rename them, for example to 'IM-0001\.dcm'"):
        init(home / "d", recipe=home / "r.toml")
    (home / "d" / "IM-0001").write_bytes(b"notes")
    with pytest.raises(DataError, match="expected one sub-folder per class with images"):
        init(home / "d", recipe=home / "r.toml")
