"""Properties of one image: its file, its size, and measures of its pixels.

Measures of pixels are made on the decoded picture, reduced to at most `MEASURED_PX` on its longer side, which is about
the resolution of a network's input. Levels are in [0, 1]. docs/exploration.md defines all properties.
"""

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from featx.images.contents import Content
from featx.images.decode import decode, read_size
from featx.images.hashes import LUMA, THUMBNAIL_PREPROCESSING, to_grey
from featx.images.pillow_files import open_image
from featx.images.resizing import make_preprocessor, required_side_px
from featx.images.value_ranges import Pixels
from featx.specs.embedding import Decoding, Preprocessing

# The version of all formulas here. Measurements of another version are made again.
PROPERTIES_VERSION = 1
# Longer side of the picture whose pixels are measured.
MEASURED_PX = 256
# Side of a small picture.
TILE_PX = 32
TILE_JPEG_QUALITY = 85
# Standard deviation of grey levels in a row of a uniform border, and difference of its mean from that of the first row.
MAX_BORDER_SD = 0.01
MAX_BORDER_DIFFERENCE = 0.02
# Width of the edge as a share of the shorter side.
EDGE_SHARE = 1 / 32
# Difference between the channels of nearly all pixels of a grey image.
MAX_GREY_DIFFERENCE = 0.04
GREY_PERCENTILE = 99
# Sharpness of flat images is 0: their only contrast is rounding.
MIN_SHARPNESS_SD = 0.004
EXIF_MAKE, EXIF_MODEL = 0x010F, 0x0110
TEXT_COLUMNS = ("file_type", "mode", "camera")
FILE_COLUMNS = ("width_px", "height_px", "aspect_ratio", "file_bytes", "bytes_per_pixel")
CHANNEL_COLUMNS = ("red_mean", "green_mean", "blue_mean", "red_sd", "green_sd", "blue_sd")
LIGHT_COLUMNS = ("brightness", "brightness_p05", "brightness_p95", "contrast", "entropy_bits")
STRUCTURE_COLUMNS = ("sharpness", "colourfulness", "is_grey", "border_share", "frame_share")
EDGE_COLUMNS = ("edge_brightness", "edge_contrast")
NUMBER_COLUMNS = (*FILE_COLUMNS, *CHANNEL_COLUMNS, *LIGHT_COLUMNS, *STRUCTURE_COLUMNS, *EDGE_COLUMNS)
COLUMNS = (*TEXT_COLUMNS, *NUMBER_COLUMNS)

_TILE = Preprocessing(
    size_px=TILE_PX, resize="crop", interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
)
Levels = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MeasuredImage:
    """Properties of one image.

    Attributes
    ----------
    properties
        Values of `COLUMNS`.
    tile
        JPEG of the centre of the image, `TILE_PX` wide and high.
    thumbnail
        Grey levels of the whole image, as `featx.images.hashes` compares them.
    """

    properties: tuple[str | float, ...]
    tile: bytes
    thumbnail: Pixels


def measure_image(content: Content, decoding: Decoding) -> MeasuredImage:
    """Return the properties of an image.

    Parameters
    ----------
    content
        Bytes of a file, or one row of an array.
    decoding
        Choices of the decoder.

    Raises
    ------
    ReadError
        it cannot be decoded; the message is only the reason.
    """
    decoding = decoding.model_copy(update={"reduced": True})
    width, height = read_size(content)
    # JPEGs of several megapixels are decoded at a reduced size, whose shorter side is still long enough.
    required_px = math.ceil(MEASURED_PX * min(width, height) / max(width, height, 1))
    image = decode(content, decoding, max(required_px, required_side_px((_TILE,))))
    # The thumbnail is decoded as the search for copies decodes it, whose thumbnails are in the same cache.
    coarse = decode(content, decoding, required_side_px((THUMBNAIL_PREPROCESSING,)))
    if (image.width > image.height) != (width > height) and width != height:
        # The header states the size before the image is turned upright.
        width, height = height, width
    n_bytes = len(content) if isinstance(content, bytes) else content.nbytes
    numbers: dict[str, float] = {
        "width_px": width,
        "height_px": height,
        "aspect_ratio": width / height,
        "file_bytes": n_bytes,
        "bytes_per_pixel": n_bytes / (width * height),
        **measure_pixels(_reduce(image)),
    }
    values = (float(numbers[name]) for name in NUMBER_COLUMNS)
    return MeasuredImage(
        (*_describe_file(content), *values), _tile(image), to_grey(make_preprocessor(THUMBNAIL_PREPROCESSING)(coarse))
    )


def measure_pixels(pixels: Pixels) -> dict[str, float]:
    """Return the measures of (h, w, 3) or (h, w, 1) pixels by name.

    Examples
    --------
    >>> half_white = np.repeat(np.array([[0, 255]], dtype=np.uint8), 8, axis=0)[..., None]
    >>> measures = measure_pixels(half_white)
    >>> measures["brightness"], measures["contrast"], measures["entropy_bits"]
    (0.5, 0.5, 1.0)
    """
    levels: Levels = pixels.astype(np.float32) / np.float32(255)
    grey: Levels = levels[..., 0] if levels.shape[2] == 1 else np.asarray(levels @ LUMA, dtype=np.float32)
    means, deviations = levels.mean((0, 1), dtype=np.float64), levels.std((0, 1), dtype=np.float64)
    if levels.shape[2] == 1:
        means, deviations = np.repeat(means, 3), np.repeat(deviations, 3)
    edge = _edge(grey)
    p05, p95 = np.percentile(grey, (5, 95))
    return {
        **dict(zip(CHANNEL_COLUMNS, [*map(float, means), *map(float, deviations)], strict=True)),
        "brightness": float(grey.mean(dtype=np.float64)),
        "brightness_p05": float(p05),
        "brightness_p95": float(p95),
        "contrast": float(grey.std(dtype=np.float64)),
        "entropy_bits": _entropy_bits(grey),
        "sharpness": _sharpness(grey),
        "colourfulness": _colourfulness(levels),
        "is_grey": float(_is_grey(levels)),
        **dict(zip(("border_share", "frame_share"), _borders(grey), strict=True)),
        "edge_brightness": float(edge.mean(dtype=np.float64)),
        "edge_contrast": float(edge.std(dtype=np.float64)),
    }


def _reduce(image: Image.Image) -> Pixels:
    """Return the pixels of a picture with at most `MEASURED_PX` on its longer side."""
    longer_px = max(image.size)
    if longer_px > MEASURED_PX:
        size = tuple(max(1, round(side * MEASURED_PX / longer_px)) for side in image.size)
        image = image.resize((size[0], size[1]), Image.Resampling.BOX)
    return np.atleast_3d(np.asarray(image))


def _tile(image: Image.Image) -> bytes:
    pixels = make_preprocessor(_TILE)(image)
    space = "GRAY" if pixels.shape[2] == 1 else "RGB"
    jpeg: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), TILE_JPEG_QUALITY, space)
    return jpeg


def tile_pixels(tile: bytes) -> Pixels:
    """Return the (TILE_PX, TILE_PX, 3) pixels of a small picture."""
    pixels: Pixels = np.asarray(Image.open(io.BytesIO(tile)).convert("RGB"))
    return pixels


def _describe_file(content: Content) -> tuple[str, str, str]:
    """Return type, mode and camera of a file; the mode of an array is its number of channels and its type."""
    if isinstance(content, np.ndarray):
        return "array", f"{'×'.join(map(str, content.shape[2:])) or '1'} {content.dtype}", ""
    try:
        with open_image(content) as image:
            return image.format or "", image.mode, _camera(image)
    # Files with many channels are decoded without Pillow, and broken metadata raises any kind of error.
    except Exception:
        return "other", "", ""


def _camera(image: Image.Image) -> str:
    try:
        exif: Any = image.getexif()
        words = [str(exif[tag]).strip("\0 ") for tag in (EXIF_MAKE, EXIF_MODEL) if tag in exif]
    # Metadata that cannot be parsed must not stop an image.
    except Exception:
        return ""
    return " ".join(filter(None, words))


def _entropy_bits(grey: Levels) -> float:
    """Return the Shannon entropy of the grey levels in bits: 0 for one level, at most 8."""
    counts = np.bincount(np.rint(grey * 255).astype(np.int64).ravel(), minlength=256)
    shares = counts[counts > 0] / grey.size
    return float(-(shares * np.log2(shares)).sum() + 0.0)


def _sharpness(grey: Levels) -> float:
    """Return the standard deviation of the Laplacian over that of the grey levels, which does not depend on contrast.

    References
    ----------
    .. [1] J. L. Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy: a comparative study, ICPR 2000.
    """
    if min(grey.shape) < 3 or grey.std() < MIN_SHARPNESS_SD:
        return 0.0
    centre = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * centre
    return float(laplacian.std() / grey.std())


def _colourfulness(levels: Levels) -> float:
    """Return the colourfulness: 0 for grey images, about 0.1 for muted and 0.4 for vivid colours.

    References
    ----------
    .. [1] D. Hasler and S. Süsstrunk, Measuring colourfulness in natural images, SPIE 5007, 2003.
    """
    if levels.shape[2] == 1:
        return 0.0
    red, green, blue = np.moveaxis(levels, 2, 0)
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    deviation = math.hypot(float(red_green.std()), float(yellow_blue.std()))
    return deviation + 0.3 * math.hypot(float(red_green.mean()), float(yellow_blue.mean()))


def _is_grey(levels: Levels) -> bool:
    if levels.shape[2] == 1:
        return True
    return bool(np.percentile(np.ptp(levels, axis=2), GREY_PERCENTILE) <= MAX_GREY_DIFFERENCE)


def _borders(grey: Levels) -> tuple[float, float]:
    """Return the share of the area that uniform borders cover, and the width of the narrowest of the four borders.

    A border is a number of rows or columns at one side that are uniform and of one level; its width is relative to the
    height or width of the picture. Of a flat picture both are 1.
    """
    sides = [_uniform_lines(side) / len(side) for side in (grey, grey[::-1], grey.T, grey.T[::-1])]
    share = 1 - max(0, 1 - sides[0] - sides[1]) * max(0, 1 - sides[2] - sides[3])
    return float(share), float(min(sides))


def _uniform_lines(grey: Levels) -> int:
    """Return the number of uniform rows of one level at the top."""
    is_border = (grey.std(1) <= MAX_BORDER_SD) & (np.abs(grey.mean(1) - grey[0].mean()) <= MAX_BORDER_DIFFERENCE)
    return len(grey) if is_border.all() else int(is_border.argmin())


def _edge(grey: Levels) -> Levels:
    """Return the grey levels of the outermost pixels."""
    n_px = max(1, round(min(grey.shape) * EDGE_SHARE))
    inner = np.zeros(grey.shape, dtype=bool)
    inner[n_px:-n_px, n_px:-n_px] = True
    edge: Levels = grey[~inner]
    return edge
