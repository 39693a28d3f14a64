"""Resizing and cropping of pictures as matrix products, with the filters of Pillow and gradients."""

from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from featx.images.resizing import FILTERS, border_levels, resized_geometry
from featx.specs.embedding import Preprocessing


def resize_pixels(pixels: Tensor, size: Preprocessing) -> Tensor:
    """Return (b, 3, canvas, canvas) pixels as a network takes them, from (b, 3, h, w) pixels of pictures in [0, 1].

    The result is that of `featx.images.resizing.make_preprocessor` without its rounding to whole levels: it differs by
    at most about one level of 255.
    """
    geometry = resized_geometry(size, pixels.shape[-1], pixels.shape[-2])
    side = size.canvas_px
    if pixels.shape[-2:] == (side, side) and (geometry.height, geometry.width) == (side, side):
        return pixels.clamp(0, 1)
    rows = _visible_rows(pixels.shape[-2], geometry.height, geometry.y.start_px, geometry.y.n_px, size.interpolation)
    columns = _visible_rows(pixels.shape[-1], geometry.width, geometry.x.start_px, geometry.x.n_px, size.interpolation)
    # Bicubic and Lanczos filters overshoot; Pillow clips after each of the two passes.
    resized = (pixels @ columns.to(pixels).T).clamp(0, 1)
    resized = (rows.to(pixels) @ resized).clamp(0, 1)
    if resized.shape[-2:] == (side, side):
        return resized
    border = torch.tensor(border_levels(size), dtype=pixels.dtype, device=pixels.device) / 255
    canvas = border.view(1, 3, 1, 1).expand(len(pixels), 3, side, side).clone()
    top, left = geometry.y.margin_px, geometry.x.margin_px
    canvas[..., top : top + resized.shape[-2], left : left + resized.shape[-1]] = resized
    return canvas


@lru_cache(maxsize=64)
def _visible_rows(n: int, n_resized: int, start: int, n_visible: int, interpolation: str) -> Tensor:
    """Return the (n_visible, n) weights of the n pixels of a side in the visible pixels of the resized side."""
    if n == n_resized:
        weights = np.eye(n)
    else:
        impulses = Image.fromarray(np.eye(n, dtype=np.float32))
        weights = np.asarray(impulses.resize((n_resized, n), FILTERS[interpolation]), dtype=np.float64).T
    return torch.from_numpy(np.ascontiguousarray(weights[start : start + n_visible]))
