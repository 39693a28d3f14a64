"""From a decoded picture to the square of pixels that a network takes, as the library of its weights makes it.

The arithmetic is that of torchvision's ``Resize`` and ``CenterCrop`` and of timm's ``create_transform``: the picture is
resized to whole pixels, and a square of whole pixels is cut from its centre.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from featx.images.decode import Pixels
from featx.specs.embedding import Preprocessing, Resize

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
LONGEST_WHOLE = 4  # longer side over shorter side up to which a picture is resized as a whole
WIDEST_FILTER = 3  # pixels on either side of a sample that Lanczos takes in


def _resize_shorter_side(width: int, height: int, target_px: int) -> tuple[int, int]:
    # torchvision rounds the longer side down.
    longer_px = int(target_px * max(width, height) / min(width, height))
    return (target_px, longer_px) if width <= height else (longer_px, target_px)


def _resize_both_sides(_width: int, _height: int, target_px: int) -> tuple[int, int]:
    return target_px, target_px


def _resize_longer_side(width: int, height: int, target_px: int) -> tuple[int, int]:
    # timm rounds to the nearest pixel; of a strip, at least one pixel is kept.
    ratio = max(width / target_px, height / target_px)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


RESIZED_SIZE: dict[Resize, Callable[[int, int, int], tuple[int, int]]] = {
    "crop": _resize_shorter_side,
    "squash": _resize_both_sides,
    "border": _resize_longer_side,
}


class Span(NamedTuple):
    """The part of one side of a resized picture that is seen.

    Attributes
    ----------
    start_px, n_px
        First pixel of the resized picture, and number of pixels.
    margin_px
        Pixels of border before it.
    """

    start_px: int
    n_px: int
    margin_px: int


def centre(resized_px: int, canvas_px: int) -> Span:
    """Return what a centred canvas shows of a side; a side shorter than the canvas lies between borders."""
    if resized_px < canvas_px:
        return Span(0, resized_px, (canvas_px - resized_px) // 2)
    return Span(round((resized_px - canvas_px) / 2), canvas_px, 0)


def preprocessor(size: Preprocessing) -> Callable[[Image.Image], Pixels]:
    """Return the function that brings a picture to the square that a network takes.

    Parameters
    ----------
    size
        How the picture is resized and cropped.

    Returns
    -------
    Callable
        Gives (canvas_px, canvas_px, 3) pixels; one channel for a grey picture without borders.
    """
    side, resampling = size.canvas_px, FILTERS[size.interpolation]
    resized_size = RESIZED_SIZE[size.resize]
    border = [round(255 * mean) for mean in size.mean] if size.resize == "border" else [0, 0, 0]

    def prepare(image: Image.Image) -> Pixels:
        width, height = resized_size(image.width, image.height, size.resized_px)
        x, y = centre(width, side), centre(height, side)
        if max(width, height) > LONGEST_WHOLE * size.resized_px:
            shown = _resize_part(image, (width, height), x, y, resampling)
        else:
            whole = image.resize((width, height), resampling)
            shown = whole.crop((x.start_px, y.start_px, x.start_px + x.n_px, y.start_px + y.n_px))
        pixels = np.atleast_3d(np.asarray(shown))
        if pixels.shape[:2] == (side, side):
            return pixels
        canvas = np.empty((side, side, 3), dtype=np.uint8)
        canvas[:] = border
        canvas[y.margin_px : y.margin_px + y.n_px, x.margin_px : x.margin_px + x.n_px] = pixels
        return canvas

    return prepare


def _resize_part(
    image: Image.Image, resized: tuple[int, int], x: Span, y: Span, resampling: Image.Resampling
) -> Image.Image:
    """Return a part of a resized picture without computing the rest, which is long where the picture is a strip.

    Rows first, then columns. Pillow takes the cheaper order and rounds to whole levels in between, so a few pixels can
    differ by some levels from those of the whole picture resized and then cropped.
    """
    scale_x, scale_y = image.width / resized[0], image.height / resized[1]
    left, right = x.start_px * scale_x, min((x.start_px + x.n_px) * scale_x, image.width)
    upper, lower = y.start_px * scale_y, min((y.start_px + y.n_px) * scale_y, image.height)
    margin = math.ceil(WIDEST_FILTER * max(scale_y, 1.0)) + 1
    top, bottom = max(0, math.floor(upper) - margin), min(image.height, math.ceil(lower) + margin)
    rows = image.crop((0, top, image.width, bottom))
    rows = rows.resize((x.n_px, rows.height), resampling, box=(left, 0, right, rows.height))
    return rows.resize((x.n_px, y.n_px), resampling, box=(0, upper - top, x.n_px, lower - top))


def required_px(sizes: Sequence[Preprocessing]) -> int:
    """Return the shorter side, in pixels, that a picture needs for all of these sizes; 0 for none."""
    return max((size.resized_px for size in sizes), default=0)
