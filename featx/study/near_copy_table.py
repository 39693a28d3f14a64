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
    n_unreadable
        Number of images that could no longer be read; only their digests were compared.
    n_without_embedding
        Number of images without a cached embedding; only their thumbnail hashes were compared.
    n_not_compared
        Number of images if there are too many to search for near copies, else 0.
    """

    pairs: pd.DataFrame
    n_unreadable: int = 0
    n_without_embedding: int = 0
    n_not_compared: int = 0

    @property
    def notes(self) -> list[str]:
        """Sentences about the images that were not fully compared."""
        return notes_on_search(self.n_unreadable, self.n_without_embedding, self.n_not_compared)


def notes_on_search(n_unreadable: int, n_without_embedding: int, n_not_compared: int) -> list[str]:
    """Return sentences about the images that a search for near copies did not fully compare (`NearCopies`).

    Examples
    --------
    >>> notes_on_search(2, 0, 0)
    ['2 images can no longer be read; only their digests were compared']
    """
    notes = {
        "can no longer be read; only their digests were compared": n_unreadable,
        "are too many to compare in pairs; near copies are not listed": n_not_compared,
        "have no cached vector; only their thumbnail hashes were compared": n_without_embedding,
    }
    return [f"{n} images {note}" for note, n in notes.items() if n]
