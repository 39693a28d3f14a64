"""Blur by lenses, glass and motion; strengths are shares of the shorter side."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

Floats = NDArray[np.float64]
# Pictures that a zoom blur averages.
N_ZOOM_STEPS = 9
# Rounds of exchanges of neighbours behind glass.
N_GLASS_ROUNDS = 2
MIN_SIGMA_PX = 1 / 3


def _shorter_side(pixels: Floats) -> int:
    return int(min(pixels.shape[:2]))


def gaussian(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Blur by a normal kernel; the strength is its standard deviation beyond a third of a pixel."""
    # Without the first term, the smallest pictures would not change at all.
    sigma = MIN_SIGMA_PX + strength * _shorter_side(pixels)
    return np.asarray(ndimage.gaussian_filter(pixels, (sigma, sigma, 0), mode="reflect"))


def _convolve(pixels: Floats, kernel: Floats) -> Floats:
    """Return pixels convolved with a square kernel; borders are reflected. Kernels may have thousands of values."""
    reach = len(kernel) // 2
    padded_pixels = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    return np.asarray(signal.fftconvolve(padded_pixels, kernel[:, :, None], mode="valid", axes=(0, 1)))


def defocus(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Blur by a disc with a soft edge; the strength is its radius beyond half a pixel."""
    radius = 0.5 + strength * _shorter_side(pixels)
    reach = math.ceil(radius + 1)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    # The edge falls over one pixel, so that small radii blur too.
    kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return _convolve(pixels, kernel / kernel.sum())


def move(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Blur along a line in a random direction; the strength is its length."""
    length = strength * _shorter_side(pixels)
    angle = rng.uniform(0, math.pi)
    reach = math.ceil(length / 2)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    for position in np.linspace(-length / 2, length / 2, 4 * reach + 1):
        y, x = reach + position * math.sin(angle), reach + position * math.cos(angle)
        top, left = int(y), int(x)
        share_y, share_x = y - top, x - left
        weights = np.outer((1 - share_y, share_y), (1 - share_x, share_x))
        block = kernel[top : top + 2, left : left + 2]
        block += weights[: block.shape[0], : block.shape[1]]
    return _convolve(pixels, kernel / kernel.sum())


def zoom(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Average pictures that are enlarged about the centre, up to 1 + the strength."""
    zooms = np.linspace(1, 1 + strength, N_ZOOM_STEPS)
    return np.asarray(np.mean([_enlarge(pixels, factor) for factor in zooms], axis=0))


def _enlarge(pixels: Floats, factor: float) -> Floats:
    centre = (np.array(pixels.shape[:2]) - 1) / 2
    scale = np.array([1 / factor, 1 / factor])
    channels = [
        ndimage.affine_transform(channel, scale, centre - scale * centre, order=1, mode="nearest")
        for channel in np.moveaxis(pixels, 2, 0)
    ]
    return np.stack(channels, axis=2)


def through_glass(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Move each pixel to a random place nearby, between two weak blurs; the strength is the largest distance."""
    height, width = pixels.shape[:2]
    distance = strength * _shorter_side(pixels)
    blurred = gaussian(pixels, strength / 3, rng)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    for _ in range(N_GLASS_ROUNDS):
        y, x = (axis + rng.uniform(-distance, distance, (height, width)) for axis in (y, x))
    channels = [
        ndimage.map_coordinates(channel, (y, x), order=1, mode="nearest") for channel in np.moveaxis(blurred, 2, 0)
    ]
    return gaussian(np.stack(channels, axis=2), strength / 3, rng)
