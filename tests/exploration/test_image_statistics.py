"""Statistics of sizes and channels, compared with those of all pixels."""

import numpy as np
import pytest

from featx.exploration.image_properties import measure_pixels
from featx.exploration.image_statistics import channel_moments, summarise_properties
from featx.progress import no_progress
from tests.exploration.explored import make_explored
from tests.image_files import noise

IDS = ["a.png", "b.png", "c.png", "d.png"]


def test_pooled_moments_equal_those_of_all_pixels() -> None:
    rng = np.random.default_rng(0)
    pixels = np.stack([(noise(16, 16, 3) * rng.uniform(0.2, 1)).astype(np.uint8) for _ in IDS])
    measures = [measure_pixels(image) for image in pixels]
    images = make_explored(IDS, properties={name: [row[name] for row in measures] for name in measures[0]})
    moments = channel_moments(images.properties)
    for number, channel in enumerate(("red", "green", "blue")):
        assert moments[f"{channel}_mean"] == pytest.approx(pixels[..., number].mean() / 255, abs=1e-5)
        assert moments[f"{channel}_sd"] == pytest.approx(pixels[..., number].std() / 255, abs=1e-5)


def test_sizes_and_types_are_counted_most_frequent_first() -> None:
    properties = {"width_px": [4, 8, 8, 8], "height_px": [4, 6, 6, 6], "file_type": ["PNG", "PNG", "JPEG", "PNG"]}
    result = summarise_properties(make_explored(IDS, ["x", "x", "y", "y"], properties=properties), no_progress)
    assert result.tables["sizes"].to_numpy().tolist() == [[8, 6, 3, 0.75], [4, 4, 1, 0.25]]
    assert result.tables["file_types"]["n"].tolist() == [3, 1]
    assert result.highlights[0].text == "files are of 2 types: PNG, JPEG"
    assert result.tables["image_properties"]["label.class"].tolist() == ["x", "x", "y", "y"]
    assert result.tables["channel_statistics"]["label"].tolist() == ["all images", "x", "y"]


def test_images_that_were_not_measured_are_left_out() -> None:
    images = make_explored(IDS, properties={"width_px": [np.nan] * 4})
    result = summarise_properties(images, no_progress)
    assert result.notes == ("no image could be decoded",)
    assert len(result.tables["image_properties"]) == 4
