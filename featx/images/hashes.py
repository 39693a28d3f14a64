"""Grey thumbnails of images, cached by digest, and their difference hashes of 64 bits.

Copies that were encoded again or resized have nearly the same thumbnails. `featx.embeddings.copies` finds candidates by
these hashes and compares their thumbnails.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featx.images.sqlite_cache import SqliteCache
from featx.images.value_ranges import Pixels
from featx.specs.base import fingerprint
from featx.specs.embedding import Decoding, Preprocessing

# Side of a thumbnail in pixels.
THUMBNAIL_PX = 32
# Number of rows of a hash, and of bits in each.
HASH_SIDE_BITS = 8
# Difference between means of grey levels that is no rounding error.
MIN_GREY_DIFFERENCE = 1e-3
# A spec needs mean and std, but thumbnails are stored as pixels.
UNUSED_STATISTICS = (0.5, 0.5, 0.5)
# The whole image squeezed into a square, written as a preprocessing so that decoder workers make it like an input.
THUMBNAIL_PREPROCESSING = Preprocessing(
    size_px=THUMBNAIL_PX, resize="squash", interpolation="bilinear", mean=UNUSED_STATISTICS, std=UNUSED_STATISTICS
)
# Weights of R, G and B in ITU-R BT.601, as in Pillow's mode L.
LUMA = np.array([299, 587, 114], dtype=np.float32) / 1000


def to_grey(pixels: Pixels) -> Pixels:
    """Return (h, w, 3) or (h, w, 1) pixels as (h, w) grey levels."""
    if pixels.shape[2] == 1:
        return pixels[..., 0]
    grey_levels: Pixels = np.rint(pixels @ LUMA).astype(np.uint8)
    return grey_levels


def difference_hashes(thumbnails: Pixels) -> NDArray[np.uint64]:
    """Return the difference hash of each grey image.

    Each of the 64 bits is 1 if a cell of a 9 × 8 grid is darker than the next cell of its row.

    Parameters
    ----------
    thumbnails
        (n, h, w) grey levels.

    Returns
    -------
    numpy.ndarray
        (n,) hashes; the number of different bits, `numpy.bitwise_count` of their ``^``, is a distance of two images.

    References
    ----------
    .. [1] N. Krawetz, Kind of like that, hackerfactor.com 2013.

    Examples
    --------
    >>> brighter = np.tile(np.arange(32, dtype=np.uint8), (1, 32, 1))
    >>> [hex(value) for value in difference_hashes(np.concatenate([brighter, brighter[:, :, ::-1]]))]
    ['0xffffffffffffffff', '0x0']
    """
    height, width = thumbnails.shape[1:]
    row_weights = _averaging_weights(HASH_SIDE_BITS, height)
    column_weights = _averaging_weights(HASH_SIDE_BITS + 1, width)
    cells = row_weights @ thumbnails.astype(np.float32) @ column_weights.T
    is_brighter = np.diff(cells, axis=2) > MIN_GREY_DIFFERENCE
    return np.packbits(is_brighter.reshape(len(cells), HASH_SIDE_BITS * HASH_SIDE_BITS), axis=1).view(np.uint64).ravel()


def _averaging_weights(n_cells: int, n_pixels: int) -> NDArray[np.float32]:
    """Return (n_cells, n_pixels) weights of each pixel of a line in the mean of each of the equally long cells."""
    edges = np.linspace(0, n_pixels, n_cells + 1)
    pixel = np.arange(n_pixels)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weights: NDArray[np.float32] = overlap.clip(0).astype(np.float32) * (n_cells / n_pixels)
    return weights


class ThumbnailCache(SqliteCache):
    """A SQLite cache of thumbnails by digest, which several processes may write at the same time.

    Parameters
    ----------
    path
        Path of the database, which is created if there is none.
    decoding
        Choices of the decoder, on which the pixels depend.
    """

    def __init__(self, path: Path, decoding: Decoding) -> None:
        columns = "(made_by TEXT, digest TEXT, grey BLOB, PRIMARY KEY (made_by, digest))"
        super().__init__(path, f"thumbnails {columns}")
        self._made_by = fingerprint([THUMBNAIL_PREPROCESSING.identity(), decoding.identity()])

    def known(self, digests: Sequence[str]) -> dict[str, Pixels]:
        """Return the (h, w) thumbnails in the cache by digest."""
        query = "SELECT digest, grey FROM json_each(?) CROSS JOIN thumbnails ON digest = value AND made_by = ?"
        thumbnails: dict[str, Pixels] = {}
        for digest, content in self._rows_by_digest(query, digests, self._made_by):
            thumbnails[digest] = np.frombuffer(content, dtype=np.uint8).reshape(THUMBNAIL_PX, THUMBNAIL_PX)
        return thumbnails

    def remember(self, rows: Iterable[tuple[str, Pixels]]) -> None:
        """Write (digest, thumbnail) of some images."""
        values = [(self._made_by, digest, thumbnail.tobytes()) for digest, thumbnail in rows]
        self._write("INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?)", values)
