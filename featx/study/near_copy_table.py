"""Pairs of images that show the same picture, and the files that hold them."""

from dataclasses import dataclass

import pandas as pd

COPIES = "copies.parquet"
COPIES_STATE = "copies.json"
COPY_COLUMNS = ("digest", "copy", "similarity")
# The version of `featx.embeddings.copies`. Results of another version are computed again.
COPY_SEARCH_VERSION = 2


@dataclass(frozen=True, eq=False)
class NearCopies:
    """Pairs of different files that show the same picture.

    Attributes
    ----------
    pairs
        One row per pair, with columns digest, copy, similarity.
    n_unseen
        Number of images that could no longer be read; only their digests were compared.
    n_unembedded
        Number of images without a cached embedding; only their thumbnail hashes were compared.
    n_uncompared
        Number of images if there are too many to search for near copies, else 0.
    """

    pairs: pd.DataFrame
    n_unseen: int = 0
    n_unembedded: int = 0
    n_uncompared: int = 0
