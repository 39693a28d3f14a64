"""DICOM files as arrays: grey values by the window of the file or by its stored bits, colours as they are."""

import io
import math
import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import ReadError
from featx.images.contents import DAMAGED_DICOM, check_size

DICOM_SUFFIXES = (".dcm", ".dicom")
# Transfer syntax that compresses all of a file: its size is known only after unpacking.
DEFLATED_SYNTAX = b"1.2.840.10008.1.2.1.99"
N_HEADER_BYTES = 4096
MAX_GREY = 65535
# Words of pydicom's error for a compression that only packages read which are not installed.
MISSING_PACKAGES = "missing dependencies"
# pydicom warns of values that do not follow the standard; the outcome of each file already reports what matters.
warnings.filterwarnings("ignore", module=r"pydicom\..*")


def read_dicom(content: bytes) -> NDArray[Any]:
    """Return the image of a DICOM file: (h, w) grey values from 0 to 65535, or (h, w, 3) colours.

    Grey values are rescaled, and black and white are the ends of the file's first window, or else of the range of its
    stored bits. Files of the inverted kind MONOCHROME1 are inverted.

    Parameters
    ----------
    content
        Bytes of the file.

    Raises
    ------
    ReadError
        it cannot be read, has several frames, or pydicom is not installed.
    """
    if find_spec("pydicom") is None:
        raise ReadError('is DICOM, which needs an extra: pip install "featx[dicom]"')
    if DEFLATED_SYNTAX in content[:N_HEADER_BYTES]:
        raise ReadError("is DICOM compressed as a whole (Deflated Explicit VR); convert it, for example with dcmconv")
    import pydicom

    try:
        dataset = pydicom.dcmread(io.BytesIO(content), force=False)
        _check_pixels(dataset)
        return _to_array(dataset)
    except ReadError:
        raise
    # pydicom and the decoders behind it raise any kind of error on broken files.
    except Exception as error:
        raise ReadError(_failure_reason(error)) from error


def _failure_reason(error: Exception) -> str:
    reason, *details = [line.strip() for line in (str(error) or type(error).__name__).splitlines()]
    if isinstance(error, MemoryError):
        return "is DICOM that is too large to be decoded"
    if MISSING_PACKAGES in reason:
        return f"is DICOM, and its compression needs one of these packages: {'; '.join(details)}"
    if isinstance(error, NotImplementedError):
        return f"is DICOM of a kind that pydicom does not read: {reason}; convert it, for example with dcmdjpeg"
    return f"{DAMAGED_DICOM}: {reason}"


def _check_pixels(dataset: Any) -> None:
    """Check from its header that a file holds one image of a permitted size.

    Raises
    ------
    ReadError
        it holds none, several, or a larger one.
    """
    n_pixels = int(_read_number(dataset, "Rows", 0) * _read_number(dataset, "Columns", 0))
    if not n_pixels or not dataset.get("PixelData"):
        raise ReadError("is DICOM without an image, for example a report or a structure set")
    # Zero frames are written for one.
    n_frames = int(_read_number(dataset, "NumberOfFrames", 1)) or 1
    if n_frames != 1:
        raise ReadError(f"has {n_frames} frames, expected one; write each frame into a file")
    n_values = n_pixels * int(_read_number(dataset, "SamplesPerPixel", 1))
    check_size(n_values * math.ceil(_read_number(dataset, "BitsAllocated", 8) / 8))


def _read_number(dataset: Any, name: str, default: float) -> float:
    """Return the number of a tag, or the first of several; the default if the tag is missing or has no value."""
    return float(value) if (value := _first_value(dataset, name)) is not None else default


def _first_value(dataset: Any, name: str) -> Any:
    value = next(iter(np.ravel(dataset.get(name))), None)
    return None if value == "" else value


def _to_array(dataset: Any) -> NDArray[Any]:
    values = np.asarray(dataset.pixel_array)
    kind = str(dataset.PhotometricInterpretation)
    if kind == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        return np.asarray(apply_color_lut(values, dataset))
    if not kind.startswith("MONOCHROME"):
        return values
    slope, intercept = _read_number(dataset, "RescaleSlope", 1), _read_number(dataset, "RescaleIntercept", 0)
    low, high = _find_window(dataset, slope, intercept)
    grey: NDArray[np.float64] = ((values.astype(np.float64) * slope + intercept - low) / (high - low)).clip(0, 1)
    if not np.isfinite(grey).all():
        raise ReadError("has grey values or a window that are not finite")
    scaled_grey: NDArray[np.float64] = np.rint((1 - grey if kind == "MONOCHROME1" else grey) * MAX_GREY)
    return scaled_grey.astype(np.uint16)


def _find_window(dataset: Any, slope: float, intercept: float) -> tuple[float, float]:
    """Return the rescaled values of black and white.

    Source: DICOM PS3.3, C.11.2.1.2 (window), linear function.
    """
    window = [_first_value(dataset, name) for name in ("WindowCenter", "WindowWidth")]
    if None not in window:
        center, width = map(float, window)
        if not width >= 1:
            raise ReadError(f"has a window of width {width:g}, expected at least 1")
        half_width = max(width - 1, 1) / 2
        return center - 0.5 - half_width, center - 0.5 + half_width
    bits = int(dataset.BitsStored)
    is_signed = _read_number(dataset, "PixelRepresentation", 0) == 1
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)
    low, high = sorted(end * slope + intercept for end in ends)
    if not low < high:
        raise ReadError(f"has a rescale slope of {slope:g}, expected another number than 0")
    return low, high
