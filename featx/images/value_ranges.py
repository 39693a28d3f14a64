"""Scaling of numbers to 8 bits by one range for the whole source: never by the values of a single image."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ReadError
from featx.specs.embedding import Decoding

Pixels = NDArray[np.uint8]
# Smallest and largest value of an image.
Extremes = tuple[float, float]

# Number of values, or pixels, that are converted at a time.
BLOCK_VALUES = 1 << 20
# Factor between the full ranges of 16 and of 8 bits.
UINT16_STEP = 257
# Larger whole numbers are rounded in floats of 64 bits.
MAX_EXACT_INTEGER = 2**53


def to_uint8(values: NDArray[Any], decoding: Decoding) -> tuple[Pixels, Extremes | None]:
    """Return numbers of any dtype scaled to 0 … 255, and their extremes if some are outside ``decoding.value_range``.

    Without ``decoding.value_range``, only dtypes whose range is known are scaled: booleans, 8 and 16 bits without a
    sign, and floats within [0, 1]. Values of 8 bits are never scaled.

    Parameters
    ----------
    values
        Array of any shape and dtype.
    decoding
        Choices of the decoder.

    Raises
    ------
    ReadError
        the values are not numbers, some are nan or infinity, or their range is not known.
    """
    if values.dtype == np.uint8:
        return values, None
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255, None
    if values.dtype.kind not in "iuf":
        raise ReadError(f"holds {values.dtype}, expected numbers")
    flat_values = values.reshape(-1)
    # Intermediate results of all values at once would take the memory of ten pictures.
    blocks = [slice(start, start + BLOCK_VALUES) for start in range(0, flat_values.size, BLOCK_VALUES)]
    if values.dtype.kind == "f" and not all(np.isfinite(flat_values[block]).all() for block in blocks):
        raise ReadError("holds nan or infinity")
    pixels: Pixels = np.zeros(flat_values.shape, dtype=np.uint8)
    if decoding.value_range is None and _is_uint16(values):
        for block in blocks:
            pixels[block] = flat_values[block] // UINT16_STEP
        return pixels.reshape(values.shape), None
    extremes = float(values.min()), float(values.max())
    low, high = decoding.value_range or _require_unit_range(values, extremes)
    for block in blocks:
        scaled_values: NDArray[np.float64] = (flat_values[block].astype(np.float64) - low) * 255.0 / (high - low)
        pixels[block] = np.rint(scaled_values.clip(0, 255))
    is_outside = extremes[0] < low or extremes[1] > high
    return pixels.reshape(values.shape), extremes if is_outside else None


def format_value(value: float) -> str:
    """Return a value of a pixel as text: all digits of a whole number, at most 6 of others."""
    return str(int(value)) if value.is_integer() and abs(value) < MAX_EXACT_INTEGER else f"{value:.6g}"


def _is_uint16(values: NDArray[Any]) -> bool:
    return values.dtype.kind == "u" and values.dtype.itemsize == 2


def _require_unit_range(values: NDArray[Any], extremes: Extremes) -> tuple[float, float]:
    """Return [0, 1] for floats within it.

    Raises
    ------
    ReadError
        the values are others: the range that one image fills may differ from that of the next one.
    """
    low, high = extremes
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return 0.0, 1.0
    raise ReadError(
        f"holds values from {format_value(low)} to {format_value(high)} of {values.dtype.name}; "
        "set decoding.value_range = [low, high]"
    )
