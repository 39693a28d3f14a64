"""Loss of resolution and compression."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float64]


def _to_image(pixels: Floats) -> Image.Image:
    levels = np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)
    return Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)


def _to_pixels(image: Image.Image) -> Floats:
    return np.atleast_3d(np.asarray(image, dtype=np.float64) / 255)


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def compress_jpeg(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Compress as JPEG; the strength is Pillow's quality."""
    return _to_pixels(_jpeg(_to_image(pixels), int(strength)))


def recompress_jpeg(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Compress three times as JPEG, each time shifted against the blocks of the last; the strength is the quality."""
    for shift in (0, 3, 5):
        shifted_pixels = np.roll(pixels, (shift, shift), axis=(0, 1))
        pixels = np.roll(compress_jpeg(shifted_pixels, strength, rng), (-shift, -shift), axis=(0, 1))
    return pixels


def pixelate(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Make blocks of pixels one colour; the strength is the side of a block in pixels of a picture of 64 px.

    Blocks of smaller pictures are larger in proportion, because they have at least one pixel.
    """
    height, width, _ = pixels.shape
    factor = max(1 + strength / 6, strength * min(height, width) / 64)
    image = _to_image(pixels)
    small_image = image.resize((max(1, round(width / factor)), max(1, round(height / factor))), Image.Resampling.BOX)
    return _to_pixels(small_image.resize((width, height), Image.Resampling.NEAREST))
