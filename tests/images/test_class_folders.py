"""Folders that look like roles of files, patients or dates: init warns of them; true classes give no warning."""

from pathlib import Path

import numpy as np
import pytest

from featx.images.init import init
from tests.images.test_public_layouts import draw, recognised, write

ROLES = {
    "a data set for segmentation": ["images/{i}.png", "masks/{i}.png"],
    "with other words": ["JPEGImages/{i}.jpg", "SegmentationClass_gt/{i}.png", "Annotations/{i}.png"],
    "below parts": ["train/images/{i}.png", "train/masks/{i}.png", "test/images/{i}.png", "test/masks/{i}.png"],
    "steps of processing": ["raw/{i}.png", "resized/{i}.png"],
    "with classes below": ["images/cat/{i}.png", "masks/cat/{i}.png", "images/dog/{i}.png", "masks/dog/{i}.png"],
}
ORIGINS = {
    "patients": [f"patient_{n:02}" for n in range(6)],
    "subjects": [f"subj{n}" for n in range(6)],
    "dates": ["2023-05-01", "2023-05-02", "2023-05-07"],
    "years": ["2021", "2022", "2023"],
    "dates of another country": ["01.05.2023", "2.5.2023", "17.05.2023"],
    "recordings": ["20230501_cam", "20230502_cam"],
    "cameras": ["cam1", "cam2"],
    "sites with letters": ["site_A", "site_B", "site_C"],
    "numbers of records": ["1027834", "1027911", "2002913"],
    "short codes": ["P001", "P002", "P007", "P011"],
    "universally unique": [f"{n:08x}-1c2d-4e5f-8a9b-0123456789ab" for n in range(4)],
    "many small ones": [f"{chr(97 + n % 26)}{chr(97 + n // 26)}x" for n in range(24)],
}
CLASSES = {
    "animals": ["cat", "dog"],
    "ImageNet": ["n01440764", "n01443537", "n01484850"],
    "numbered classes": ["c0", "c1", "c2", "c3"],
    "codes": ["00000", "00001", "00002"],
    "years of wine": ["1990s", "2000s"],
    "a weak word": ["raw", "ripe"],
    "plants": ["house", "tree", "plant"],
    "grades": ["grade 1", "grade 2", "grade 3"],
}


@pytest.mark.parametrize("layout", ROLES)
def test_folders_with_roles_are_warned_of_with_the_next_step(layout: str, home: Path) -> None:
    draw(home / "d", *(pattern.format(i=i) for pattern in ROLES[layout] for i in range(6)))
    warning = init("d").warnings[0]
    assert "look like files for different purposes, not like classes" in warning
    assert ("to give the labels, run: featx init " if "train" in ROLES[layout][0] else "run: featx init ") in warning


def test_the_next_step_reads_the_images_alone(home: Path) -> None:
    draw(home / "d", *(f"{folder}/{i}.png" for folder in ("masks", "images") for i in range(6)))
    warning = init("d").warnings[0]
    assert warning.endswith("run: featx init d/images --force")
    assert init("d/images", force=True).reader == "images"


def test_one_folder_of_masks_among_classes_is_named_with_its_setting(home: Path) -> None:
    draw(home / "d", *(f"{folder}/{i}.png" for folder in ("cat", "dog", "masks") for i in range(6)))
    warning = init("d").warnings[0]
    assert "class folders 'masks' (6) look like files for another purpose" in warning
    assert warning.endswith('set drop = ["masks"] in [targets.class]')


@pytest.mark.parametrize("kind", ORIGINS)
def test_folders_of_one_origin_are_warned_of(kind: str, home: Path) -> None:
    draw(home / "d", *(f"{name}/{i}.png" for name in ORIGINS[kind] for i in range(5)))
    warning = init("d").warnings[0]
    assert "class folders" in warning
    assert warning.endswith(
        "if they are no classes and a table holds the labels, run: featx init d --labels FILE --force"
    )


def test_classes_below_patients_are_read_by_the_suggested_pattern(home: Path) -> None:
    draw(home / "d", *(f"patient{n}/{name}/{i}.png" for n in range(6) for name in ("cat", "dog") for i in range(4)))
    warning = init("d").warnings[0]
    assert warning.endswith("run: featx init d --labels '{folder}/{class}/{image}' --force")
    recognition = init("d", labels="{folder}/{class}/{image}", force=True)
    assert (recognition.target, recognition.classes) == ("class", {"cat": 24, "dog": 24})


@pytest.mark.parametrize("folders", [("images", "masks"), ("masks", "images"), ("gt", "photos")])
def test_a_table_names_the_images_and_not_their_masks(folders: tuple[str, str], home: Path) -> None:
    draw(home / "d", *(f"{folder}/{i}.png" for folder in folders for i in range(12)))
    write(home / "d", "labels.csv", [("file", "y"), *((f"{i}.png", "ab"[i % 2]) for i in range(12))])
    recognition, recipe, _ = recognised(home / "d")
    assert recognition.classes == {"a": 6, "b": 6}
    assert recipe.data.labels is not None
    assert recipe.data.labels.root in {"images", "photos"}


def test_folders_of_arrays_are_warned_of_too(home: Path) -> None:
    for name in ("images", "masks"):
        (home / "d" / name).mkdir(parents=True)
        for i in range(6):
            np.save(home / "d" / name / f"{i}.npy", np.full((6, 6, 3), 10 * i, dtype=np.uint8))
    assert "not like classes" in init("d").warnings[0]


@pytest.mark.parametrize("kind", CLASSES)
def test_folders_of_classes_give_no_warning(kind: str, home: Path) -> None:
    draw(home / "d", *(f"{name}/{i}.png" for name in CLASSES[kind] for i in range(24)))
    assert init(home / "d").warnings == []
