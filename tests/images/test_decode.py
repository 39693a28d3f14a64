import io
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from featx.errors import ReadError
from featx.images.decode import FILTERS, decode, preprocessor
from featx.specs import Interpolation, Preprocessing, Resize

RED, WHITE, HALF = (255, 0, 0), (255, 255, 255), (0.5, 0.5, 0.5)


def stored(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """Return the bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def fit(size_px: int, resize: Resize = "crop", **fields: Any) -> Callable[[Image.Image], np.ndarray]:
    """Make the function that brings a picture to a size."""
    return preprocessor(Preprocessing(size_px=size_px, resize=resize, mean=HALF, std=HALF, **fields))


def pixels(data: bytes) -> list[Any]:
    """Decode to nested lists."""
    image = decode(data)
    assert image.mode == "RGB"
    return np.asarray(image).tolist()


def test_colours_and_rows_stay_as_they_are() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    for kind in ("PNG", "BMP", "TIFF"):
        assert pixels(stored(Image.fromarray(noise), kind)) == noise.tolist()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_stands_as_its_exif_orientation_says(orientation: int) -> None:
    upright = np.zeros((2, 3, 3), dtype=np.uint8)
    upright[0, 0], upright[0, 2], upright[1, 0] = RED, (0, 255, 0), (0, 0, 255)
    turn: Callable[[np.ndarray], np.ndarray] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = stored(Image.fromarray(np.ascontiguousarray(turn(upright))), exif=exif)
    assert pixels(data) == upright.tolist()


def test_grey_becomes_three_equal_channels() -> None:
    assert pixels(stored(Image.new("L", (1, 1), 77))) == [[[77, 77, 77]]]
    assert pixels(stored(Image.new("1", (1, 1), 1))) == [[[255, 255, 255]]]


def test_a_palette_becomes_its_colours() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([0, 0, 0, *RED])
    image.putpixel((1, 0), 1)
    assert pixels(stored(image)) == [[[0, 0, 0], [255, 0, 0]]]


def test_transparency_is_laid_on_white() -> None:
    image = Image.new("RGBA", (3, 1), (*RED, 0))
    image.putpixel((1, 0), (*RED, 255))
    image.putpixel((2, 0), (*RED, 51))
    assert pixels(stored(image)) == [[list(WHITE), list(RED), [255, 204, 204]]]
    assert pixels(stored(Image.new("LA", (1, 1), (0, 0)))) == [[list(WHITE)]]
    assert pixels(stored(Image.new("LA", (1, 1), (0, 255)))) == [[[0, 0, 0]]]


def test_a_transparent_palette_entry_is_laid_on_white() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([0, 0, 0, *RED])
    image.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        assert pixels(stored(image, kind, transparency=0)) == [[list(WHITE), list(RED)]]


def test_sixteen_bit_grey_is_divided_by_257() -> None:
    levels = np.asarray([[0, 256, 257, 32896, 65535]], dtype=np.uint16)
    expected = [[[v, v, v] for v in (0, 0, 1, 128, 255)]]
    for kind in ("PNG", "TIFF"):
        assert pixels(stored(Image.fromarray(levels), kind)) == expected


def test_cmyk_is_converted() -> None:
    (found,) = pixels(stored(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"))[0]
    assert found == [255, 0, 0]
    jpeg = np.asarray(decode(stored(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG")))
    assert jpeg.shape == (8, 8, 3)
    assert jpeg.min() >= 250


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in (RED, (0, 0, 255))]
    for kind in ("GIF", "TIFF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = stored(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert pixels(data) == [[list(RED)] * 2] * 2


@pytest.mark.parametrize("mode", ["I", "F"])
def test_numbers_of_an_unknown_range_are_refused(mode: str) -> None:
    with pytest.raises(ReadError, match=rf"^has pixels of an unknown range \(Pillow mode '{mode}'\)$"):
        decode(stored(Image.new(mode, (2, 2)), "TIFF"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
def test_half_a_file_is_refused(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = stored(Image.fromarray(noise), kind)
    assert decode(data).size == (64, 64)
    with pytest.raises(ReadError, match=r"cannot be decoded: |is not an image"):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize("data", [b"", b"hello", b"<html></html>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"], ids=str)
def test_other_bytes_are_no_image(data: bytes) -> None:
    with pytest.raises(ReadError, match=r"is not an image of a known format|cannot be decoded"):
        decode(data)


@pytest.mark.filterwarnings("ignore")  # Pillow's, which say less than the outcome does
@settings(max_examples=40, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["PNG", "GIF", "BMP", "TIFF", "JPEG"]))
def test_a_damaged_file_is_decoded_or_refused_and_nothing_else(data: st.DataObject, kind: str) -> None:
    content = bytearray(stored(Image.new("RGB", (9, 9), RED), kind))
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    try:
        outcome = decode(bytes(content)).mode
    except ReadError as error:
        outcome = str(error)
    assert outcome == "RGB" or outcome.startswith(("is not", "cannot be decoded: ", "has pixels"))


@pytest.mark.parametrize("resize", get_args(Resize))
@pytest.mark.parametrize("size", [(40, 20), (20, 40), (3, 3), (1, 50)])
def test_every_picture_comes_to_the_size_asked_for(resize: Literal["crop", "squash"], size: tuple[int, int]) -> None:
    found = fit(16, resize)(Image.new("RGB", size, RED))
    assert (found.shape, found.dtype) == ((16, 16, 3), np.uint8)
    assert (found == RED).all()


def test_crop_takes_the_middle_and_squash_takes_all() -> None:
    picture = Image.new("RGB", (60, 20), RED)
    picture.paste((0, 0, 255), (20, 0, 40, 20))
    assert (fit(20, "crop")(picture) == (0, 0, 255)).all()
    squashed = fit(30, "squash", interpolation="nearest")(picture)
    assert (squashed[:, :10] == RED).all()
    assert (squashed[:, 10:20] == (0, 0, 255)).all()
    assert (squashed[:, 20:] == RED).all()


def test_the_share_of_a_crop_is_of_the_shorter_side() -> None:
    picture = Image.new("RGB", (40, 20), RED)
    picture.paste((0, 0, 255), (15, 5, 25, 15))
    assert (fit(10, crop_share=0.5, interpolation="nearest")(picture) == (0, 0, 255)).all()
    assert (fit(10, crop_share=1.0, interpolation="nearest")(picture) == RED).any()


def test_a_picture_of_the_right_size_stays_as_it_is() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    for resize in get_args(Resize):
        assert fit(8, resize)(Image.fromarray(noise)).tolist() == noise.tolist()


def test_every_interpolation_has_a_filter_of_its_own() -> None:
    assert set(FILTERS) == set(get_args(Interpolation))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8))
    assert len({fit(5, interpolation=name)(noise).tobytes() for name in get_args(Interpolation)}) == 4
