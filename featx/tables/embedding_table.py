"""A table of embeddings by id."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.errors import AlignmentError
from featx.tables.ids import Ids, as_ids, positions, take_rows


@dataclass(frozen=True, eq=False)
class Embeddings:
    """One embedding vector per image.

    Attributes
    ----------
    ids
        (n,) image ids, each once.
    x
        (n, d) float32 embedding vectors.
    """

    ids: NDArray[np.object_]
    x: NDArray[np.float32]

    def __post_init__(self) -> None:
        as_ids(self.ids)
        if self.x.ndim != 2 or len(self.x) != len(self.ids):
            raise AlignmentError(f"expected x of shape ({len(self.ids)}, d), found {self.x.shape}")

    def take(self, ids: Ids) -> "Embeddings":
        """Return the rows of `ids`, in their order."""
        return take_rows(self, positions(self.ids, ids, "embeddings"))
