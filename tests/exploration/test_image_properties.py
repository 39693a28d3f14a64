"""Properties of single images, compared with values that are known by construction."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from featx.errors import ReadError
from featx.exploration.image_properties import COLUMNS, TILE_PX, measure_image, measure_pixels, tile_pixels
from featx.specs.embedding import Decoding
from tests.image_files import encode, noise


def measured(image: Image.Image, kind: str = "PNG", **options: object) -> dict[str, object]:
    return dict(zip(COLUMNS, measure_image(encode(image, kind, **options), Decoding()).properties, strict=True))


def test_a_file_is_described_by_its_header() -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Acme", "C-1\0"
    image = Image.fromarray(noise(30, 60, 3))
    properties = measured(image, "JPEG", exif=exif)
    assert [properties[name] for name in ("file_type", "mode", "camera")] == ["JPEG", "RGB", "Acme C-1"]
    assert [properties[name] for name in ("width_px", "height_px", "aspect_ratio")] == [60, 30, 2]
    assert properties["file_bytes"] == len(encode(image, "JPEG", exif=exif))


def test_the_size_is_that_of_the_upright_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    properties = measured(Image.fromarray(noise(30, 60, 3)), "JPEG", exif=exif)
    assert (properties["width_px"], properties["height_px"]) == (30, 60)


def test_arrays_have_no_file_type_of_their_own() -> None:
    values = measure_image(noise(9, 7, 3), Decoding()).properties
    assert values[:3] == ("array", "3 uint8", "")
    assert values[3:5] == (7, 9)


def test_channel_moments_equal_those_of_numpy() -> None:
    pixels = noise(40, 50, 3)
    measures = measure_pixels(pixels)
    for number, name in enumerate(("red", "green", "blue")):
        assert measures[f"{name}_mean"] == pytest.approx(pixels[..., number].mean() / 255, abs=1e-5)
        assert measures[f"{name}_sd"] == pytest.approx(pixels[..., number].std() / 255, abs=1e-5)


def test_a_flat_image_has_no_information() -> None:
    measures = measure_pixels(np.full((20, 20, 1), 77, np.uint8))
    assert measures["entropy_bits"] == measures["contrast"] == measures["sharpness"] == 0
    assert measures["border_share"] == 1
    assert measures["is_grey"] == 1


def test_blur_lowers_the_sharpness_and_contrast_does_not() -> None:
    image = Image.fromarray(noise(64, 64))
    sharp = measure_pixels(np.asarray(image)[..., None])["sharpness"]
    blurred = measure_pixels(np.asarray(image.filter(ImageFilter.GaussianBlur(2)))[..., None])["sharpness"]
    faded = measure_pixels((np.asarray(image) // 2)[..., None])["sharpness"]
    assert blurred < sharp / 5
    assert faded == pytest.approx(sharp, rel=0.05)


def test_a_border_is_measured_on_all_sides() -> None:
    pixels = np.full((100, 100, 1), 255, np.uint8)
    pixels[10:90, 20:80] = noise(80, 60, 1)
    assert measure_pixels(pixels)["border_share"] == pytest.approx(1 - 0.8 * 0.6)
    assert measure_pixels(pixels)["frame_share"] == pytest.approx(0.1)
    assert measure_pixels(noise(100, 100, 1))["border_share"] == 0


def test_a_border_ends_where_the_level_changes() -> None:
    pixels = np.zeros((10, 10, 1), np.uint8)
    pixels[1:] = 200
    pixels[2:, 1:9] = noise(8, 8, 1)
    assert measure_pixels(pixels)["border_share"] == pytest.approx(1 - 0.9 * 1.0)
    assert measure_pixels(pixels)["frame_share"] == 0


def test_colours_are_told_from_grey() -> None:
    grey = np.repeat(noise(20, 20, 1), 3, axis=2)
    assert measure_pixels(grey)["is_grey"] == 1
    assert measure_pixels(grey)["colourfulness"] == 0
    red = grey.copy()
    red[..., 1:] = 0
    assert measure_pixels(red)["is_grey"] == 0
    assert measure_pixels(red)["colourfulness"] > 0.3


def test_large_photographs_are_measured_at_a_reduced_size() -> None:
    gradient = np.linspace(0, 255, 3000).astype(np.uint8)
    image = Image.fromarray(np.repeat(gradient[None], 2000, axis=0))
    properties = measured(image, "JPEG", quality=95)
    assert (properties["width_px"], properties["height_px"]) == (3000, 2000)
    assert properties["brightness"] == pytest.approx(0.5, abs=0.01)


def test_tiles_show_the_centre_of_the_image() -> None:
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, 32:64] = (250, 0, 0)
    tile = tile_pixels(measure_image(encode(Image.fromarray(pixels)), Decoding()).tile)
    assert tile.shape == (TILE_PX, TILE_PX, 3)
    assert tile[16, 16, 0] > 200
    assert tile[16, 16, 1] < 60


def test_a_damaged_image_is_an_error() -> None:
    with pytest.raises(ReadError, match="truncated|broken|decoded|corrupt|premature|JPEG"):
        measure_image(encode(Image.fromarray(noise(50, 50, 3)), "JPEG")[:300], Decoding())


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 2)])
def test_tiny_images_are_measured(size: tuple[int, int]) -> None:
    values = measure_image(noise(*size, 3), Decoding()).properties
    assert all(np.isfinite(value) for value in values[3:] if not isinstance(value, str))
