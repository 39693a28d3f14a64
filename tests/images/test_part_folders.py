"""Folders that are parts of a split: called train, val and test, with a prefix, doubled, or without labels."""

import time
from pathlib import Path

import pytest

from featx.images.part_folders import find_part_folders
from tests.images.test_public_layouts import draw, recognised

WITHOUT_FOLDERS = "has no label: {!r} has no class folders (its images can be predicted)"


def names(part: str, *classes: str, n: int = 12) -> list[str]:
    return [f"{part}/{name}/{i}.jpg" for name in classes for i in range(n)]


def test_folders_with_a_prefix_are_parts(home: Path) -> None:
    draw(home / "d", *names("seg_train/seg_train", "forest", "street"), *names("seg_test/seg_test", "forest", "street"))
    draw(home / "d", *(f"seg_pred/seg_pred/{i}.jpg" for i in range(3)))
    recognition, recipe, listing = recognised(home / "d")
    assert recognition.classes == {"forest": 24, "street": 24}
    assert (recognition.parts, recipe.split.column) == ({"train": 24, "test": 24}, "split")
    assert recognition.ignored == {WITHOUT_FOLDERS.format("seg_pred"): 3}
    assert list(listing.manifest.labels) == ["class", "split"]
    (warning,) = recognition.warnings
    assert warning.startswith("the folders 'seg_test' (test), 'seg_train' (train) are read as parts of a split")


def test_a_test_part_with_a_prefix_may_have_no_class_folders(home: Path) -> None:
    draw(home / "d", *names("asl_train/asl_train", "A", "B"), "asl_test/asl_test/A_test.jpg", "logo.png")
    recognition, _, _ = recognised(home / "d")
    assert (recognition.classes, recognition.parts) == ({"A": 12, "B": 12}, {"train": 24})
    assert recognition.ignored == {
        WITHOUT_FOLDERS.format("asl_test"): 1,
        "has no label: it is outside the part folders": 1,
    }


def test_doubled_part_folders_are_one(home: Path) -> None:
    draw(home / "d", *names("training_set/training_set", "cat", "dog"), *names("test_set/test_set", "cat", "dog"))
    recognition, _, _ = recognised(home / "d")
    assert (recognition.target, recognition.split_column, recognition.warnings) == ("class", "split", [])


def test_folders_for_predictions_beside_parts_are_left_out(home: Path) -> None:
    draw(home / "d", *names("train", "cat", "dog"), *names("test", "cat", "dog"), "pred/0.png", "pred/1.png")
    recognition, _, _ = recognised(home / "d")
    assert recognition.parts == {"train": 24, "test": 24}
    assert recognition.ignored == {WITHOUT_FOLDERS.format("pred"): 2}


@pytest.mark.parametrize("other", ["extra/cat/0.png", "seg_unlabelled/cat/0.png"])
def test_classes_that_look_like_parts_are_reported(other: str, home: Path) -> None:
    draw(home / "d", *names("seg_train", "cat", "dog"), *names("seg_test", "cat", "dog"), other)
    recognition, _, _ = recognised(home / "d")
    assert recognition.parts == {}
    text = "look like parts of a split, and are read as classes; if they are parts, run: featx init "
    assert any(text in warning and "d/seg_train --force" in warning for warning in recognition.warnings)


@pytest.mark.parametrize(
    "tops", [("steam_train", "toy_train"), ("steam_train", "crash_test"), ("train_a", "car"), ("cat", "dog")]
)
def test_names_with_different_words_are_classes(tops: tuple[str, ...]) -> None:
    part_folders = find_part_folders("d", [f"{top}/{name}" for top in tops for name in "xy"])
    assert (part_folders.parts, part_folders.warnings) == ({}, ())


def test_doubled_class_folders_are_no_parts() -> None:
    part_folders = find_part_folders("d", ["cat/cat", "dog/dog"])
    assert part_folders.path_components("cat/cat/1") == ["cat", "cat", "1"]
    assert not part_folders.parts


def test_a_doubled_train_folder_without_folders_is_not_changed() -> None:
    part_folders = find_part_folders("d", ["train/train", "test/test"])
    assert part_folders.path_components("train/train") == ["train", "train"]
    assert part_folders.unlabelled_folders == {"test"}


def test_many_folders_are_examined_in_linear_time() -> None:
    folders = [f"class{i}/inner{i}" for i in range(30_000)]
    start = time.perf_counter()
    assert not find_part_folders("d", folders).parts
    assert time.perf_counter() - start < 5
