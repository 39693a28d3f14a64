"""Geometry: deformation, rotation, shift and occlusion; the content moves, and borders repeat its edge."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]
# Length over which a deformation changes, as a share of the shorter side.
DEFORMATION_SCALE = 0.08


def _sample(pixels: Floats, y: Floats, x: Floats) -> Floats:
    """Return the pixels at (h, w) coordinates, interpolated; coordinates outside give the edge."""
    channels = np.moveaxis(pixels, 2, 0)
    return np.stack([ndimage.map_coordinates(channel, (y, x), order=1, mode="nearest") for channel in channels], axis=2)


def _grid(pixels: Floats) -> tuple[Floats, Floats]:
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]].astype(np.float64)
    return y, x


def deform(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Move the content along a smooth random field; the strength is its root mean square as a share of the side."""
    side = min(pixels.shape[:2])
    y, x = _grid(pixels)
    fields = []
    for _ in range(2):
        field = ndimage.gaussian_filter(rng.normal(size=y.shape), DEFORMATION_SCALE * side)
        fields.append(strength * side * field / max(float(np.sqrt((field**2).mean())), 1e-12))
    return _sample(pixels, y + fields[0], x + fields[1])


def rotate(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Rotate about the centre, in a random direction; the strength is the angle in degrees."""
    angle = math.radians(strength) * rng.choice((-1, 1))
    y, x = _grid(pixels)
    centre_y, centre_x = (y.max() / 2, x.max() / 2)
    dy, dx = y - centre_y, x - centre_x
    sine, cosine = math.sin(angle), math.cos(angle)
    return _sample(pixels, centre_y + cosine * dy + sine * dx, centre_x + cosine * dx - sine * dy)


def shift(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Shift by whole pixels in a random direction; the strength is the distance as a share of the shorter side."""
    distance, angle = max(1.0, strength * min(pixels.shape[:2])), rng.uniform(0, 2 * math.pi)
    height, width, _ = pixels.shape
    rows = np.clip(np.arange(height) + round(distance * math.sin(angle)), 0, height - 1)
    columns = np.clip(np.arange(width) + round(distance * math.cos(angle)), 0, width - 1)
    return np.asarray(pixels[np.ix_(rows, columns)])


def occlude(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Cover a rectangle of one random colour; the strength is its share of the area."""
    height, width, channels = pixels.shape
    ratio = math.exp(rng.uniform(-0.5, 0.5))
    rows = min(height, max(1, round(height * math.sqrt(strength * ratio))))
    columns = min(width, max(1, round(width * math.sqrt(strength / ratio))))
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    occluded_pixels = pixels.copy()
    occluded_pixels[top : top + rows, left : left + columns] = rng.random(channels)
    return occluded_pixels
