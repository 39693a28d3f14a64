"""Resizing and cropping of a decoded picture to the square input of a network, as the library of its weights does it.

The arithmetic is that of torchvision's ``Resize`` and ``CenterCrop`` and of timm's ``create_transform``: the picture is
resized to whole pixels, and a square of whole pixels is cut from its centre.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from featx.images.value_ranges import Pixels
from featx.specs.embedding import Preprocessing, Resize

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# Longer side over target size up to which a picture is resized before it is cropped.
MAX_WHOLE_ASPECT_RATIO = 4
# Radius of the Lanczos filter, the widest one, in pixels of the result.
MAX_FILTER_RADIUS_PX = 3


def _resize_shorter_side(width: int, height: int, target_px: int) -> tuple[int, int]:
    # torchvision rounds the longer side down.
    longer_px = int(target_px * max(width, height) / min(width, height))
    return (target_px, longer_px) if width <= height else (longer_px, target_px)


def _resize_both_sides(_width: int, _height: int, target_px: int) -> tuple[int, int]:
    return target_px, target_px


def _resize_longer_side(width: int, height: int, target_px: int) -> tuple[int, int]:
    # timm rounds to the nearest pixel; a narrow strip keeps at least one.
    ratio = max(width / target_px, height / target_px)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


RESIZED_SIZES: dict[Resize, Callable[[int, int, int], tuple[int, int]]] = {
    "crop": _resize_shorter_side,
    "squash": _resize_both_sides,
    "border": _resize_longer_side,
}


class _VisibleSpan(NamedTuple):
    """The visible part of one side of a resized picture.

    Attributes
    ----------
    start_px, n_px
        First visible pixel of the resized picture, and number of visible pixels.
    margin_px
        Width of the border before it in pixels.
    """

    start_px: int
    n_px: int
    margin_px: int


def _visible_span(resized_px: int, canvas_px: int) -> _VisibleSpan:
    """Return the part of a side on a centred canvas; a side shorter than the canvas has borders."""
    if resized_px < canvas_px:
        return _VisibleSpan(0, resized_px, (canvas_px - resized_px) // 2)
    return _VisibleSpan(round((resized_px - canvas_px) / 2), canvas_px, 0)


class ResizedGeometry(NamedTuple):
    """Size of a resized picture, and its part on the canvas.

    Attributes
    ----------
    width, height
        Size of the resized picture in pixels.
    x, y
        Visible columns and rows.
    """

    width: int
    height: int
    x: _VisibleSpan
    y: _VisibleSpan


def resized_geometry(size: Preprocessing, width: int, height: int) -> ResizedGeometry:
    """Return how a picture of a width and a height in pixels is resized and cropped."""
    resized_width, resized_height = RESIZED_SIZES[size.resize](width, height, size.resized_px)
    x, y = (_visible_span(side, size.canvas_px) for side in (resized_width, resized_height))
    return ResizedGeometry(resized_width, resized_height, x, y)


def border_levels(size: Preprocessing) -> list[int]:
    """Return the levels in 0 … 255 of the three channels of the border around a picture."""
    return [round(255 * mean) for mean in size.mean] if size.resize == "border" else [0, 0, 0]


def make_preprocessor(size: Preprocessing) -> Callable[[Image.Image], Pixels]:
    """Return the function that resizes and crops a picture to the square input of a network.

    Parameters
    ----------
    size
        Sizes, interpolation and border of the preprocessing.

    Returns
    -------
    Callable
        Function that returns (canvas_px, canvas_px, 3) pixels; 1 channel for a grey picture without borders.
    """
    side, resampling = size.canvas_px, FILTERS[size.interpolation]
    border = border_levels(size)

    def prepare(image: Image.Image) -> Pixels:
        width, height, x, y = resized_geometry(size, image.width, image.height)
        if max(width, height) > MAX_WHOLE_ASPECT_RATIO * size.resized_px:
            visible_part = _resize_part(image, (width, height), x, y, resampling)
        else:
            resized_image = image.resize((width, height), resampling)
            visible_part = resized_image.crop((x.start_px, y.start_px, x.start_px + x.n_px, y.start_px + y.n_px))
        pixels = np.atleast_3d(np.asarray(visible_part))
        if pixels.shape[:2] == (side, side):
            return pixels
        canvas = np.empty((side, side, 3), dtype=np.uint8)
        canvas[:] = border
        canvas[y.margin_px : y.margin_px + y.n_px, x.margin_px : x.margin_px + x.n_px] = pixels
        return canvas

    return prepare


def _resize_part(
    image: Image.Image, resized_size: tuple[int, int], x: _VisibleSpan, y: _VisibleSpan, resampling: Image.Resampling
) -> Image.Image:
    """Return the visible part of a resized picture without computing the rest, which is large for a narrow strip.

    The width is resized before the height. Pillow takes the cheaper order and rounds to whole levels in between, so a
    few pixels can differ by some levels from those of a picture that is resized and then cropped.
    """
    scale_x, scale_y = image.width / resized_size[0], image.height / resized_size[1]
    left, right = x.start_px * scale_x, min((x.start_px + x.n_px) * scale_x, image.width)
    upper, lower = y.start_px * scale_y, min((y.start_px + y.n_px) * scale_y, image.height)
    margin = math.ceil(MAX_FILTER_RADIUS_PX * max(scale_y, 1.0)) + 1
    top, bottom = max(0, math.floor(upper) - margin), min(image.height, math.ceil(lower) + margin)
    rows = image.crop((0, top, image.width, bottom))
    rows = rows.resize((x.n_px, rows.height), resampling, box=(left, 0, right, rows.height))
    return rows.resize((x.n_px, y.n_px), resampling, box=(0, upper - top, x.n_px, lower - top))


def required_side_px(sizes: Sequence[Preprocessing]) -> int:
    """Return the shorter side in pixels that a picture needs for all of these sizes; 0 if there are none."""
    return max((size.resized_px for size in sizes), default=0)
