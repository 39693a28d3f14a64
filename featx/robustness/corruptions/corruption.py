"""Corruptions of images by kind and severity; equal images are corrupted equally, on any machine and in any order."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.specs.corrupting import KIND_FAMILIES

Floats = NDArray[np.float64]
# (h, w, c) pixels in [0, 1], strength, source of random numbers → (h, w, c) pixels, clipped by the caller.
CorruptionFunction = Callable[[Floats, float, np.random.Generator], Floats]


@dataclass(frozen=True)
class Corruption:
    """A kind of corruption.

    Attributes
    ----------
    family
        One of `featx.specs.corrupting.KIND_FAMILIES`; ``probe`` for changes that are no corruption.
    function
        Function that corrupts an image.
    strengths
        Strength at each severity, the weakest first. Probes may have any number of them.
    """

    family: str
    function: CorruptionFunction
    strengths: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.family not in KIND_FAMILIES:
            raise ValueError(f"found family {self.family!r}, expected one of {', '.join(KIND_FAMILIES)}")

    @property
    def severities(self) -> tuple[int, ...]:
        """Severities, which count from 1."""
        return tuple(range(1, len(self.strengths) + 1))

    def apply(self, pixels: Floats, severity: int, rng: np.random.Generator) -> Floats:
        """Return a corrupted copy of (h, w, c) pixels in [0, 1], of one channel or three.

        Raises
        ------
        ValueError
            there is no such severity.
        """
        if severity not in self.severities:
            raise ValueError(f"found severity {severity!r}, expected 1 to {len(self.strengths)}")
        return np.clip(self.function(pixels, self.strengths[severity - 1], rng), 0, 1)

    def apply_to_values(
        self,
        values: NDArray[Any],
        severity: int,
        rng: np.random.Generator,
        value_range: tuple[float, float] | None = None,
    ) -> NDArray[Any]:
        """Return a corrupted copy of an image as an array of the same shape, dtype and range.

        Parameters
        ----------
        values
            (h, w) or (h, w, c) values, of one channel or three.
        severity, rng
            As in `apply`.
        value_range
            Values of black and of white; by default those of the dtype, and 0 and 1 for floating-point numbers.

        Raises
        ------
        ValueError
            there is no such severity.
        """
        is_integer = np.issubdtype(values.dtype, np.integer)
        limits = np.iinfo(values.dtype) if is_integer else None
        low, high = value_range or ((0.0, 1.0) if limits is None else (float(limits.min), float(limits.max)))
        pixels = np.clip((np.atleast_3d(values).astype(np.float64) - low) / (high - low), 0, 1)
        corrupted_values = low + (high - low) * self.apply(pixels, severity, rng)
        return (
            (np.rint(corrupted_values) if is_integer else corrupted_values).astype(values.dtype).reshape(values.shape)
        )


def random_source(digest: str, kind: str, severity: int) -> np.random.Generator:
    """Return the source of random numbers of one image, kind and severity."""
    seed = hashlib.sha256(f"{digest} {kind} {severity}".encode()).digest()[:16]
    return np.random.Generator(np.random.PCG64(int.from_bytes(seed, "big")))
