"""From a file's bytes to pixels, by one policy (version 1).

EXIF orientation is applied; animated and multi-page files give their first frame; grey and palette images become
three channels; transparency is laid on white; CMYK is converted by Pillow; 16-bit grey is divided by 257, so that
0 … 65535 become 0 … 255; 32-bit integers and floats are refused, since their range is not known; colour profiles
are left alone. A change of any of this is a new number in `featx.specs.EmbeddingSpec.decode`.
"""

import io
import struct
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from featx.errors import ReadError
from featx.specs import Preprocessing

Pixels = NDArray[np.uint8]

# What Pillow raises for broken files, besides OSError (which UnidentifiedImageError is).
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError, MemoryError)
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# Broken metadata and sizes short of a bomb are warnings to Pillow; the outcome of the file says what matters.
warnings.filterwarnings("ignore", module=r"PIL\..*")


def decode(data: bytes) -> Image.Image:
    """Return the picture that `data` holds, mode RGB.

    Raises
    ------
    ReadError
        it cannot be decoded; the message is the reason alone.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            return _three_channels(ImageOps.exif_transpose(opened))
    except UnidentifiedImageError as error:
        raise ReadError("is not an image of a known format") from error
    except ReadError:
        raise
    except BROKEN as error:
        raise ReadError(f"cannot be decoded: {error or type(error).__name__}") from error


def _three_channels(image: Image.Image) -> Image.Image:
    if image.mode in {"I", "F"}:
        raise ReadError(f"has pixels of an unknown range (Pillow mode {image.mode!r})")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        front = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", front.size, "white"), front).convert("RGB")
    return image.convert("RGB")


def preprocessor(size: Preprocessing) -> Callable[[Image.Image], Pixels]:
    """Return the function that brings a picture to the (size_px, size_px, 3) that a network takes."""
    side, resampling = size.size_px, FILTERS[size.interpolation]

    def squash(image: Image.Image) -> Pixels:
        return np.asarray(image.resize((side, side), resampling))

    def crop(image: Image.Image) -> Pixels:
        edge = min(image.size) * size.crop_share
        left, top = (image.width - edge) / 2, (image.height - edge) / 2
        return np.asarray(image.resize((side, side), resampling, box=(left, top, left + edge, top + edge)))

    return squash if size.resize == "squash" else crop
