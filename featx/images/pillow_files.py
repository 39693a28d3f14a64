"""Image files opened with Pillow: allowed formats, metadata that must not stop an image, and 16-bit colours in full."""

import io
import logging
import os
import struct
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from featx.errors import ReadError
from featx.images.contents import UNKNOWN_FORMAT

Result = TypeVar("Result")

PILLOW_FORMATS = ["JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "AVIF", "PPM"]
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks of a PNG with texts and colour profiles, which Pillow refuses if they are large: no pixel depends on them.
PNG_METADATA_CHUNKS = {b"tEXt", b"zTXt", b"iTXt", b"iCCP"}
# Keywords of texts that may state the orientation.
PNG_ORIENTATION_KEYWORDS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
# Stored size in bytes up to which these texts are kept.
MAX_ORIENTATION_TEXT_BYTES = 1 << 16
TIFF_EXTRA_SAMPLES, TIFF_SAMPLE_FORMAT, TIFF_BITS_PER_SAMPLE = 338, 339, 258
STANDARD_ERROR = 2
ALPHA_SAMPLES = {1, 2}
SIGNED_SAMPLES = 2
# Pillow unpacks the upper byte of each 16-bit colour; with the other byte order it unpacks the lower one.
OTHER_BYTE_ORDER = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B" if sys.byteorder == "little" else ";16L"}
# Pillow warns of broken metadata and of large images; the outcome of each file already reports what matters.
warnings.filterwarnings("ignore", module=r"PIL\..*")
# Without a handler, Python prints what Pillow logs.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def open_image(data: bytes) -> ImageFile.ImageFile:
    """Open an image file; its header is read, its pixels are not.

    Raises
    ------
    ReadError
        it has no known format; the message is only the reason.
    Exception
        it is broken: Pillow raises any kind of error.
    """
    try:
        return Image.open(io.BytesIO(data), formats=_allowed_formats())
    except UnidentifiedImageError as error:
        raise ReadError(_unknown_format_reason(data)) from error


def _allowed_formats() -> list[str]:
    if find_spec("pillow_heif") is None:
        return PILLOW_FORMATS
    import pillow_heif

    pillow_heif.register_heif_opener()
    return [*PILLOW_FORMATS, "HEIF"]


def _unknown_format_reason(data: bytes) -> str:
    if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS:
        return 'is HEIC, which needs an extra: pip install "featx[heic]"'
    return UNKNOWN_FORMAT


def read_despite_metadata(data: bytes, read_image: Callable[[bytes], Result]) -> Result:
    """Return what `read_image` returns for a file, or else for the file without metadata that Pillow refuses.

    Pillow refuses large texts and colour profiles of a PNG, by errors of several kinds.

    Parameters
    ----------
    data
        Bytes of an image file.
    read_image
        Function that reads the file with Pillow.
    """
    try:
        return read_image(data)
    except ReadError:
        raise
    except Exception:
        stripped_data = _drop_png_metadata(data)
        if stripped_data is None:
            raise
        return read_image(stripped_data)


def _drop_png_metadata(data: bytes) -> bytes | None:
    """Return a PNG without texts and colour profiles; None if it has none, or is no PNG.

    Small texts that may state the orientation are kept.
    """
    if not data.startswith(PNG_SIGNATURE):
        return None
    chunks, position = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        chunk = data[position : position + length + 12]
        is_orientation = length <= MAX_ORIENTATION_TEXT_BYTES and chunk[8:].startswith(PNG_ORIENTATION_KEYWORDS)
        if name not in PNG_METADATA_CHUNKS or is_orientation:
            chunks.append(chunk)
        position += len(chunk)
    stripped_data = b"".join(chunks)
    return stripped_data if len(stripped_data) < position else None


def has_unnamed_alpha(image: Image.Image) -> bool:
    """Whether Pillow takes the last channel of a TIFF for transparency although the file does not say so."""
    tags = getattr(image, "tag_v2", None)
    if tags is None or image.mode not in {"RGBA", "LA", "PA"}:
        return False
    return not ALPHA_SAMPLES & set(tags.get(TIFF_EXTRA_SAMPLES, ()))


def is_signed_16_bit(image: Image.Image) -> bool:
    """Whether the values of a TIFF, which Pillow returns with 32 bits, have 16 bits and a sign."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(TIFF_BITS_PER_SAMPLE) == (16,) and tags.get(TIFF_SAMPLE_FORMAT) == (SIGNED_SAMPLES,)


def has_deep_colours(image: Image.Image) -> bool:
    """Whether the colours of an opened, not yet loaded file have 16 bits, of which Pillow returns the upper 8."""
    tiles = getattr(image, "tile", [])
    return image.mode in {"RGB", "RGBA"} and any(";16" in _raw_mode(tile.args) for tile in tiles)


def read_deep_colours(image: ImageFile.ImageFile, reopened_image: ImageFile.ImageFile) -> NDArray[np.uint16]:
    """Return (h, w, 3 or 4) colours of 16 bits, of which Pillow alone returns the upper 8; both files are loaded.

    Parameters
    ----------
    image, reopened_image
        One file, opened twice; its pixels are not loaded yet.

    Raises
    ------
    ReadError
        the file stores its channels one after the other.
    """
    for tile in reopened_image.tile:
        if _raw_mode(tile.args)[-4:] not in OTHER_BYTE_ORDER or len(_raw_mode(tile.args)) < len("RGB;16B"):
            raise ReadError("has 16-bit colours in separate planes, of which only the upper 8 bits can be read")
    reopened_image.tile = [tile._replace(args=_swap_bytes(tile.args)) for tile in reopened_image.tile]
    upper, lower = np.asarray(image), np.asarray(reopened_image)
    colours: NDArray[np.uint16] = upper.astype(np.uint16)
    colours <<= np.uint16(8)
    colours |= lower
    return colours


@contextmanager
def silence_decoders() -> Iterator[None]:
    """Drop what this process writes to standard error while the block runs: libtiff reports broken files there."""
    sys.stderr.flush()
    saved_descriptor = os.dup(STANDARD_ERROR)
    try:
        with open(os.devnull, "w") as null_file:  # noqa: PTH123
            os.dup2(null_file.fileno(), STANDARD_ERROR)
        yield
    finally:
        os.dup2(saved_descriptor, STANDARD_ERROR)
        os.close(saved_descriptor)


def _raw_mode(args: Any) -> str:
    """Return the name by which Pillow knows the layout of the stored values."""
    return str(args[0] if isinstance(args, tuple | list) and args else args)


def _swap_bytes(args: Any) -> Any:
    raw_mode = _raw_mode(args)
    swapped_mode = raw_mode[:-4] + OTHER_BYTE_ORDER[raw_mode[-4:]]
    return swapped_mode if isinstance(args, str) else (swapped_mode, *args[1:])
