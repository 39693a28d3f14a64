"""Corruptions of images by name and severity; equal images are damaged equally, on any machine and in any order.

The kinds are those of ImageNet-C [1]_ and four more. Sizes are relative to the shorter side of the image, so that small
and large pictures are damaged alike; strengths are chosen for pictures of any content, not copied from a data set.

References
----------
.. [1] D. Hendrycks, T. Dietterich, Benchmarking neural network robustness to common corruptions and perturbations,
   ICLR 2019.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.errors import UnknownNameError
from featx.registry import suggest_names
from featx.robustness.corruptions import blur, compression, geometry, noise, weather

Floats = NDArray[np.float64]
SEVERITIES = (1, 2, 3, 4, 5)
# (h, w, c) pixels in [0, 1], strength, source of random numbers → (h, w, c) pixels, clipped by the caller.
Damage = Callable[[Floats, float, np.random.Generator], Floats]


@dataclass(frozen=True)
class Corruption:
    """A kind of damage.

    Attributes
    ----------
    damage
        Function that damages an image.
    strengths
        Strength at each of the five severities.
    """

    damage: Damage
    strengths: tuple[float, float, float, float, float]


CORRUPTIONS: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption(noise.add_gaussian, (0.04, 0.08, 0.12, 0.18, 0.26)),
    "shot_noise": Corruption(noise.add_shot, (1 / 250, 1 / 100, 1 / 50, 1 / 25, 1 / 12)),
    "impulse_noise": Corruption(noise.add_impulses, (0.01, 0.03, 0.06, 0.11, 0.18)),
    "speckle_noise": Corruption(noise.multiply_speckle, (0.1, 0.18, 0.28, 0.4, 0.55)),
    "defocus_blur": Corruption(blur.defocus, (0.008, 0.014, 0.022, 0.032, 0.045)),
    "glass_blur": Corruption(blur.through_glass, (0.005, 0.009, 0.015, 0.025, 0.04)),
    "motion_blur": Corruption(blur.move, (0.03, 0.05, 0.08, 0.12, 0.17)),
    "zoom_blur": Corruption(blur.zoom, (0.06, 0.11, 0.16, 0.22, 0.3)),
    "gaussian_blur": Corruption(blur.gaussian, (0.008, 0.013, 0.019, 0.027, 0.038)),
    "snow": Corruption(weather.add_snow, (0.15, 0.25, 0.35, 0.47, 0.6)),
    "frost": Corruption(weather.add_frost, (0.2, 0.32, 0.43, 0.54, 0.65)),
    "fog": Corruption(weather.add_fog, (0.2, 0.32, 0.44, 0.56, 0.68)),
    "spatter": Corruption(weather.add_spatter, (0.06, 0.11, 0.17, 0.24, 0.32)),
    "brightness": Corruption(weather.brighten, (0.08, 0.16, 0.25, 0.34, 0.44)),
    "contrast": Corruption(weather.lower_contrast, (0.25, 0.4, 0.55, 0.7, 0.85)),
    "saturate": Corruption(weather.change_saturation, (0.3, 0.6, 1.0, 1.5, 2.2)),
    "pixelate": Corruption(compression.pixelate, (1.5, 2.2, 3.2, 4.6, 6.5)),
    "jpeg_compression": Corruption(compression.compress_jpeg, (40, 25, 15, 9, 5)),
    "jpeg_recompression": Corruption(compression.recompress_jpeg, (70, 55, 40, 28, 18)),
    "elastic_transform": Corruption(geometry.deform, (0.008, 0.014, 0.021, 0.03, 0.042)),
    "occlusion": Corruption(geometry.occlude, (0.05, 0.1, 0.16, 0.24, 0.34)),
    "rotation": Corruption(geometry.rotate, (5, 10, 17, 26, 38)),
    "shift": Corruption(geometry.shift, (0.04, 0.08, 0.13, 0.19, 0.27)),
}


def corrupt(pixels: Floats, kind: str, severity: int, digest: str) -> Floats:
    """Return a damaged copy of an image.

    Parameters
    ----------
    pixels
        (h, w, c) pixels in [0, 1], of one channel or three.
    kind
        Name in `CORRUPTIONS`.
    severity
        1 to 5.
    digest
        Digest of the image, which with the kind and the severity decides all random choices.

    Raises
    ------
    UnknownNameError
        there is no such kind.
    ValueError
        there is no such severity.
    """
    if kind not in CORRUPTIONS:
        raise UnknownNameError(f"no corruption is called {kind!r}; {suggest_names(kind, list(CORRUPTIONS))}")
    if severity not in SEVERITIES:
        raise ValueError(f"found severity {severity!r}, expected 1 to 5")
    corruption = CORRUPTIONS[kind]
    damaged = corruption.damage(pixels, corruption.strengths[severity - 1], random_source(digest, kind, severity))
    return np.clip(damaged, 0, 1)


def random_source(digest: str, kind: str, severity: int) -> np.random.Generator:
    """Return the source of random numbers of one image, kind and severity."""
    seed = hashlib.sha256(f"{digest} {kind} {severity}".encode()).digest()[:16]
    return np.random.Generator(np.random.PCG64(int.from_bytes(seed, "big")))
