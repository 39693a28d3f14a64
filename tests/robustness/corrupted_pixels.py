"""Damaged copies of pixels by the name of a kind."""

from featx.registry import CORRUPTIONS
from featx.robustness.corruptions.corruption import Corruption, random_source
from featx.tables.ids import Floats


def corrupt_pixels(pixels: Floats, kind: str, severity: int, digest: str) -> Floats:
    """Return a damaged copy of an image whose digest decides all random choices; pixels are in [0, 1]."""
    corruption: Corruption = CORRUPTIONS.get(kind)
    return corruption.apply(pixels, severity, random_source(digest, kind, severity))
