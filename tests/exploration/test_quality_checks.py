"""Quality checks on planted images: each planted fault is found, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from featx.exploration.explored_images import ExploredImages
from featx.exploration.image_loading import load_images, open_source
from featx.exploration.measurement import measure_images
from featx.exploration.quality_checks import CHECKS, check_quality, robust_z
from featx.progress import no_progress
from tests.exploration.explored import make_explored

SIDE = 60
FAULTS = {
    "dark.png": "dark",
    "bright.png": "bright",
    "faded.png": "low in contrast",
    "blurred.png": "blurry",
    "two_levels.png": "low in information",
    "wide.png": "odd in shape",
    "large.png": "odd in size",
    "grey.png": "grey among colour images",
    "framed.png": "framed by a border",
}


def photograph(rng: np.random.Generator, width: int = SIDE, height: int = SIDE) -> Image.Image:
    """Return a colour picture with smooth structure and fine detail."""
    coarse = Image.fromarray(rng.integers(60, 200, (6, 6, 3), dtype=np.uint8)).resize((width, height))
    detail = rng.normal(0, 18, (height, width, 3))
    return Image.fromarray((np.asarray(coarse) + detail).clip(0, 255).astype(np.uint8))


def levels(image: Image.Image, low: int, high: int) -> Image.Image:
    """Return a picture whose levels are squeezed into a range."""
    pixels = np.asarray(image).astype(float) / 255
    return Image.fromarray((low + pixels * (high - low)).astype(np.uint8))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> ExploredImages:
    home = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(0)
    folder = home / "images"
    folder.mkdir()
    for number in range(90):
        photograph(rng).save(folder / f"{number:03}.png")
    image = photograph(rng)
    faults = {
        "dark.png": levels(image, 0, 60),
        "bright.png": levels(image, 200, 255),
        "faded.png": levels(image, 120, 138),
        "blurred.png": image.filter(ImageFilter.GaussianBlur(3)),
        "two_levels.png": image.point(lambda value: 60 if value < 128 else 190),
        "wide.png": photograph(rng, 2 * SIDE, SIDE - 10),
        "large.png": photograph(rng, 3 * SIDE, 3 * SIDE),
        "grey.png": ImageOps.grayscale(image).convert("RGB"),
        "framed.png": ImageOps.expand(image.resize((SIDE - 20, SIDE - 20)), 10, "black"),
    }
    for name, faulty in faults.items():
        faulty.save(folder / name)
    recipe = home / "featx.toml"
    recipe.write_text('[data]\nsource = "images"\nreader = "images"\n[[embedding]]\nbackbone = "toy"\n')
    return measure_images(load_images(open_source(None, recipe), None, no_progress), no_progress)


def test_each_planted_fault_is_found_by_its_check(planted: ExploredImages) -> None:
    result = check_quality(planted, no_progress)
    issues = result.tables["quality_issues"]
    checks_by_id = {name: set(issues.loc[issues["id"] == name, "check"]) for name in FAULTS}
    assert {name: check in checks_by_id[name] for name, check in FAULTS.items()} == dict.fromkeys(FAULTS, True)


def test_images_without_a_fault_are_not_reported(planted: ExploredImages) -> None:
    issues = check_quality(planted, no_progress).tables["quality_issues"]
    assert set(issues["id"]) <= set(FAULTS)
    assert issues["check"].value_counts().max() <= 3


def test_the_summary_counts_the_checks(planted: ExploredImages) -> None:
    result = check_quality(planted, no_progress)
    (highlight,) = result.highlights
    assert highlight.text.startswith("9 images may be of poor quality: ")
    assert result.facts["n_images"] == 9
    assert result.tables["quality_checks"]["check"].tolist() == [check.name for check in CHECKS]


def test_a_study_of_dark_images_has_no_dark_ones() -> None:
    ids = [f"{n}.png" for n in range(50)]
    dark = {"brightness_p95": np.random.default_rng(0).uniform(0.05, 0.25, 50), "border_share": [0.0] * 50}
    images = make_explored(ids, properties={**dark, "entropy_bits": [5.0] * 50})
    result = check_quality(images, no_progress)
    assert len(result.tables["quality_issues"]) == 0
    assert result.highlights == ()


def test_equal_values_are_not_unusual() -> None:
    values = np.array([1.0] * 20 + [1.01])
    assert robust_z(values, 0.1).max() == pytest.approx(0.1)
    values[-1] = 2
    assert robust_z(values, 0.1).max() == pytest.approx(10)


def test_images_that_were_not_measured_are_left_out(home: Path) -> None:
    images = make_explored(["a.png"], properties={"width_px": [np.nan]})
    assert len(check_quality(images, no_progress).tables["quality_issues"]) == 0
