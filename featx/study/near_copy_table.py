"""Pairs of images that show the same picture, and the files that hold them."""

from dataclasses import dataclass

import pandas as pd

COPIES = "copies.parquet"


COPIES_STATE = "copies.json"


COPY_COLUMNS = ("digest", "copy", "similarity")


COPY_SEARCH_VERSION = 2  # of `featx.embeddings.copies`; copies found by another version are looked for again


@dataclass(frozen=True, eq=False)
class NearCopies:
    """Pairs of contents that show the same picture.

    Attributes
    ----------
    pairs
        Columns digest, copy, similarity; one row a pair.
    n_unseen
        Images that could not be read any more, and were compared by content alone.
    n_unembedded
        Images without a cached vector, which were compared by hash alone.
    n_uncompared
        Images among which near copies were not looked for, because there are too many; 0 or all of them.
    """

    pairs: pd.DataFrame
    n_unseen: int = 0
    n_unembedded: int = 0
    n_uncompared: int = 0
