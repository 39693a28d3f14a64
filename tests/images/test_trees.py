"""The files of a tree and what is worked out about all of them: columns equal what each file says about itself.

Modules: images.trees.
"""

import gc
from pathlib import Path

import pytest

from featx.errors import DataError
from featx.images.init import init
from featx.images.names import file_suffix, is_image_name
from featx.images.sources import shared_listings
from featx.images.trees import Entries, Entry, FolderTree
from tests.random_trees import write_tree

NAMES = [
    "cat/0.PNG",
    "cat/.hidden.png",
    "cat/~0.jpg",
    "cat/.jpg",
    "a.b/c",
    "x.",
    ".png",
    "dog/s.png",
    "dog/SYNOPHOTO_THUMB_M.jpg",
]


@pytest.fixture(params=[*range(8), "names"])
def entries(request: pytest.FixtureRequest, tmp_path: Path) -> Entries:
    """Files of random trees, and files with names at the border of a rule."""
    if request.param == "names":
        ignored = Entry("cat/@eaDir/1.png", "/cat/@eaDir/1.png", None, "ignored", "is a system file")
        return Entries([*(Entry(name, f"/{name}") for name in NAMES), ignored])
    write_tree(tmp_path / "source", request.param)
    return FolderTree(str(tmp_path / "source")).entries()


def test_columns_equal_what_each_file_says(entries: Entries) -> None:
    assert entries.suffixes == [file_suffix(entry.name) for entry in entries]
    assert entries.images == [entry for entry in entries if entry.is_image]
    assert entries.others == [entry for entry in entries if not entry.is_image]
    assert entries.image_names == [entry.name for entry in entries if is_image_name(entry.name)]
    assert [entries.folders[code] for code in entries.folder_codes] == [entry.folder for entry in entries]
    assert len(entries.folders) == len(set(entries.folders))


def test_readable_files_are_found_by_their_suffixes(entries: Entries) -> None:
    for suffix in {".csv", ".json", *entries.suffixes} - {".png", ".jpg", ".bmp", ".tif", ".gif"}:
        expected = [entry for entry in entries if file_suffix(entry.name) == suffix and not entry.outcome]
        assert entries.readable(suffix) == expected


def test_a_selection_of_all_files_is_the_same_list(entries: Entries) -> None:
    assert entries.where([True] * len(entries)) is entries
    is_first = [row == 0 for row in range(len(entries))]
    assert entries.where(is_first) == entries[:1]


def test_recognition_pauses_the_garbage_collector_and_starts_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with shared_listings():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(DataError, match="found no files"):
        init(tmp_path)
    assert gc.isenabled()
