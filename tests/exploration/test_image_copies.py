"""Copies among explored images, before and after an extraction."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

import featx
from featx.embeddings import near_copies
from featx.exploration import image_copies
from featx.exploration.explored_images import ExploredImages
from featx.exploration.image_copies import EXACT_COPY, NEAR_COPY, find_image_copies
from featx.exploration.image_loading import load_images, open_source
from featx.exploration.measurement import measure_images
from featx.progress import no_progress
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_recipe

SECTIONS = {"data": LABEL_TABLE, "targets": {"y": {"column": "y"}}, "split": {"column": "part"}, "head": None}


@pytest.fixture
def rows(home: Path) -> pd.DataFrame:
    """Return 80 images of two classes with copies: exact across parts, near in test, exact with another label."""
    ids = make_images(home / "images", ("a", "b"), n_each=40, size=(48, 48))
    parts = ["train", "val", "train", "test"] * 20
    table = pd.DataFrame({"path": ids, "y": [name[0] for name in ids], "part": parts})
    shutil.copy("images/a/000.png", "images/a/exact.png")
    Image.open("images/a/002.png").save("images/a/near.jpg", quality=95)
    shutil.copy("images/b/000.png", "images/b/other.png")
    copies = [("a/exact.png", "a", "val"), ("a/near.jpg", "a", "test"), ("b/other.png", "a", "train")]
    table = pd.concat([table, pd.DataFrame(copies, columns=table.columns)], ignore_index=True)
    table.to_csv("images/labels.csv", index=False)
    (home / "featx.toml").write_text(toy_recipe(**SECTIONS))
    return table


def load() -> ExploredImages:
    return measure_images(load_images(open_source(None, None), None, no_progress), no_progress)


EXPECTED = {
    ("a/exact.png", "a/000.png", EXACT_COPY, True, False),
    ("a/near.jpg", "a/002.png", NEAR_COPY, True, False),
    ("b/other.png", "b/000.png", EXACT_COPY, False, True),
}


def pairs(table: pd.DataFrame) -> set[tuple[object, ...]]:
    return set(table[["id", "copy", "kind", "in_several_parts", "labels_differ"]].itertuples(index=False, name=None))


def test_copies_are_found_before_and_after_an_extraction(rows: pd.DataFrame) -> None:
    copies_before = find_image_copies(load(), no_progress)
    normalised = {
        tuple(sorted(pair[:2], key=len, reverse=True)) + pair[2:] for pair in pairs(copies_before.tables["copies"])
    }
    assert normalised == EXPECTED
    featx.extract()
    copies_after = find_image_copies(load(), no_progress)
    assert {
        tuple(sorted(p[:2], key=len, reverse=True)) + p[2:] for p in pairs(copies_after.tables["copies"])
    } == EXPECTED


def test_copies_across_parts_stand_out_first(rows: pd.DataFrame) -> None:
    result = find_image_copies(load(), no_progress)
    assert [highlight.rank for highlight in result.highlights] == [0, 1, 2]
    first, second, third = (highlight.text for highlight in result.highlights)
    assert first.startswith("copies in different parts make scores too high: 2 pairs (1 exact, 1 near), first ")
    assert second == "copies with different labels: 1 pair, first 'b/other.png' and 'b/000.png'"
    assert third.startswith("copies in one part: 1 pair")
    assert result.facts == {"n_exact": 2, "n_near": 1, "n_in_several_parts": 2, "n_labels_differ": 1}


def test_images_without_copies_have_an_empty_table(toy_home: Path) -> None:
    result = find_image_copies(load(), no_progress)
    assert len(result.tables["copies"]) == 0
    assert result.highlights == ()


def test_samples_of_large_studies_are_compared_by_thumbnails(
    rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    featx.extract()
    # The study has 81 contents, which its own search does not compare.
    for module in (near_copies, image_copies):
        monkeypatch.setattr(module, "MAX_IMAGES_TO_COMPARE", 80)
    assert near_copies.find_near_copies(load().study).n_not_compared == 81
    sample = load_images(open_source(None, None), 80, no_progress)
    result = find_image_copies(measure_images(sample, no_progress), no_progress)
    assert result.notes == (
        "near copies were searched among the explored images, by thumbnails; the study has too many for embeddings",
    )
    assert find_image_copies(load(), no_progress).notes == (
        "81 images are too many to compare in pairs; near copies are not listed",
    )


def test_images_that_were_not_compared_are_counted(rows: pd.DataFrame) -> None:
    featx.extract()
    images = load()
    for store in Path("cache").glob("*.zarr"):
        shutil.rmtree(store)
    assert find_image_copies(images, no_progress).notes == (
        "81 images have no cached vector; only their thumbnail hashes were compared",
    )
