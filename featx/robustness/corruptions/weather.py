"""Weather and light: snow, frost, fog, spatter, brightness, contrast and saturation."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]
# Weights of the channels in the brightness of a pixel (ITU-R BT.601).
LUMA = np.array([0.299, 0.587, 0.114])
SNOW_WHITE, FROST_BLUE, MUD = 0.95, np.array([0.85, 0.92, 0.98]), np.array([0.25, 0.19, 0.12])


def _colour(colour: Floats, channels: int) -> Floats:
    """Return a colour for three channels, or its brightness for one."""
    return colour if channels == 3 else np.array([float(colour @ LUMA)])


def _plasma(height: int, width: int, decay: float, rng: np.random.Generator) -> Floats:
    """Return (h, w) cloudy noise in [0, 1]: noise of all scales, each finer one weaker by a factor."""
    field, weight, side = np.zeros((height, width)), 1.0, 2
    while side < 2 * max(height, width):
        coarse = rng.random((side + 1, side + 1))
        rows, columns = np.linspace(0, side, height), np.linspace(0, side, width)
        field += weight * ndimage.map_coordinates(coarse, np.meshgrid(rows, columns, indexing="ij"), order=1)
        weight, side = weight / decay, 2 * side
    field -= field.min()
    return np.asarray(field / max(field.max(), 1e-12))


def add_fog(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Mix the picture with white clouds; the strength is the largest share of white."""
    height, width, _ = pixels.shape
    share = strength * (0.6 + 0.4 * _plasma(height, width, 1.8, rng))[:, :, None]
    return pixels * (1 - share) + share


def add_frost(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Cover the picture with branching ice; the strength is the share of ice where it is thickest."""
    height, width, channels = pixels.shape
    ridges = 1 - np.abs(2 * _plasma(height, width, 1.4, rng) - 1)
    share = strength * (0.35 + 0.65 * ridges**2)[:, :, None]
    return pixels * (1 - share) + share * _colour(FROST_BLUE, channels)


def add_snow(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Add blurred flakes that fall in one direction, and whiten the rest; the strength is the density."""
    height, width, _ = pixels.shape
    side = min(height, width)
    flakes = (rng.random((height, width)) < 0.03 + 0.08 * strength).astype(np.float64)
    length, angle = max(1.0, 0.03 * side), rng.uniform(math.pi / 4, 3 * math.pi / 4)
    streaks = sum(
        ndimage.shift(flakes, (step * math.sin(angle), step * math.cos(angle)), order=1)
        for step in np.linspace(0, length, max(2, math.ceil(length)))
    )
    cover = np.clip(np.asarray(streaks), 0, 1)[:, :, None] * strength
    whitened_pixels = pixels * (1 - strength / 2) + strength / 2 * SNOW_WHITE
    return np.asarray(whitened_pixels * (1 - cover) + SNOW_WHITE * cover)


def add_spatter(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Cover a share of the picture with drops of mud; the strength is the share."""
    height, width, channels = pixels.shape
    blobs = ndimage.gaussian_filter(rng.normal(size=(height, width)), 0.03 * min(height, width) + 0.5)
    # The highest blobs are drops; ranks make the share exact for every picture.
    limit = np.quantile(blobs, 1 - strength)
    edge = max(float(np.ptp(blobs)) * 0.02, 1e-12)
    cover = np.clip((blobs - limit) / edge + 0.5, 0, 1)[:, :, None]
    return np.asarray(pixels * (1 - cover) + cover * _colour(MUD, channels))


def brighten(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Add the strength to all values."""
    return pixels + strength


def lower_contrast(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Move all values towards the mean of their channel; the strength is the share of the way."""
    mean = pixels.mean(axis=(0, 1), keepdims=True)
    return np.asarray(pixels + strength * (mean - pixels))


def change_saturation(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Strengthen the colours by 1 + the strength; a grey picture gets a stronger contrast about its mean."""
    grey = (pixels @ LUMA)[:, :, None] if pixels.shape[2] == 3 else pixels.mean(axis=(0, 1), keepdims=True)
    return np.asarray(grey + (1 + strength) * (pixels - grey))
