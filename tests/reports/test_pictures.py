"""The pictures of a page are those of the images that were extracted."""

import shutil
from pathlib import Path

import pytest

import featx
from featx.reports.pictures import CHANGED, UNREADABLE, load_pictures
from featx.study.study import Study
from tests.conftest import TOY_RECIPE, make_images

PARTS = '\n[split]\ncolumn = "split"\n'


@pytest.fixture
def study(home: Path) -> Study:
    """An extracted study with a head, whose parts are folders; one image lies in two of them, in different classes."""
    for part, n_each in (("train", 12), ("val", 8), ("test", 4)):
        make_images(home / "images" / part, n_each=n_each)
    shutil.copy("images/train/dark/000.png", "images/val/light/000.png")
    recipe = TOY_RECIPE.replace("[split]\ntest = 0.25\nval = 0.25\n", PARTS)
    Path("featx.toml").write_text(recipe)
    featx.extract()
    featx.fit(heads=["logreg"])
    return Study.open(None)


def test_an_image_that_was_changed_is_not_shown(study: Study) -> None:
    names = ["train/dark/000.png", "val/light/000.png", "val/dark/001.png", "val/dark/002.png"]
    assert all(one.uri.startswith("data:image/jpeg") and not one.note for one in load_pictures(study, names).values())
    shutil.copy("images/train/light/005.png", "images/val/light/000.png")
    Path("images/val/dark/001.png").unlink()
    Path("images/val/dark/002.png").write_bytes(b"no picture")
    found = load_pictures(study, names)
    assert [found[name].note for name in names] == ["", CHANGED, UNREADABLE, CHANGED]
    assert [bool(found[name].uri) for name in names] == [True, False, False, False]


def test_the_page_says_that_an_image_was_changed(study: Study) -> None:
    text = featx.report().read_text()
    assert "Copies in several parts" in text
    assert CHANGED not in text
    for path in Path("images").rglob("*.png"):
        shutil.copy("images/train/light/005.png", path) if path.name != "005.png" else None
    text = featx.report().read_text()
    assert CHANGED in text
