"""From a file's bytes, or a row of an array, to 8-bit RGB pixels, by one policy (version 3; docs/decoding.md).

A change of any of it is a new number in `featx.specs.embedding.EmbeddingSpec.decode`.
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

FORMATS = ["JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "AVIF", "PPM"]
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"}
MOST_PIXELS = 178_956_970  # Pillow's own limit: 0.5 GB once decoded
ORIENTATION = 0x0112  # the EXIF tag
TIFF_TILE_WIDTH, TIFF_TILE_LENGTH = 322, 323
# Bytes of a pixel in Pillow's memory, by mode; all other modes take the largest number.
MAX_PIXEL_BYTES = 4
PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
# Number of values, or pixels, that are converted at a time.
BLOCK_VALUES = 1 << 20
CHANNELS = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
# Broken metadata and sizes short of a bomb are warnings to Pillow; the outcome of the file says what matters.
warnings.filterwarnings("ignore", module=r"PIL\..*")


def decode(content: Content, decoding: Decoding | None = None, required_px: int = 0) -> Image.Image:
    """Return the picture that `content` holds, mode RGB, or L where it is grey: a third to resize, and no other pixels.

    Parameters
    ----------
    required_px
        With ``decoding.reduced``: the shorter side that a reduced JPEG must keep; 0 reduces nothing.

    Raises
    ------
    ReadError
        it cannot be decoded; the message is the reason alone.
    """
    decoding = decoding or Decoding()
    try:
        if isinstance(content, np.ndarray):
            return _opaque(from_array(content, decoding), decoding)
        return _from_bytes(content, decoding, required_px)
    except ReadError:
        raise
    except UnidentifiedImageError as error:
        raise ReadError(_unknown_format(content)) from error
    except Exception as error:  # as in from_image
        raise ReadError(_broken(error)) from error


def _from_bytes(data: bytes, decoding: Decoding, required_px: int) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=_formats()) as opened:
        _check_decoded(opened, decoding.max_bytes)
        _seek(opened, decoding.frame)
        if opened.format == "JPEG" and (plain := _plain_jpeg(opened, data, decoding, required_px)):
            return plain
        return from_image(opened, decoding)


def from_image(opened: Image.Image, decoding: Decoding) -> Image.Image:
    """Return what Pillow opened as `decode` does.

    Raises
    ------
    ReadError
        it cannot be decoded; the message is the reason alone.
    """
    try:
        _check_decoded(opened, decoding.max_bytes)
        opened.load()
        if opened.format in {"JPEG", "MPO"} and opened.mode == "CMYK" and "adobe" not in opened.info:
            # Pillow takes all CMYK JPEGs for Adobe's, whose values are inverted.
            return _opaque(ImageOps.exif_transpose(ImageChops.invert(opened)), decoding)
        if opened.format == "PPM" and opened.mode == "I":  # 16 bits, which Pillow hands out as 32
            return _opaque(Image.fromarray(np.asarray(opened).astype(np.uint16)), decoding)
        return _opaque(ImageOps.exif_transpose(opened), decoding)
    except ReadError:
        raise
    except Exception as error:  # on broken files Pillow raises whatever comes to its plugins
        raise ReadError(_broken(error)) from error


def _check_decoded(opened: Image.Image, max_bytes: int) -> None:
    """Check that a picture's pixels may be decoded, from what its header says.

    Raises
    ------
    ReadError
        they, or one tile of a TIFF file, which is decoded whole however small the picture is, take too many bytes.
    """
    _check_bytes(opened.width * opened.height * PIXEL_BYTES.get(opened.mode, MAX_PIXEL_BYTES), max_bytes)
    tags = getattr(opened, "tag_v2", {})
    width, length = (int(tags.get(tag, 0)) for tag in (TIFF_TILE_WIDTH, TIFF_TILE_LENGTH))
    _check_bytes(width * length * MAX_PIXEL_BYTES, max_bytes)


def _check_bytes(n_bytes: int, max_bytes: int) -> None:
    if n_bytes > max_bytes:
        raise ReadError(f"has {n_bytes} bytes once decoded, expected at most {max_bytes} (decoding.max_bytes)")


def _broken(error: Exception) -> str:
    kind = "" if isinstance(error, OSError) and str(error) else f"{type(error).__name__} "
    return f"cannot be decoded: {kind}{error}".rstrip()


def _formats() -> list[str]:
    if find_spec("pillow_heif") is None:
        return FORMATS
    import pillow_heif

    pillow_heif.register_heif_opener()
    return [*FORMATS, "HEIF"]


def _unknown_format(content: Content) -> str:
    if isinstance(content, bytes) and content[4:8] == b"ftyp" and content[8:12] in HEIC_BRANDS:
        return 'is HEIC, which needs an extra: pip install "featx[heic]"'
    return "is not an image of a known format"


def _seek(opened: ImageFile.ImageFile, frame: int) -> None:
    n_frames = getattr(opened, "n_frames", 1) if frame else 1
    if frame >= n_frames:
        raise ReadError(f"has {n_frames} frames, expected frame {frame} (decoding.frame counts from 0)")
    if frame:
        opened.seek(frame)


def _plain_jpeg(opened: ImageFile.ImageFile, data: bytes, decoding: Decoding, required_px: int) -> Image.Image | None:
    """Return an upright grey or colour JPEG by libjpeg-turbo directly; None where Pillow has to do it.

    Its pixels are Pillow's to the bit where nothing is reduced. What it complains of, Pillow decides.
    """
    if opened.mode not in {"L", "RGB"} or opened.getexif().get(ORIENTATION, 1) != 1:
        return None
    least = 2 * required_px if decoding.reduced else 0
    try:
        colours = "GRAY" if opened.mode == "L" else "RGB"
        pixels = simplejpeg.decode_jpeg(data, colours, min_height=least, min_width=least, min_factor=2)
    except (ValueError, RuntimeError, MemoryError):
        return None
    return Image.fromarray(pixels[..., 0] if opened.mode == "L" else pixels)


def _opaque(image: Image.Image, decoding: Decoding) -> Image.Image:
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return Image.fromarray(eight_bits(np.asarray(image), decoding))
    if image.has_transparency_data:
        return _on_background(image, decoding.background)
    return image.convert("L" if image.mode in {"1", "L"} else "RGB")


def _on_background(image: Image.Image, background: str) -> Image.Image:
    """Lay a picture on a colour, some rows at a time: all at once would take the memory of five pictures."""
    found = Image.new("RGB", image.size)
    step = max(1, BLOCK_VALUES // image.width)
    for top in range(0, image.height, step):
        box = (0, top, image.width, min(top + step, image.height))
        front = image.crop(box).convert("RGBA")
        found.paste(Image.alpha_composite(Image.new("RGBA", front.size, background), front).convert("RGB"), box)
    return found


def from_array(values: NDArray[Any], decoding: Decoding) -> Image.Image:
    """Return an array as a picture.

    Parameters
    ----------
    values
        (h, w), or 1 to 4 channels (grey, grey and alpha, RGB, RGBA) last or first: (h, w, c) or (c, h, w).

    Raises
    ------
    ReadError
        it has another shape, holds no numbers, or some are not finite.
    """
    shape = values.shape
    if values.ndim == 3 and shape[2] not in CHANNELS and shape[0] in CHANNELS:
        values = np.moveaxis(values, 0, 2)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if not values.size or values.ndim not in {2, 3} or (values.ndim == 3 and values.shape[2] not in CHANNELS):
        raise ReadError(f"has shape {shape}, expected (h, w), (h, w, channels) or (channels, h, w)")
    if values.shape[0] * values.shape[1] > MOST_PIXELS:
        raise ReadError(f"has {values.shape[0] * values.shape[1]} pixels, expected at most {MOST_PIXELS}")
    _check_bytes(values.nbytes, decoding.max_bytes)
    pixels = np.ascontiguousarray(eight_bits(values, decoding))
    return Image.fromarray(pixels, "L" if pixels.ndim == 2 else CHANNELS[pixels.shape[2]])


def eight_bits(values: NDArray[Any], decoding: Decoding) -> Pixels:
    """Return numbers of any type as 0 … 255, each type by its range; nothing is clipped unless a range is said.

    Raises
    ------
    ReadError
        they are no numbers, or some are not finite.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * 255
    if values.dtype.kind not in "iuf":
        raise ReadError(f"holds {values.dtype}, expected numbers")
    # Some values at a time: intermediate results of all would take the memory of ten pictures.
    flat = values.reshape(-1)
    blocks = [slice(start, start + BLOCK_VALUES) for start in range(0, flat.size, BLOCK_VALUES)]
    if values.dtype.kind == "f" and not all(np.isfinite(flat[block]).all() for block in blocks):
        raise ReadError("holds nan or infinity")
    found: Pixels = np.zeros(values.shape, dtype=np.uint8)
    pixels = found.reshape(-1)
    if values.dtype.kind == "u" and values.dtype.itemsize == 2 and decoding.value_range is None:  # of any byte order
        for block in blocks:
            pixels[block] = flat[block] // 257
        return found
    low, high = decoding.value_range or _range_of(values)
    if low < high:
        for block in blocks:
            scaled: NDArray[np.float64] = (flat[block].astype(np.float64) - low) * 255.0 / (high - low)
            pixels[block] = np.rint(scaled.clip(0, 255))
    return found


def _range_of(values: NDArray[Any]) -> tuple[float, float]:
    """Return the numbers that stand for black and white: the smallest usual range that holds all, or their own."""
    low, high = float(values.min()), float(values.max())
    usual = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    if low >= 0:
        for most in usual:
            if high <= most:
                return 0.0, most
    return low, high


def size_of(content: Content) -> tuple[int, int]:
    """Return width and height in pixels as a file's header, or an array's shape, says.

    Raises
    ------
    ReadError
        it cannot be read.
    """
    if isinstance(content, np.ndarray):
        return from_array(content, Decoding()).size
    try:
        with Image.open(io.BytesIO(content), formats=_formats()) as opened:
            return opened.size
    except Exception as error:  # as above
        raise ReadError(f"cannot be decoded: {error}") from error
