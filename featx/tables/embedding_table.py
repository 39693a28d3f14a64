"""A table of embeddings by id."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.errors import AlignmentError
from featx.tables.ids import Ids, as_ids, positions


@dataclass(frozen=True, eq=False)
class Embeddings:
    """One vector an image.

    Attributes
    ----------
    ids
        (n,).
    x
        (n, d) float32.
    fingerprints
        Of the embeddings that stand side by side in `x`.
    """

    ids: NDArray[np.object_]
    x: NDArray[np.float32]
    fingerprints: tuple[str, ...]

    def __post_init__(self) -> None:
        as_ids(self.ids)
        if self.x.ndim != 2 or len(self.x) != len(self.ids):
            raise AlignmentError(f"expected x of shape ({len(self.ids)}, d), found {self.x.shape}")

    def take(self, ids: Ids) -> "Embeddings":
        """Return the rows of `ids`, in their order."""
        at = positions(self.ids, ids, "embeddings")
        return Embeddings(self.ids[at], self.x[at], self.fingerprints)
