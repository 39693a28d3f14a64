"""Folders of images: their sub-folders are classes, or parts above classes."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.errors import DataError
from featx.images.folder import FolderReader
from featx.images.init import init
from featx.images.readers import Listing, read_source
from featx.specs.data import ReaderSpec
from featx.tables.manifest import Manifest
from tests.images.listings import zipped
from tests.images.test_public_layouts import draw, recognised


def touch(folder: Path, *names: str) -> None:
    """Create empty files: readers do not open them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def listed(folder: Path, drop_unlabelled: bool = False) -> Listing:
    """Return the listing of a folder by its absolute path."""
    return read_source(ReaderSpec(source=str(folder), drop_unlabelled=drop_unlabelled), Path("/elsewhere"))


def read(folder: Path) -> Manifest:
    """Return the manifest of a folder by its absolute path."""
    return listed(folder).manifest


def test_a_sub_folder_is_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "dog/1.png", "cat/2.jpg", "cat/1.png")
    manifest = read(tmp_path)
    assert manifest.ids.tolist() == ["cat/1.png", "cat/2.jpg", "dog/1.png"]
    assert manifest.labels.to_dict("list") == {"class": ["cat", "cat", "dog"]}


@settings(max_examples=15)
@given(names=st.permutations(["b/1.png", "b/0.png", "a/9.png", "a/x/1.png", "c/1.png"]))
def test_the_order_of_writing_does_not_matter(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    touch(folder, *names)
    assert read(folder).ids.tolist() == ["a/9.png", "a/x/1.png", "b/0.png", "b/1.png", "c/1.png"]


def test_nested_images_belong_to_the_top_folders_class(tmp_path: Path) -> None:
    touch(tmp_path, "cat/indoors/red/1.png", "cat/2.png", "dog/1.png")
    assert read(tmp_path).column("class").to_dict() == {
        "cat/2.png": "cat",
        "cat/indoors/red/1.png": "cat",
        "dog/1.png": "dog",
    }


def test_a_stray_image_keeps_the_folders_inside_classes_as_groups(home: Path) -> None:
    folders = [f"{name}/patient{i}" for name in ("cat", "dog") for i in range(6)]
    draw(home / "d", *(f"{folder}/{i}.png" for folder in folders for i in range(3)), "cat/overview.png")
    recognition, recipe, listing = recognised(home / "d")
    assert recipe.split.by == "subfolder"
    subfolders = listing.manifest.column("subfolder")
    assert (subfolders["cat/overview.png"], subfolders["dog/patient1/0.png"]) == ("cat/overview.png", "patient1")
    (warning,) = recognition.warnings
    assert warning.startswith("1 of 37 images are directly in a class folder, first 'cat/overview.png'")


def test_few_images_in_folders_inside_classes_are_no_groups(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "cat/2.png", "cat/old/1.png", "dog/1.png")
    assert list(read(tmp_path).labels) == ["class"]
    (warning,) = listed(tmp_path).warnings
    assert warning.startswith("1 of 4 images are in folders inside the class folders, first 'cat/old/1.png'")


def test_part_folders_above_the_classes_are_a_split_column(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.png", "valid/dog/1.png", "test/cat/deep/1.png")
    labels = read(tmp_path).labels
    assert labels.loc["train/cat/1.png"].tolist() == ["cat", "train"]
    assert labels.loc["valid/dog/1.png"].tolist() == ["dog", "val"]
    assert labels.loc["test/cat/deep/1.png"].tolist() == ["cat", "test"]
    assert list(labels.columns) == ["class", "split"]


def test_a_class_may_have_the_name_of_a_part(tmp_path: Path) -> None:
    touch(tmp_path, "test/1.png", "cat/1.png")
    manifest = read(tmp_path)
    assert manifest.labels.to_dict("list") == {"class": ["cat", "test"]}


@pytest.mark.parametrize("source", ["d", "d/photos", "d.zip"])
def test_a_class_called_train_is_read_as_the_error_says(source: str, home: Path) -> None:
    names = [f"{folder}/{i}.png" for folder in ("bus", "train", "car") for i in range(8)]
    draw(home / (source if source != "d.zip" else "d"), *names)
    if source == "d.zip":
        zipped(home / source, {name: (home / "d" / name).read_bytes() for name in names})
    with pytest.raises(DataError, match=r"out of the source; if 'train' is a class too, run: featx init ") as error:
        init(source.partition("/")[0])
    command = shlex.split(str(error.value).partition("featx init ")[2])
    assert command == [source, "--labels", "{class}/{image}"]
    assert init(command[0], labels=command[2]).classes == {"bus": 8, "car": 8, "train": 8}


def test_hidden_files_hidden_folders_and_other_files_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "cat/.2.png", "cat/notes.txt", "cat/.thumbs/1.png", ".git/1.png", "top.txt")
    listing = listed(tmp_path)
    assert listing.manifest.ids.tolist() == ["cat/1.png"]
    assert listing.ignored == {
        ".git": "is a hidden folder, which is not searched",
        "cat/.2.png": "is hidden: its name begins with '.'",
        "cat/.thumbs": "is a hidden folder, which is not searched",
        "cat/notes.txt": "is not an image: its suffix is '.txt'",
        "top.txt": "is not an image: its suffix is '.txt'",
    }


def test_images_outside_class_folders_have_no_label_or_are_ignored(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "dog/1.png", "top.png")
    assert read(tmp_path).column("class").isna().to_dict() == {"cat/1.png": False, "dog/1.png": False, "top.png": True}
    listing = listed(tmp_path, drop_unlabelled=True)
    assert listing.manifest.ids.tolist() == ["cat/1.png", "dog/1.png"]
    assert listing.ignored == {"top.png": "has no label: it is outside the class folders"}


def test_an_image_between_part_and_class_folders_has_no_label(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.png", "test/dog/1.png", "test/loose.png")
    assert read(tmp_path).column("class").isna().tolist() == [False, True, False]
    assert list(listed(tmp_path, drop_unlabelled=True).ignored) == ["test/loose.png"]


def test_a_class_folder_without_images_is_a_warning(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "dog/1.png", "texts/a.txt")
    (tmp_path / "empty").mkdir()
    assert listed(tmp_path).warnings == (
        "folder 'empty' holds no image and is not used as a class",
        "folder 'texts' holds no image and is not used as a class",
    )
    assert listed(tmp_path).ignored["empty"] == "is an empty folder"


def test_cache_and_runs_inside_the_source_are_not_classes(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "cache/toy-0.zarr/zarr.json", "runs/featx/embeddings.lock.json", "runs/featx/a.png")
    listing = listed(tmp_path)
    assert listing.manifest.ids.tolist() == ["cat/1.png"]
    assert (listing.ignored, listing.warnings) == ({}, ())


def test_a_folder_around_all_class_folders_is_the_source(tmp_path: Path) -> None:
    touch(tmp_path, "all/photos/cat/1.png", "all/photos/dog/1.png", "all/readme.txt")
    assert FolderReader().recognise(str(tmp_path), None) == ReaderSpec(source=str(tmp_path / "all/photos"))


def test_a_single_class_folder_is_not_a_folder_around_classes(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "cat/indoors/2.png")
    assert FolderReader().recognise(str(tmp_path), None) == ReaderSpec(source=str(tmp_path))


def test_part_folders_beside_other_folders_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "Train/cat/1.png", "Test/cat/2.png")
    assert read(tmp_path).labels["split"].tolist() == ["test", "train"]
    touch(tmp_path, "extra/cat/3.png")
    with pytest.raises(DataError, match=r"holds part folders \('Test', 'Train'\) and 1 other, first 'extra'"):
        read(tmp_path)


def test_a_linked_folder_is_not_followed_below_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png")
    (tmp_path / "cat" / "loop").symlink_to(tmp_path)
    assert read(tmp_path).ids.tolist() == ["cat/1.png"]
    assert listed(tmp_path).ignored == {"cat/loop": "is a link to a folder, which is not followed"}


def test_a_source_is_relative_to_the_folder_given(tmp_path: Path) -> None:
    touch(tmp_path, "images/cat/1.png")
    manifest = read_source(ReaderSpec(source="images"), tmp_path).manifest
    assert manifest.ids.tolist() == ["cat/1.png"]
    assert manifest.uris.tolist() == [str(tmp_path / "images/cat/1.png")]


@pytest.mark.parametrize("names", [[], ["a.png"], ["cat/a.txt"], [".cat/a.png"], ["cat/.b/a.png"]], ids=str)
def test_a_folder_without_class_folders_is_not_recognised(names: list[str], tmp_path: Path) -> None:
    touch(tmp_path, *names)
    assert FolderReader().recognise(str(tmp_path), None) is None
    with pytest.raises(DataError, match=r"no usable images in .*; expected one sub-folder per class with images"):
        listed(tmp_path, drop_unlabelled=True)


def test_class_folders_are_not_recognised_with_a_named_table(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "labels.csv")
    source, table = str(tmp_path), str(tmp_path / "labels.csv")
    assert FolderReader().recognise(source, table) is None
    assert FolderReader().recognise(table, None) is None
    assert FolderReader().recognise(source, None) == ReaderSpec(source=str(tmp_path))
