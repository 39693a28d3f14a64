"""Decoding of a file's bytes, or a row of an array, into 8-bit RGB pixels by one policy (docs/decoding.md).

Any change of the pixels needs a new number in `featx.specs.embedding.EmbeddingSpec.decode`.
"""

from functools import partial
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFile, ImageOps

from featx.errors import ReadError
from featx.images.contents import UNDECODABLE, Content
from featx.images.pillow_files import (
    has_deep_colours,
    has_unnamed_alpha,
    is_signed_16_bit,
    open_image,
    read_deep_colours,
    read_despite_metadata,
)
from featx.images.tiff_bands import (
    PHOTOMETRIC,
    TiffLayout,
    can_read_bands,
    check_black_is_zero,
    read_bands,
    read_layout,
)
from featx.images.value_ranges import BLOCK_VALUES, Extremes, to_uint8
from featx.specs.embedding import Decoding

# Number of pixels of an array; Pillow has the same limit for files: 0.5 GB once decoded.
MAX_PIXELS = 178_956_970
# Number of the EXIF tag.
EXIF_ORIENTATION = 0x0112
TIFF_TILE_WIDTH, TIFF_TILE_LENGTH = 322, 323
# Bytes of a pixel in Pillow's memory, by mode; all other modes take the largest number.
MAX_PIXEL_BYTES = 4
PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
# Key in the metadata of a decoded picture: its extremes, if some values are outside ``value_range``.
OUTSIDE_RANGE = "featx_outside_range"
# Numbers of channels that identify the axis of the channels, whatever the size of the picture.
USUAL_CHANNELS = {1, 2, 3, 4}


def decode(content: Content, decoding: Decoding | None = None, required_px: int = 0) -> Image.Image:
    """Return the decoded picture, in mode RGB, or in mode L if it is grey.

    Mode L is resized to the same pixels as RGB at a third of the cost. If values are outside of
    ``decoding.value_range``, the picture's ``info`` has their `Extremes` under `OUTSIDE_RANGE`.

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
            return from_array(content, decoding)
        return read_despite_metadata(content, partial(_decode_bytes, decoding=decoding, required_px=required_px))
    except ReadError:
        raise
    # Pillow raises any kind of error on broken files.
    except Exception as error:
        raise ReadError(_failure_reason(error)) from error


def _decode_bytes(data: bytes, decoding: Decoding, required_px: int) -> Image.Image:
    if layout := _find_bands(data, decoding):
        image = from_array(read_bands(data, layout, decoding.max_bytes), decoding)
        return _turn_upright(image, layout.orientation)
    with open_image(data) as opened_image:
        _check_decoded(opened_image, decoding.max_bytes)
        _seek_frame(opened_image, decoding.frame)
        if opened_image.format == "JPEG" and (
            jpeg_image := _decode_plain_jpeg(opened_image, data, decoding, required_px)
        ):
            return jpeg_image
        if decoding.value_range is None or not has_deep_colours(opened_image):
            return _convert_opened(opened_image, decoding)
        with open_image(data) as reopened_image:
            _seek_frame(reopened_image, decoding.frame)
            return _scale_colours(opened_image, read_deep_colours(opened_image, reopened_image), decoding)


def _find_bands(data: bytes, decoding: Decoding) -> TiffLayout | None:
    """Return the layout of a TIFF whose channels Pillow does not read, or of which some are chosen; None for others."""
    layout = read_layout(data, decoding.frame)
    if layout is None or (decoding.bands is not None and can_read_bands(layout)):
        return layout
    try:
        with open_image(data):
            return None
    except ReadError:
        return layout


def _turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    image.getexif()[EXIF_ORIENTATION] = orientation
    return ImageOps.exif_transpose(image)


def _scale_colours(image: Image.Image, colours: NDArray[np.uint16], decoding: Decoding) -> Image.Image:
    """Return a picture with 16-bit colours scaled by ``decoding.value_range``; `image` has its orientation."""
    if decoding.bands is not None:
        return _turn_upright(from_array(colours, decoding), image.getexif().get(EXIF_ORIENTATION, 1))
    # A transparent colour is found before the colours are scaled.
    scaled_image = image.convert("RGBA") if "transparency" in image.info else image
    pixels, extremes = to_uint8(colours[..., :3], decoding)
    channels = Image.fromarray(pixels).split()
    alpha = [scaled_image.getchannel(3)] if scaled_image.mode == "RGBA" else []
    scaled_image.paste(Image.merge(scaled_image.mode, [*channels, *alpha]))
    return _mark_outside(_convert_opened(scaled_image, decoding), extremes)


def convert_image(image: Image.Image, decoding: Decoding) -> Image.Image:
    """Return an image that Pillow has opened as the decoded picture that `decode` returns.

    Parameters
    ----------
    image
        The image; its pixels need not be loaded.
    decoding
        Choices of the decoder.

    Raises
    ------
    ReadError
        it cannot be decoded; the message is only the reason.
    """
    try:
        _check_decoded(image, decoding.max_bytes)
        return _convert_opened(image, decoding)
    except ReadError:
        raise
    # Pillow raises any kind of error on broken files.
    except Exception as error:
        raise ReadError(_failure_reason(error)) from error


def _convert_opened(image: Image.Image, decoding: Decoding) -> Image.Image:
    if decoding.bands is None and has_unnamed_alpha(image):
        raise ReadError(_unnamed_channels_reason(len(image.getbands())))
    image.load()
    if image.format in {"JPEG", "MPO"} and image.mode == "CMYK" and "adobe" not in image.info:
        # Pillow inverts the values of all CMYK JPEGs, but only those of Adobe need it.
        return _to_opaque(ImageOps.exif_transpose(ImageChops.invert(image)), decoding)
    if _is_wide(image):
        return from_array(_wide_numbers(image), decoding)
    return _to_opaque(ImageOps.exif_transpose(image), decoding)


def _check_decoded(image: Image.Image, max_bytes: int) -> None:
    """Check from its header that a picture can be decoded within the memory limit.

    Raises
    ------
    ReadError
        its pixels, or those of one tile of a TIFF file, take too many bytes: tiles are always decoded completely.
    """
    _check_bytes(image.width * image.height * PIXEL_BYTES.get(image.mode, MAX_PIXEL_BYTES), max_bytes)
    tags = getattr(image, "tag_v2", {})
    width, length = (int(tags.get(tag, 0)) for tag in (TIFF_TILE_WIDTH, TIFF_TILE_LENGTH))
    _check_bytes(width * length * MAX_PIXEL_BYTES, max_bytes)


def _check_bytes(n_bytes: int, max_bytes: int) -> None:
    if n_bytes > max_bytes:
        raise ReadError(f"has {n_bytes} bytes once decoded, expected at most {max_bytes} (decoding.max_bytes)")


def _failure_reason(error: Exception) -> str:
    # Limits of the memory and of Pillow say nothing about the content.
    if isinstance(error, Image.DecompressionBombError):
        return f"is too large to be decoded ({str(error).partition(',')[0]}); reduce it, or cut it into tiles"
    error_type = "" if isinstance(error, OSError) and str(error) else f"{type(error).__name__} "
    problem = "is too large to be decoded" if isinstance(error, MemoryError) else UNDECODABLE
    return f"{problem}: {error_type}{error}".rstrip()


def _seek_frame(image: ImageFile.ImageFile, frame: int) -> None:
    n_frames = getattr(image, "n_frames", 1) if frame else 1
    if frame >= n_frames:
        raise ReadError(f"has {n_frames} frames, expected frame {frame} (decoding.frame counts from 0)")
    if frame:
        image.seek(frame)


def _decode_plain_jpeg(
    image: ImageFile.ImageFile, data: bytes, decoding: Decoding, required_px: int
) -> Image.Image | None:
    """Return a grey or colour JPEG decoded by libjpeg-turbo directly; None if Pillow has to decode it.

    The pixels are equal to Pillow's unless the size is reduced. Pillow decodes rotated files and those that
    libjpeg-turbo refuses.
    """
    if image.mode not in {"L", "RGB"} or decoding.bands is not None or image.getexif().get(EXIF_ORIENTATION, 1) != 1:
        return None
    min_px = 2 * required_px if decoding.reduced else 0
    try:
        colours = "GRAY" if image.mode == "L" else "RGB"
        pixels = simplejpeg.decode_jpeg(data, colours, min_height=min_px, min_width=min_px, min_factor=2)
    except (ValueError, RuntimeError, MemoryError):
        return None
    return Image.fromarray(pixels[..., 0] if image.mode == "L" else pixels)


def _to_opaque(image: Image.Image, decoding: Decoding) -> Image.Image:
    if decoding.bands is not None:
        # Palettes and other colour spaces have no channels that can be chosen.
        is_direct = image.mode in {"L", "LA", "RGB", "RGBA"}
        return from_array(np.asarray(image if is_direct else image.convert("RGB")), decoding)
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
        foreground = image.crop(box).convert("RGBA")
        canvas.paste(
            Image.alpha_composite(Image.new("RGBA", foreground.size, background), foreground).convert("RGB"), box
        )
    return canvas


def from_array(values: NDArray[Any], decoding: Decoding) -> Image.Image:
    """Return an array as a picture, in mode RGB, or in mode L if it is grey.

    Parameters
    ----------
    values
        (h, w), or channels last or first: (h, w, c) or (c, h, w). Without ``decoding.bands`` it has 1 or 3 channels.
    decoding
        Choices of the decoder.

    Raises
    ------
    ReadError
        it has another shape or channels without names, holds no numbers, or holds nan, infinity or values of an unknown
        range.
    """
    channels = to_channels_last(values)
    if channels.shape[0] * channels.shape[1] > MAX_PIXELS:
        raise ReadError(f"has {channels.shape[0] * channels.shape[1]} pixels, expected at most {MAX_PIXELS}")
    _check_bytes(values.nbytes, decoding.max_bytes)
    pixels, extremes = to_uint8(_choose_bands(channels, decoding.bands), decoding)
    return _mark_outside(
        Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)), extremes
    )


def to_channels_last(values: NDArray[Any]) -> NDArray[Any]:
    """Return an array as (h, w, c); channels are the axis of length 1 to 4, or else an axis shorter than both others.

    Parameters
    ----------
    values
        (h, w), (h, w, c) or (c, h, w).

    Raises
    ------
    ReadError
        it has another shape.
    """
    shape = values.shape
    if values.size and values.ndim == 2:
        return values[..., np.newaxis]
    if values.size and values.ndim == 3:
        if shape[2] in USUAL_CHANNELS:
            return values
        if shape[0] in USUAL_CHANNELS or shape[0] < min(shape[1:]):
            return np.moveaxis(values, 0, 2)
        if shape[2] < min(shape[:2]):
            return values
    raise ReadError(f"has shape {shape}, expected (h, w), (h, w, channels) or (channels, h, w)")


def _choose_bands(channels: NDArray[Any], bands: tuple[int, ...] | None) -> NDArray[Any]:
    """Return the channels at the positions in `bands`; None takes all channels if there are 1 or 3.

    Raises
    ------
    ReadError
        there is no channel at a position, or there are other numbers of channels and none is chosen.
    """
    n = channels.shape[2]
    if bands is None:
        if n not in {1, 3}:
            raise ReadError(_unnamed_channels_reason(n))
        return channels
    if max(bands) >= n:
        raise ReadError(f"has {n} channels, expected at least {max(bands) + 1} (decoding.bands = {list(bands)})")
    return channels[..., list(bands)]


def _unnamed_channels_reason(n: int) -> str:
    example = [0] if n == 2 else [0, 1, 2]
    return f"has {n} channels without names; choose 1 or 3 by position, such as decoding.bands = {example}"


def _mark_outside(image: Image.Image, extremes: Extremes | None) -> Image.Image:
    if extremes is not None:
        image.info[OUTSIDE_RANGE] = extremes
    return image


def read_numbers(data: bytes) -> tuple[NDArray[Any], bool]:
    """Return the numbers (h, w, c) that a file holds before they are scaled, and whether nothing names the channels.

    Pixels of 8 bits are not decoded: the numbers are 0.

    Raises
    ------
    ReadError
        it cannot be decoded; the message is only the reason.
    """
    try:
        return read_despite_metadata(data, _read_opened_numbers)
    except ReadError:
        raise
    # Pillow raises any kind of error on broken files.
    except Exception as error:
        raise ReadError(_failure_reason(error)) from error


def _read_opened_numbers(data: bytes) -> tuple[NDArray[Any], bool]:
    if layout := _find_bands(data, Decoding()):
        return read_bands(data, layout, Decoding().max_bytes), True
    with open_image(data) as image:
        _check_decoded(image, Decoding().max_bytes)
        is_unnamed = has_unnamed_alpha(image)
        if has_deep_colours(image):
            with open_image(data) as reopened_image:
                return read_deep_colours(image, reopened_image)[..., : 4 if is_unnamed else 3], is_unnamed
        if not _is_wide(image):
            shape = (image.height, image.width, len(image.getbands()))
            return np.broadcast_to(np.uint8(0), shape), is_unnamed
        image.load()
        return to_channels_last(_wide_numbers(image)), is_unnamed


def _is_wide(image: Image.Image) -> bool:
    return image.mode in {"I", "F"} or image.mode.startswith("I;16")


def _wide_numbers(image: Image.Image) -> NDArray[Any]:
    """Return the numbers of a loaded grey picture: Pillow returns 16 bits of PPM, or with a sign, as 32 bits."""
    check_black_is_zero(getattr(image, "tag_v2", {}).get(PHOTOMETRIC))
    values: NDArray[Any] = np.asarray(ImageOps.exif_transpose(image))
    if image.mode == "I" and image.format == "PPM":
        return values.astype(np.uint16)
    return values.astype(np.int16) if is_signed_16_bit(image) else values


def read_size(content: Content) -> tuple[int, int]:
    """Return width and height in pixels from a file's header or an array's shape.

    Raises
    ------
    ReadError
        the header cannot be read.
    """
    try:
        if isinstance(content, np.ndarray):
            height, width, _ = to_channels_last(content).shape
            return width, height
        if layout := _find_bands(content, Decoding()):
            return layout.width, layout.height
        return read_despite_metadata(content, lambda data: open_image(data).size)
    except ReadError:
        raise
    # Pillow raises any kind of error on broken files.
    except Exception as error:
        raise ReadError(_failure_reason(error)) from error
