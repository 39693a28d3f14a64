"""Channels chosen by position, and channels that are transparency only if the file says so.

Modules: images.value_ranges.
"""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from featx.errors import ReadError
from featx.images.decode import decode
from featx.specs.embedding import Decoding
from tests.image_files import decoded_pixels, encode, noise, png16, tiff

UNNAMED = r"^has {} channels without names; choose 1 or 3 by position, such as decoding\.bands = {}$"


def unnamed(n: int) -> str:
    """Return the pattern of the reason why n channels cannot be decoded."""
    return UNNAMED.format(n, r"\[0\]" if n == 2 else r"\[0, 1, 2\]")


def grey(values: np.ndarray) -> list[Any]:
    """Return (h, w) levels as decoded pixels."""
    return np.repeat(values[..., np.newaxis], 3, axis=2).tolist()


@pytest.mark.parametrize("n", [2, 4, 5, 13])
@pytest.mark.parametrize("first", [True, False])
def test_channels_of_an_array_have_no_names(n: int, first: bool) -> None:
    values = noise(16, 18, n)
    content = np.moveaxis(values, 2, 0) if first else values
    with pytest.raises(ReadError, match=unnamed(n)):
        decode(content)
    assert decoded_pixels(content, bands=[n - 1]) == grey(values[..., n - 1])
    assert decoded_pixels(content, bands=[1, 0, n - 1]) == values[..., [1, 0, n - 1]].tolist()
    with pytest.raises(
        ReadError, match=rf"^has {n} channels, expected at least {n + 1} \(decoding\.bands = \[{n}\]\)$"
    ):
        decode(content, Decoding(bands=(n,)))


def test_near_infrared_does_not_change_the_colours() -> None:
    values = noise(8, 9, 4)
    values[..., 3] = 8
    assert decoded_pixels(values, bands=[0, 1, 2]) == values[..., :3].tolist()


def test_bands_of_wide_numbers_are_chosen_before_they_are_scaled() -> None:
    values = np.zeros((16, 18, 13), dtype=np.uint16)
    values[..., 3], values[..., 2], values[..., 1], values[..., 9] = 10_000, 5_000, 2_500, 65_535
    image = decode(values, Decoding(bands=(3, 2, 1), value_range=(0, 10_000)))
    assert np.asarray(image)[0, 0].tolist() == [255, 128, 64]
    assert not image.info  # values of other channels are no reason for a warning


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("TIFF", {}), ("BMP", {}), ("WEBP", {"lossless": True}), ("PPM", {})]
)
def test_bands_of_a_colour_file_are_chosen(kind: str, options: dict[str, Any]) -> None:
    values = noise(6, 7, 3)
    data = encode(Image.fromarray(values), kind, **options)
    assert decoded_pixels(data, bands=[2, 1, 0]) == values[..., ::-1].tolist()
    assert decoded_pixels(data, bands=[1]) == grey(values[..., 1])
    with pytest.raises(ReadError, match=r"^has 3 channels, expected at least 4"):
        decode(data, Decoding(bands=(3,)))


def test_bands_of_a_jpeg_are_those_of_its_decoded_colours() -> None:
    data = encode(Image.fromarray(noise(16, 24, 3)), "JPEG", quality=90)
    decoded = np.asarray(decoded_pixels(data))
    assert decoded_pixels(data, bands=[2, 1, 0]) == decoded[..., ::-1].tolist()


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})])
def test_bands_ignore_transparency(kind: str, options: dict[str, Any]) -> None:
    values = noise(6, 7, 4)
    data = encode(Image.fromarray(values), kind, **options)
    assert decoded_pixels(data, bands=[0, 1, 2]) == values[..., :3].tolist()
    assert decoded_pixels(data, bands=[3]) == grey(values[..., 3])
    assert decoded_pixels(data) != values[..., :3].tolist()


def test_a_grey_file_has_one_band_and_a_palette_three() -> None:
    levels = noise(6, 7)
    assert decoded_pixels(encode(Image.fromarray(levels)), bands=[0]) == grey(levels)
    with pytest.raises(ReadError, match=r"^has 1 channels, expected at least 3 \(decoding\.bands = \[0, 1, 2\]\)$"):
        decode(encode(Image.fromarray(levels)), Decoding(bands=(0, 1, 2)))
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([10, 20, 30])
    assert decoded_pixels(encode(palette), bands=[2, 1, 0]) == [[[30, 20, 10]]]


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("interlaced", [False, True])
def test_colours_of_16_bits_are_scaled_in_full(channels: int, interlaced: bool) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (9, 11, channels)).astype(np.uint16)
    if channels == 4:
        values[..., 3] = 65535
    expected = np.rint(values[..., :3] / 4095 * 255).astype(int)
    data = png16(values, interlaced=interlaced)
    assert decoded_pixels(data, value_range=(0, 4095)) == expected.tolist()
    assert decoded_pixels(data, value_range=(0, 4095), bands=[2, 0, 1]) == expected[..., [2, 0, 1]].tolist()
    assert decoded_pixels(data) == (values[..., :3] >> 8).tolist()
    of_tiff = tiff(values, **({"t338": (2,)} if channels == 4 else {}))
    assert decoded_pixels(of_tiff, value_range=(0, 4095)) == expected.tolist()


def test_transparency_of_16_bits_is_not_scaled() -> None:
    values = np.zeros((1, 2, 4), dtype=np.uint16)
    values[0, 1] = 4095, 0, 0, 65535
    assert decoded_pixels(png16(values), value_range=(0, 4095)) == [[[255, 255, 255], [255, 0, 0]]]
    assert decoded_pixels(png16(values), value_range=(0, 4095), background="#000000") == [[[0, 0, 0], [255, 0, 0]]]
    near_infrared = decoded_pixels(png16(values // 16), value_range=(0, 4095), bands=[3])
    assert near_infrared == [[[0] * 3, [255] * 3]]


def test_scaled_colours_keep_their_orientation() -> None:
    values = np.zeros((2, 3, 3), dtype=np.uint16)
    values[0, 0] = 4095
    for bands in ({}, {"bands": [0, 1, 2]}):
        decoded = np.asarray(decoded_pixels(tiff(values, t274=(6,)), value_range=(0, 4095), **bands))
        assert decoded.shape == (3, 2, 3)
        assert np.argwhere(decoded[..., 0]).tolist() == [[0, 1]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("extra", "is_refused"), [(None, True), ((2,), False), ((1,), False), ((0,), False)])
def test_the_fourth_channel_of_a_tiff_is_transparency_if_it_says_so(
    dtype: type, extra: tuple[int, ...] | None, is_refused: bool
) -> None:
    values = noise(4, 5, 4).astype(dtype) * (257 if dtype is np.uint16 else 1)
    values[..., 3] = np.iinfo(dtype).max
    data = tiff(values, **({} if extra is None else {"t338": extra}))
    if is_refused:
        with pytest.raises(ReadError, match=unnamed(4)):
            decode(data)
        assert decoded_pixels(data, bands=[0, 1, 2]) == noise(4, 5, 4)[..., :3].tolist()
    else:
        assert decoded_pixels(data) == noise(4, 5, 4)[..., :3].tolist()


def test_a_tiff_with_data_beside_its_colours_keeps_the_colours() -> None:
    values = noise(4, 5, 4)  # the file says: red, green, blue, and a fourth channel that is no transparency
    assert decoded_pixels(tiff(values, t338=(0,))) == values[..., :3].tolist()
