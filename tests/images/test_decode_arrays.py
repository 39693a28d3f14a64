"""Scaling of arrays, floats and wide integers to 8 bits, and arrays that are refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from featx.errors import ReadError
from featx.images.decode import MAX_PIXELS, decode
from featx.specs.embedding import Decoding
from tests.image_files import decoded_greys, decoded_pixels, encode, noise

RANGES = [
    ([0.0, 0.25, 0.5, 1.0], [0, 64, 128, 255]),  # [0, 1]
    ([0.5], [128]),
    ([0.0, 1.5, 100.0, 254.9], [0, 2, 100, 255]),  # [0, 255]
    ([0.0, 257.0, 65535.0], [0, 1, 255]),  # [0, 65535]
    ([0.0, 1e5, 4e5], [0, 64, 255]),  # its own
    ([-1.0, -0.5, 1.0], [0, 64, 255]),
    ([0.0, 0.0], [0, 0]),
    ([-7.0, -7.0], [0, 0]),
]


@pytest.mark.parametrize(("values", "expected"), RANGES)
def test_floats_are_scaled_by_the_smallest_usual_range(values: list[float], expected: list[int]) -> None:
    row = np.array([values], dtype=np.float32)
    assert decoded_greys(encode(Image.fromarray(row), "TIFF")) == [expected]
    for dtype in (np.float32, np.float64):
        assert decoded_greys(row.astype(dtype)) == [expected]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1], [0, 1]),
        ([0, 1, 100], [0, 1, 100]),
        ([0, 257, 65535], [0, 1, 255]),
        ([0, 100_000, 400_000], [0, 64, 255]),
        ([-100, -50, 100], [0, 64, 255]),
        ([5, 5], [5, 5]),
    ],
)
def test_integers_are_scaled_by_their_range_and_one_is_not_white(values: list[int], expected: list[int]) -> None:
    row = np.array([values], dtype=np.int32)
    assert decoded_greys(encode(Image.fromarray(row), "TIFF")) == [expected]
    assert decoded_greys(row) == decoded_greys(row.astype(np.int64)) == [expected]


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
    if channels in {2, 4}:
        values[..., -1] = 255
    front = values if not channels else values[..., : 3 if channels > 2 else 1]
    expected = np.broadcast_to(front.reshape(height, width, -1), (height, width, 3)).tolist()
    assert decoded_pixels(np.moveaxis(values, 2, 0) if channels and first else values) == expected


def test_arrays_are_scaled_by_their_dtype() -> None:
    assert decoded_greys(np.array([[True, False]])) == [[255, 0]]
    for sixteen in ("<u2", ">u2"):
        assert decoded_greys(np.array([[0, 256, 257, 65535]], dtype=sixteen)) == [[0, 0, 1, 255]]
        assert decoded_greys(np.array([[0, 200]], dtype=sixteen)) == [[0, 0]]
    assert decoded_greys(np.array([[0, 1, 255]], dtype=np.uint32)) == [[0, 1, 255]]
    assert decoded_greys(np.array([[-128, 127]], dtype=np.int8)) == [[0, 255]]
    assert decoded_greys(np.array([[0, 0.5, 1]], dtype=np.float16)) == [[0, 128, 255]]
    assert decoded_pixels(np.array([[[0, 0.5, 1]]])) == [[[0, 128, 255]]]


@pytest.mark.parametrize("shape", [(0, 5), (5, 0, 3), (), (5,), (5, 5, 0), (7, 6, 5), (1, 2, 2, 3)])
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
