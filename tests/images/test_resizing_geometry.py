"""Sizes, crops and interpolation of resized pictures, and one channel for grey pictures."""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from featx.images.decode import decode
from featx.images.resizing import FILTERS, make_preprocessor, required_side_px
from featx.specs.embedding import Interpolation, Preprocessing, Resize
from tests.image_files import encode, noise

RED, HALF = (255, 0, 0), (0.5, 0.5, 0.5)


WITHOUT_BORDERS: tuple[Resize, ...] = ("crop", "squash")


def fit(size_px: int, resize: Resize = "crop", **fields: Any) -> Callable[[Image.Image], np.ndarray]:
    """Return the function that resizes a picture."""
    return make_preprocessor(Preprocessing(size_px=size_px, resize=resize, mean=HALF, std=HALF, **fields))


def test_the_required_side_includes_the_cropped_border() -> None:
    sizes = [Preprocessing(size_px=224, crop_share=0.875, mean=HALF, std=HALF)]
    sizes += [Preprocessing(size_px=240, mean=HALF, std=HALF)]
    assert (required_side_px(sizes), required_side_px(sizes[1:]), required_side_px([])) == (256, 240, 0)


@pytest.mark.parametrize("resize", WITHOUT_BORDERS)
@pytest.mark.parametrize("size", [(40, 20), (20, 40), (3, 3), (1, 50)])
def test_every_picture_is_resized_to_the_requested_size(resize: Resize, size: tuple[int, int]) -> None:
    resized = fit(16, resize)(Image.new("RGB", size, RED))
    assert (resized.shape, resized.dtype) == ((16, 16, 3), np.uint8)
    assert (resized == RED).all()


def test_crop_uses_the_centre_and_squash_the_whole_picture() -> None:
    picture = Image.new("RGB", (60, 20), RED)
    picture.paste((0, 0, 255), (20, 0, 40, 20))
    assert (fit(20, "crop")(picture) == (0, 0, 255)).all()
    squashed = fit(30, "squash", interpolation="nearest")(picture)
    assert (squashed[:, :10] == RED).all()
    assert (squashed[:, 10:20] == (0, 0, 255)).all()
    assert (squashed[:, 20:] == RED).all()


def test_the_crop_share_refers_to_the_shorter_side() -> None:
    picture = Image.new("RGB", (40, 20), RED)
    picture.paste((0, 0, 255), (15, 5, 25, 15))
    assert (fit(10, crop_share=0.5, interpolation="nearest")(picture) == (0, 0, 255)).all()
    assert (fit(10, crop_share=1.0, interpolation="nearest")(picture) == RED).any()


def test_a_picture_of_the_right_size_is_unchanged() -> None:
    picture = noise(8, 8, 3)
    for resize in get_args(Resize):
        assert fit(8, resize)(Image.fromarray(picture)).tolist() == picture.tolist()


def test_every_interpolation_has_a_different_filter() -> None:
    assert set(FILTERS) == set(get_args(Interpolation))
    picture = Image.fromarray(noise(9, 9, 3))
    assert len({fit(5, interpolation=name)(picture).tobytes() for name in get_args(Interpolation)}) == 4


GREYS: dict[str, Callable[[], Image.Image]] = {
    "L": lambda: Image.fromarray(noise(37, 52)),
    "1": lambda: Image.fromarray(noise(37, 52) > 127),
    "I;16": lambda: Image.fromarray(noise(37, 52).astype(np.uint16) * 257 + 3),
}


@pytest.mark.parametrize("mode", GREYS)
@pytest.mark.parametrize("resize", WITHOUT_BORDERS)
@pytest.mark.parametrize("interpolation", get_args(Interpolation))
def test_a_resized_grey_picture_equals_a_channel_of_its_rgb_version(
    mode: str, resize: Resize, interpolation: Interpolation
) -> None:
    picture = GREYS[mode]()
    assert picture.mode == mode
    grey = decode(encode(picture, "TIFF"))
    assert grey.mode == "L"
    for size_px, share in ((16, 1.0), (64, 1.0), (16, 0.7), (16, 0.875)):
        bring = fit(size_px, resize, interpolation=interpolation, crop_share=share)
        resized, coloured = bring(grey), bring(grey.convert("RGB"))
        assert (resized.shape, coloured.shape) == ((size_px, size_px, 1), (size_px, size_px, 3))
        assert np.broadcast_to(resized, coloured.shape).tolist() == coloured.tolist()


@pytest.mark.parametrize("resize", WITHOUT_BORDERS)
@pytest.mark.parametrize("interpolation", get_args(Interpolation))
def test_a_grey_picture_for_five_crops_has_one_channel(resize: Resize, interpolation: Interpolation) -> None:
    grey = Image.fromarray(noise(37, 52))
    bring = fit(16, resize, interpolation=interpolation, crop_share=0.5, views="five-crops")
    resized, coloured = bring(grey), bring(grey.convert("RGB"))
    assert resized.shape == (32, 32, 1)
    assert np.broadcast_to(resized, coloured.shape).tolist() == coloured.tolist()
