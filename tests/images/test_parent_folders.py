"""Names of the folders that hold an image: ``!`` and backslashes belong to names, except after that of an archive."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from featx.images.init import init
from featx.images.parent_folders import list_parent_folders
from featx.images.readers import read_source
from featx.images.unlabelled import list_images
from featx.locations import label_file_states
from featx.specs.data import LabelsSpec, ReaderSpec
from tests.layouts import PNGS, on_disk, write_zip

NAMES = ("dog/cat!1.png", "dog/cat\\2.png", "dog/50%25.png", "do!g/3.png")
FOLDERS = ["do!g", "dog", "dog", "dog"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def innermost_folders(*places: str) -> list[str]:
    """Return the sorted names of the innermost folders of the images at some places."""
    images = list_images(places)
    return sorted(list_parent_folders(*pair)[-1] for pair in zip(images.ids, images.uris, strict=True))


def test_marks_in_names_of_files_separate_no_folders() -> None:
    on_disk(Path("photos"), dict(zip(NAMES, PNGS, strict=False)))
    assert innermost_folders("photos") == FOLDERS
    assert innermost_folders(*(f"photos/{name}" for name in NAMES)) == FOLDERS
    assert innermost_folders("photos/dog", "photos/do!g") == FOLDERS
    assert innermost_folders("photos/do!g") == ["do!g"]


def test_members_of_archives_lie_in_their_folders_there() -> None:
    files = {name.replace("\\", "-"): png for name, png in zip(NAMES, PNGS, strict=False)}
    Path("sub").mkdir()
    for archive in ("a.zip", "sub/b!c.zip"):
        write_zip(Path(archive), files)
        assert innermost_folders(archive) == FOLDERS
    assert innermost_folders("a.zip", "sub/b!c.zip") == sorted(2 * FOLDERS)
    assert innermost_folders("a.zip!dog") == ["dog"] * 3


def test_rows_of_arrays_lie_in_their_dataset() -> None:
    with h5py.File("tiles.h5", "w") as file:
        for name in ("cat", "dog"):
            file[name] = np.zeros((2, 8, 8, 3), np.uint8)
    assert innermost_folders("tiles.h5") == ["cat", "cat", "dog", "dog"]


def test_a_path_that_is_not_unicode_has_its_folder() -> None:
    folder = os.fsencode(Path.cwd()) + b"/dog\xe9"
    os.mkdir(folder)  # noqa: PTH102 (a path of bytes)
    with open(folder + b"/0.png", "wb") as file:  # noqa: PTH123 (a path of bytes)
        file.write(PNGS[0])
    images = list_images(["."])
    assert list_parent_folders(images.ids[0], images.uris[0]) == ["dog\\xe9", "dog\\xe9"]


def test_only_urls_of_the_web_are_decoded() -> None:
    assert list_parent_folders("", "https://site.org/caf%C3%A9/0.png") == ["café"]
    assert list_parent_folders("", "s3://bucket/50%25/0.png") == ["50%25"]


def test_marks_in_names_tell_no_part_of_a_split() -> None:
    files = {f"train!{number}.png": png for number, png in enumerate(PNGS)}
    on_disk(Path("photos"), files | {f"train!{number}.txt": b"1" for number in range(len(PNGS))})
    listing = read_source(ReaderSpec(source="photos", reader="annotations"), Path())
    assert "split" not in listing.manifest.labels
    assert len(listing.manifest) == len(PNGS)


def test_uses_of_files_with_marks_in_their_names_are_known() -> None:
    files = {f"{name}/{number}.png": png for name in ("cat", "dog") for number, png in enumerate(PNGS)}
    uses = {}
    for name in ("loose.png", "lo!ose.png"):
        on_disk(Path(f"photos-{name}"), {**files, name: PNGS[0]})
        uses[name] = init(f"photos-{name}", recipe="featx.toml", force=True).inventory.uses
    assert uses["loose.png"] == uses["lo!ose.png"]


def test_a_changed_label_file_with_a_mark_in_its_name_is_noticed() -> None:
    on_disk(Path("photos"), {"labels!2.csv": b"path,y\n"})
    data = ReaderSpec(source="photos", labels=LabelsSpec(file="labels!2.csv"))
    (state,) = label_file_states(data, Path())
    assert state[0].endswith("labels!2.csv")
