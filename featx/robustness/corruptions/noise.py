"""Noise of sensors and of transmission."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def add_gaussian(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Add normal noise; the strength is its standard deviation."""
    return pixels + rng.normal(0, strength, pixels.shape)


def add_shot(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Replace pixels by counts of photons; the strength is 1 / the photons of a white pixel."""
    return np.asarray(rng.poisson(pixels / strength) * strength, dtype=np.float64)


def add_impulses(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Make a share of the values black or white; the strength is the share."""
    places = rng.random(pixels.shape)
    return np.where(places < strength / 2, 0.0, np.where(places < strength, 1.0, pixels))


def multiply_speckle(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Add normal noise in proportion to the brightness; the strength is the factor."""
    return pixels + pixels * rng.normal(0, strength, pixels.shape)
