"""Probes: shifts by one pixel, shuffled patches, which keep texture, and edges, which keep shape.

References
----------
.. [1] A. Azulay, Y. Weiss, Why do deep convolutional networks generalize so poorly to small image transformations?,
   JMLR 2019.
.. [2] R. Geirhos et al., ImageNet-trained CNNs are biased towards texture, ICLR 2019.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Floats = NDArray[np.float64]
# (rows, columns) that the content moves: along the axes, then along the diagonals.
DIRECTIONS = ((-1, 0), (0, 1), (1, 0), (0, -1), (-1, 1), (1, 1), (1, -1), (-1, -1))
# Share of pixels whose gradient becomes black.
EDGE_SHARE = 0.05


def shift_by_one_pixel(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Move the content by one pixel and reflect the edge; the strength is a position in `DIRECTIONS`."""
    rows, columns = DIRECTIONS[int(strength)]
    height, width, _ = pixels.shape
    padded_pixels = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    return padded_pixels[1 - rows : 1 - rows + height, 1 - columns : 1 - columns + width]


def shuffle_patches(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Cut the picture into a grid and shuffle the patches; the strength is the number of patches on each side.

    Patches have the size that fits into the picture a whole number of times; the rest at the right and at the bottom
    stays.
    """
    height, width, channels = pixels.shape
    n_rows, n_columns = min(int(strength), height), min(int(strength), width)
    h, w = height // n_rows, width // n_columns
    inner = pixels[: n_rows * h, : n_columns * w].reshape(n_rows, h, n_columns, w, channels).swapaxes(1, 2)
    patches = inner.reshape(n_rows * n_columns, h, w, channels)[_derangement(n_rows * n_columns, rng)]
    shuffled_pixels = pixels.copy()
    grid = patches.reshape(n_rows, n_columns, h, w, channels).swapaxes(1, 2)
    shuffled_pixels[: n_rows * h, : n_columns * w] = grid.reshape(n_rows * h, n_columns * w, channels)
    return shuffled_pixels


def _derangement(n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return a random order of n positions that leaves none in its place, by a random cycle through all."""
    cycle = rng.permutation(n)
    order = np.empty(n, dtype=np.intp)
    order[cycle] = np.roll(cycle, 1)
    return order


def keep_edges(pixels: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Draw the edges of the brightness in black on white; the strength is the blur before, as a share of the side."""
    sigma = max(0.5, strength * min(pixels.shape[:2]))
    grey = ndimage.gaussian_filter(pixels.mean(axis=2), sigma, mode="reflect")
    gradient = np.hypot(ndimage.sobel(grey, 0, mode="reflect"), ndimage.sobel(grey, 1, mode="reflect"))
    max_gradient = max(float(np.quantile(gradient, 1 - EDGE_SHARE)), 1e-12)
    edge_image = 1 - np.clip(gradient / max_gradient, 0, 1)
    return np.repeat(edge_image[:, :, None], pixels.shape[2], axis=2)
