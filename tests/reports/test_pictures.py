"""Pictures of the report: only images that have not changed since the extraction are shown."""

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
    """Return a study with a head and folders as parts; one image is in two parts, in different classes."""
    for part, n_each in (("train", 12), ("val", 8), ("test", 4)):
        make_images(home / "images" / part, n_each=n_each)
    shutil.copy("images/train/dark/000.png", "images/val/light/000.png")
    recipe = TOY_RECIPE.replace("[split]\ntest = 0.25\nval = 0.25\n", PARTS)
    Path("featx.toml").write_text(recipe)
    featx.extract()
    featx.fit(heads=["logreg"])
    return Study.open(None)


def test_a_changed_image_is_not_shown(study: Study) -> None:
    names = ["train/dark/000.png", "val/light/000.png", "val/dark/001.png", "val/dark/002.png"]
    assert all(
        picture.uri.startswith("data:image/jpeg") and not picture.note
        for picture in load_pictures(study, names).values()
    )
    shutil.copy("images/train/light/005.png", "images/val/light/000.png")
    Path("images/val/dark/001.png").unlink()
    Path("images/val/dark/002.png").write_bytes(b"no picture")
    by_id = load_pictures(study, names)
    assert [by_id[name].note for name in names] == ["", CHANGED, UNREADABLE, CHANGED]
    assert [bool(by_id[name].uri) for name in names] == [True, False, False, False]


def test_the_report_notes_that_an_image_was_changed(study: Study) -> None:
    text = Path(featx.report().report).read_text()
    assert "Copies in several parts" in text
    assert CHANGED not in text
    for path in Path("images").rglob("*.png"):
        shutil.copy("images/train/light/005.png", path) if path.name != "005.png" else None
    text = Path(featx.report().report).read_text()
    assert CHANGED in text
