"""Scaling of arrays, floats and wide integers to 8 bits, and arrays that are refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from featx.errors import ReadError
from featx.images.contents import Content
from featx.images.decode import MAX_PIXELS, OUTSIDE_RANGE, decode
from featx.specs.embedding import Decoding
from tests.image_files import decoded_greys, decoded_pixels, encode, noise, png16, tiff

DTYPES = [np.float32, np.float64, np.int16, np.int32, np.int64, np.uint32]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_within_zero_and_one_are_scaled_by_that_range(dtype: type) -> None:
    row = np.array([[0.0, 0.25, 0.5, 1.0]], dtype=dtype)
    assert decoded_greys(row) == [[0, 64, 128, 255]]
    assert decoded_greys(row[:, 2:3]) == [[128]]
    if dtype is np.float32:
        assert decoded_greys(encode(Image.fromarray(row), "TIFF")) == [[0, 64, 128, 255]]


@pytest.mark.parametrize(
    ("values", "dtype", "value_range"),
    [
        ([0.0, 254.5], np.float32, "0 to 254.5 of float32"),
        ([-0.5, 1.0], np.float64, "-0.5 to 1 of float64"),
        ([0, 1], np.int32, "0 to 1 of int32"),
        ([-1024, 3071], np.int16, "-1024 to 3071 of int16"),
        ([-128, 127], np.int8, "-128 to 127 of int8"),
        ([0, 2**40], np.int64, "0 to 1099511627776 of int64"),
        ([7, 7], np.uint32, "7 to 7 of uint32"),
    ],
)
def test_numbers_of_an_unknown_range_are_refused(values: list[float], dtype: type, value_range: str) -> None:
    row = np.array([values], dtype=dtype)
    contents: list[Any] = [row, row[..., np.newaxis]]
    if dtype in {np.float32, np.int32}:
        contents.append(encode(Image.fromarray(row), "TIFF"))
    for content in contents:
        with pytest.raises(
            ReadError, match=rf"^holds values from {value_range}; set decoding.value_range = \[low, high\]$"
        ):
            decode(content)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_range_scales_all_images(dtype: type) -> None:
    for values in ([0, 64, 255], [0, 1, 1], [20, 20, 20]):
        assert decoded_greys(np.array([values], dtype=dtype), value_range=(0, 255)) == [values]
    assert decoded_greys(np.array([[0, 100, 125]], dtype=dtype), value_range=(0, 4095)) == [[0, 6, 8]]


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_negative_values_may_be_in_the_range(dtype: type) -> None:
    row = np.array([[-1024, 0, 3071]], dtype=dtype)
    assert decoded_greys(row, value_range=(-1024, 3071)) == [[0, 64, 255]]
    if dtype is not np.int16:
        assert decoded_greys(encode(Image.fromarray(row), "TIFF"), value_range=(-1024, 3071)) == [[0, 64, 255]]


def test_a_tiff_of_signed_16_bits_is_named_so() -> None:
    data = tiff(np.array([[-1024, 3071]], dtype="<i2"))
    with pytest.raises(ReadError, match=r"^holds values from -1024 to 3071 of int16; "):
        decode(data)
    assert decoded_greys(data, value_range=(-1024, 3071)) == [[0, 255]]


def outside(content: Content, *value_range: float) -> Any:
    """Return the extremes that a decoded picture reports."""
    return decode(content, Decoding(value_range=(value_range[0], value_range[1]))).info.get(OUTSIDE_RANGE)


def test_values_outside_the_range_are_reported() -> None:
    row = np.array([[5, 100, 5000]], dtype=np.uint16)
    for content in (row, encode(Image.fromarray(row)), encode(Image.fromarray(row), "TIFF")):
        assert outside(content, 0, 4095) == (5, 5000)
        assert outside(content, 10, 65535) == (5, 5000)
        assert outside(content, 5, 5000) is None
    assert outside(row.astype(np.uint8), 0, 1) is None  # 8 bits are never scaled
    colours = np.zeros((2, 2, 3), dtype=np.uint16)
    colours[0, 0] = 4096
    assert outside(png16(colours), 0, 4095) == (0, 4096)
    assert outside(png16(colours), 0, 4096) is None


def test_a_stated_range_clips_values() -> None:
    floats, wide = np.array([[0, 100, 125, 200, 999]], dtype=np.float32), {"value_range": (100, 200)}
    assert decoded_greys(encode(Image.fromarray(floats), "TIFF"), **wide) == [[0, 0, 64, 255, 255]]
    for dtype in (np.uint16, np.int32, np.float64):
        assert decoded_greys(floats.astype(dtype), **wide) == [[0, 0, 64, 255, 255]]
    assert decoded_greys(encode(Image.fromarray(floats.astype(np.uint16))), **wide) == [[0, 0, 64, 255, 255]]
    eight = np.array([[0, 150]], dtype=np.uint8)
    assert decoded_greys(eight, **wide) == [[0, 150]]  # 8 bits are what they are


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(number: float) -> None:
    values = np.array([[0.5, number]], dtype=np.float32)
    for content in (encode(Image.fromarray(values), "TIFF"), values, values.astype(np.float64)):
        for choices in ({}, {"value_range": (0, 1)}):
            with pytest.raises(ReadError, match=r"^holds nan or infinity$"):
                decode(content, Decoding(**choices))


@settings(max_examples=30)
@given(height=st.integers(5, 9), width=st.integers(5, 9), channels=st.integers(0, 4), first=st.booleans())
def test_an_array_is_decoded_to_its_values(height: int, width: int, channels: int, first: bool) -> None:
    values = noise(height, width, channels) if channels else noise(height, width)
    n_colours = 3 if channels > 2 else 1
    front = values[..., :n_colours] if channels else values
    expected = np.broadcast_to(front.reshape(height, width, -1), (height, width, 3)).tolist()
    choices = {"bands": range(n_colours)} if channels in {2, 4} else {}
    assert decoded_pixels(np.moveaxis(values, 2, 0) if channels and first else values, **choices) == expected


def test_arrays_are_scaled_by_their_dtype() -> None:
    assert decoded_greys(np.array([[True, False]])) == [[255, 0]]
    for sixteen in ("<u2", ">u2"):
        assert decoded_greys(np.array([[0, 256, 257, 65535]], dtype=sixteen)) == [[0, 0, 1, 255]]
        assert decoded_greys(np.array([[0, 200]], dtype=sixteen)) == [[0, 0]]
    assert decoded_greys(np.array([[0, 0.5, 1]], dtype=np.float16)) == [[0, 128, 255]]
    assert decoded_pixels(np.array([[[0, 0.5, 1]]])) == [[[0, 128, 255]]]


@pytest.mark.parametrize("shape", [(0, 5), (5, 0, 3), (), (5,), (5, 5, 0), (7, 6, 7), (1, 2, 2, 3)])
def test_an_array_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ReadError, match=r"^has shape \(.*\), expected \(h, w\), \(h, w, channels\) or \(channels, h, w\)$"
    ):
        decode(np.zeros(shape, dtype=np.uint8))


@pytest.mark.parametrize("values", [["a", "b"], [1j, 2j], [b"x"], [None]])
def test_an_array_without_numbers_is_refused(values: list[Any]) -> None:
    with pytest.raises(ReadError, match=r"^holds .*, expected numbers$"):
        decode(np.array([values]))


def test_an_array_that_is_too_large_is_refused() -> None:
    with pytest.raises(ReadError, match=rf"^has 400000000 pixels, expected at most {MAX_PIXELS}$"):
        decode(np.broadcast_to(np.float64(0), (20_000, 20_000)))
