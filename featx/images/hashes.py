"""What an image looks like, in little: a grey thumbnail, remembered by content, and 64 bits that tell most apart.

Copies that were encoded again, or resized, keep their thumbnails nearly to the pixel. `featx.evaluation.leaks`
looks for them by these hashes and compares the thumbnails of those that could be some.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from featx.images.decode import Pixels
from featx.images.digests import connected, kept
from featx.specs.base import fingerprint
from featx.specs.embedding import Decoding, Preprocessing

SIDE = 32
BITS = 8  # rows of a hash, and bits of each
AHEAD = 4096
ROUNDING = 1e-3  # of a mean of grey levels
EVEN = (0.5, 0.5, 0.5)  # unused: thumbnails are kept as pixels
# All of the image, squeezed into a square: a decoder in a worker hands it out like a network's input.
THUMBNAIL = Preprocessing(size_px=SIDE, resize="squash", interpolation="bilinear", mean=EVEN, std=EVEN)
LUMA = np.array([299, 587, 114], dtype=np.float32) / 1000  # ITU-R BT.601, as Pillow's mode L


def grey(pixels: Pixels) -> Pixels:
    """Return (h, w) of (h, w, 3) or (h, w, 1)."""
    if pixels.shape[2] == 1:
        return pixels[..., 0]
    found: Pixels = np.rint(pixels @ LUMA).astype(np.uint8)
    return found


def dhash(thumbnails: Pixels) -> NDArray[np.uint64]:
    """Return the difference hash of each grey image: a bit says whether a cell of a 9 × 8 grid is darker than the next.

    Parameters
    ----------
    thumbnails
        (n, h, w).

    Returns
    -------
    numpy.ndarray
        (n,); how many bits differ tells how unlike two images are: `numpy.bitwise_count` of their ``^``.

    References
    ----------
    .. [1] N. Krawetz, Kind of like that, hackerfactor.com 2013.

    Examples
    --------
    >>> brighter = np.tile(np.arange(32, dtype=np.uint8), (1, 32, 1))
    >>> [hex(one) for one in dhash(np.concatenate([brighter, brighter[:, :, ::-1]]))]
    ['0xffffffffffffffff', '0x0']
    """
    high, wide = thumbnails.shape[1:]
    cells = _means(BITS, high) @ thumbnails.astype(np.float32) @ _means(BITS + 1, wide).T
    rises = np.diff(cells, axis=2) > ROUNDING
    return np.packbits(rises.reshape(len(cells), BITS * BITS), axis=1).view(np.uint64).ravel()


def _means(n_cells: int, n_pixels: int) -> NDArray[np.float32]:
    """Return (cells, pixels): how much each pixel of a line counts in the mean of each of equal cells."""
    edges = np.linspace(0, n_pixels, n_cells + 1)
    pixel = np.arange(n_pixels)
    shared = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weights: NDArray[np.float32] = shared.clip(0).astype(np.float32) * (n_cells / n_pixels)
    return weights


class ThumbnailCache:
    """Thumbnails by digest, kept in SQLite, where several processes may write: a second look opens no image.

    Parameters
    ----------
    path
        The database; made when it is first written.
    decoding
        The choices in decoding, on which the pixels depend.
    """

    def __init__(self, path: Path, decoding: Decoding) -> None:
        self._path = path
        columns = "(made_by TEXT, digest TEXT, grey BLOB, PRIMARY KEY (made_by, digest))"
        self._database: sqlite3.Connection = connected(path, f"thumbnails {columns}")
        self._made_by = fingerprint([THUMBNAIL.identity(), decoding.identity()])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def known(self, digests: Sequence[str]) -> dict[str, Pixels]:
        """Return the (h, w) thumbnails that are kept of some images."""
        find = "SELECT digest, grey FROM json_each(?) CROSS JOIN thumbnails ON digest = value AND made_by = ?"
        found: dict[str, Pixels] = {}
        for start in range(0, len(digests), AHEAD):
            asked = json.dumps(digests[start : start + AHEAD])
            for name, content in self._database.execute(find, [asked, self._made_by]):
                found[name] = np.frombuffer(content, dtype=np.uint8).reshape(SIDE, SIDE)
        return found

    def remember(self, rows: Iterable[tuple[str, Pixels]]) -> None:
        """Keep (digest, thumbnail) of some images."""
        values = [(self._made_by, name, small.tobytes()) for name, small in rows]
        with kept(self._path, self._database):
            self._database.executemany("INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?)", values)
