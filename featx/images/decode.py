"""Decoding of a file's bytes, or a row of an array, into 8-bit RGB pixels by one policy (docs/decoding.md).

Any change of the pixels needs a new number in `featx.specs.embedding.EmbeddingSpec.decode`.
"""

import io
import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFile, ImageOps, UnidentifiedImageError

from featx.errors import ReadError
from featx.images.contents import Content
from featx.specs.embedding import Decoding

Pixels = NDArray[np.uint8]

PILLOW_FORMATS = ["JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "AVIF", "PPM"]
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"}
# Number of pixels of an array; Pillow has the same limit for files: 0.5 GB once decoded.
MAX_PIXELS = 178_956_970
# Number of the EXIF tag.
EXIF_ORIENTATION = 0x0112
TIFF_TILE_WIDTH, TIFF_TILE_LENGTH = 322, 323
# Bytes of a pixel in Pillow's memory, by mode; all other modes take the largest number.
MAX_PIXEL_BYTES = 4
PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
# Number of values, or pixels, that are converted at a time.
BLOCK_VALUES = 1 << 20
MODE_BY_CHANNELS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
# Pillow warns of broken metadata and of large images; the outcome of each file already reports what matters.
warnings.filterwarnings("ignore", module=r"PIL\..*")


def decode(content: Content, decoding: Decoding | None = None, required_px: int = 0) -> Image.Image:
    """Return the decoded picture, in mode RGB, or in mode L if it is grey.

    Mode L is resized to the same pixels as RGB at a third of the cost.

    Parameters
    ----------
    content
        Bytes of a file, or one row of an array.
    decoding
        Choices of the decoder; None takes the defaults.
    required_px
        Minimum length in pixels of the shorter side of a JPEG that ``decoding.reduced`` decodes at a reduced size; 0
        reduces nothing.

    Raises
    ------
    ReadError
        it cannot be decoded; the message is only the reason.
    """
    decoding = decoding or Decoding()
    try:
        if isinstance(content, np.ndarray):
            return _to_opaque(from_array(content, decoding), decoding)
        return _decode_bytes(content, decoding, required_px)
    except ReadError:
        raise
    except UnidentifiedImageError as error:
        raise ReadError(_unknown_format_reason(content)) from error
    # Pillow raises any kind of error on broken files.
    except Exception as error:
        raise ReadError(_failure_reason(error)) from error


def _decode_bytes(data: bytes, decoding: Decoding, required_px: int) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=_allowed_formats()) as opened:
        _check_decoded(opened, decoding.max_bytes)
        _seek_frame(opened, decoding.frame)
        if opened.format == "JPEG" and (plain := _decode_plain_jpeg(opened, data, decoding, required_px)):
            return plain
        return convert_image(opened, decoding)


def convert_image(opened: Image.Image, decoding: Decoding) -> Image.Image:
    """Return an image that Pillow has opened as the decoded picture that `decode` returns.

    Parameters
    ----------
    opened
        The image; its pixels need not be loaded.
    decoding
        Choices of the decoder.

    Raises
    ------
    ReadError
        it cannot be decoded; the message is only the reason.
    """
    try:
        _check_decoded(opened, decoding.max_bytes)
        opened.load()
        if opened.format in {"JPEG", "MPO"} and opened.mode == "CMYK" and "adobe" not in opened.info:
            # Pillow inverts the values of all CMYK JPEGs, but only those of Adobe need it.
            return _to_opaque(ImageOps.exif_transpose(ImageChops.invert(opened)), decoding)
        # Pillow returns PPM files of 16 bits as 32 bits.
        if opened.format == "PPM" and opened.mode == "I":
            return _to_opaque(Image.fromarray(np.asarray(opened).astype(np.uint16)), decoding)
        return _to_opaque(ImageOps.exif_transpose(opened), decoding)
    except ReadError:
        raise
    # Pillow raises any kind of error on broken files.
    except Exception as error:
        raise ReadError(_failure_reason(error)) from error


def _check_decoded(opened: Image.Image, max_bytes: int) -> None:
    """Check from its header that a picture can be decoded within the memory limit.

    Raises
    ------
    ReadError
        its pixels, or those of one tile of a TIFF file, take too many bytes: tiles are always decoded completely.
    """
    _check_bytes(opened.width * opened.height * PIXEL_BYTES.get(opened.mode, MAX_PIXEL_BYTES), max_bytes)
    tags = getattr(opened, "tag_v2", {})
    width, length = (int(tags.get(tag, 0)) for tag in (TIFF_TILE_WIDTH, TIFF_TILE_LENGTH))
    _check_bytes(width * length * MAX_PIXEL_BYTES, max_bytes)


def _check_bytes(n_bytes: int, max_bytes: int) -> None:
    if n_bytes > max_bytes:
        raise ReadError(f"has {n_bytes} bytes once decoded, expected at most {max_bytes} (decoding.max_bytes)")


def _failure_reason(error: Exception) -> str:
    error_type = "" if isinstance(error, OSError) and str(error) else f"{type(error).__name__} "
    return f"cannot be decoded: {error_type}{error}".rstrip()


def _allowed_formats() -> list[str]:
    if find_spec("pillow_heif") is None:
        return PILLOW_FORMATS
    import pillow_heif

    pillow_heif.register_heif_opener()
    return [*PILLOW_FORMATS, "HEIF"]


def _unknown_format_reason(content: Content) -> str:
    if isinstance(content, bytes) and content[4:8] == b"ftyp" and content[8:12] in HEIC_BRANDS:
        return 'is HEIC, which needs an extra: pip install "featx[heic]"'
    return "is not an image of a known format"


def _seek_frame(opened: ImageFile.ImageFile, frame: int) -> None:
    n_frames = getattr(opened, "n_frames", 1) if frame else 1
    if frame >= n_frames:
        raise ReadError(f"has {n_frames} frames, expected frame {frame} (decoding.frame counts from 0)")
    if frame:
        opened.seek(frame)


def _decode_plain_jpeg(
    opened: ImageFile.ImageFile, data: bytes, decoding: Decoding, required_px: int
) -> Image.Image | None:
    """Return a grey or colour JPEG decoded by libjpeg-turbo directly; None if Pillow has to decode it.

    The pixels are equal to Pillow's unless the size is reduced. Pillow decodes rotated files and those that
    libjpeg-turbo refuses.
    """
    if opened.mode not in {"L", "RGB"} or opened.getexif().get(EXIF_ORIENTATION, 1) != 1:
        return None
    min_px = 2 * required_px if decoding.reduced else 0
    try:
        colours = "GRAY" if opened.mode == "L" else "RGB"
        pixels = simplejpeg.decode_jpeg(data, colours, min_height=min_px, min_width=min_px, min_factor=2)
    except (ValueError, RuntimeError, MemoryError):
        return None
    return Image.fromarray(pixels[..., 0] if opened.mode == "L" else pixels)


def _to_opaque(image: Image.Image, decoding: Decoding) -> Image.Image:
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return Image.fromarray(to_uint8(np.asarray(image), decoding))
    if image.has_transparency_data:
        return _paste_on_background(image, decoding.background)
    return image.convert("L" if image.mode in {"1", "L"} else "RGB")


def _paste_on_background(image: Image.Image, background: str) -> Image.Image:
    """Return a picture on a background colour.

    Some rows are converted at a time: all rows at once would take the memory of five pictures.
    """
    canvas = Image.new("RGB", image.size)
    step = max(1, BLOCK_VALUES // image.width)
    for top in range(0, image.height, step):
        box = (0, top, image.width, min(top + step, image.height))
        front = image.crop(box).convert("RGBA")
        canvas.paste(Image.alpha_composite(Image.new("RGBA", front.size, background), front).convert("RGB"), box)
    return canvas


def from_array(values: NDArray[Any], decoding: Decoding) -> Image.Image:
    """Return an array as a picture.

    Parameters
    ----------
    values
        (h, w), or 1 to 4 channels (grey, grey and alpha, RGB, RGBA) last or first: (h, w, c) or (c, h, w).
    decoding
        Choices of the decoder.

    Raises
    ------
    ReadError
        it has another shape, holds no numbers, or holds nan or infinity.
    """
    shape = values.shape
    if values.ndim == 3 and shape[2] not in MODE_BY_CHANNELS and shape[0] in MODE_BY_CHANNELS:
        values = np.moveaxis(values, 0, 2)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if not values.size or values.ndim not in {2, 3} or (values.ndim == 3 and values.shape[2] not in MODE_BY_CHANNELS):
        raise ReadError(f"has shape {shape}, expected (h, w), (h, w, channels) or (channels, h, w)")
    if values.shape[0] * values.shape[1] > MAX_PIXELS:
        raise ReadError(f"has {values.shape[0] * values.shape[1]} pixels, expected at most {MAX_PIXELS}")
    _check_bytes(values.nbytes, decoding.max_bytes)
    pixels = np.ascontiguousarray(to_uint8(values, decoding))
    return Image.fromarray(pixels, "L" if pixels.ndim == 2 else MODE_BY_CHANNELS[pixels.shape[2]])


def to_uint8(values: NDArray[Any], decoding: Decoding) -> Pixels:
    """Return numbers of any dtype scaled to 0 … 255, by the range of the dtype or of the values.

    Values are clipped only by ``decoding.value_range``.

    Parameters
    ----------
    values
        Array of any shape and dtype.
    decoding
        Choices of the decoder.

    Raises
    ------
    ReadError
        the values are not numbers, or some are nan or infinity.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    if values.dtype.kind not in "iuf":
        raise ReadError(f"holds {values.dtype}, expected numbers")
    # Intermediate results of all values at once would take the memory of ten pictures.
    flat = values.reshape(-1)
    blocks = [slice(start, start + BLOCK_VALUES) for start in range(0, flat.size, BLOCK_VALUES)]
    if values.dtype.kind == "f" and not all(np.isfinite(flat[block]).all() for block in blocks):
        raise ReadError("holds nan or infinity")
    pixels: Pixels = np.zeros(flat.shape, dtype=np.uint8)
    is_uint16 = values.dtype.kind == "u" and values.dtype.itemsize == 2
    if is_uint16 and decoding.value_range is None:
        for block in blocks:
            pixels[block] = flat[block] // 257
        return pixels.reshape(values.shape)
    low, high = decoding.value_range or _value_range(values)
    if low < high:
        for block in blocks:
            scaled: NDArray[np.float64] = (flat[block].astype(np.float64) - low) * 255.0 / (high - low)
            pixels[block] = np.rint(scaled.clip(0, 255))
    return pixels.reshape(values.shape)


def _value_range(values: NDArray[Any]) -> tuple[float, float]:
    """Return the values of black and white: the smallest usual range with all values, or else their own range."""
    low, high = float(values.min()), float(values.max())
    usual = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    if low >= 0:
        for white in usual:
            if high <= white:
                return 0.0, white
    return low, high


def read_size(content: Content) -> tuple[int, int]:
    """Return width and height in pixels from a file's header or an array's shape.

    Raises
    ------
    ReadError
        the header cannot be read.
    """
    if isinstance(content, np.ndarray):
        return from_array(content, Decoding()).size
    try:
        with Image.open(io.BytesIO(content), formats=_allowed_formats()) as opened:
            return opened.size
    # Pillow raises any kind of error on broken files.
    except Exception as error:
        raise ReadError(f"cannot be decoded: {error}") from error
