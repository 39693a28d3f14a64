"""What every reader of a source can do; the readers themselves are named in `featx.registry.READERS`."""

from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from featx.errors import DataError
from featx.registry import READERS
from featx.specs import ReaderSpec
from featx.tables import Manifest

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif"})


class Reader(Protocol):
    """One way in which images and labels lie on disk.

    Attributes
    ----------
    rank
        Readers are asked to recognise a source in this order, the most particular ones first.
    """

    rank: int

    def recognise(self, source: Path, labels: Path | None) -> ReaderSpec | None:
        """Look at `source` and say how to read it, or None where it is not of this kind.

        Parameters
        ----------
        labels
            A label table that the user named.
        """

    def read(self, data: ReaderSpec, folder: Path) -> Manifest:
        """List all images with their labels; no image is opened, digests are empty.

        Parameters
        ----------
        folder
            Where relative paths in `data` start.

        Raises
        ------
        DataError
            there are none, or the labels cannot be read.
        """


def read_source(data: ReaderSpec, folder: Path) -> Manifest:
    """List the images of a source with the reader that its spec names."""
    reader: Reader = READERS.get(data.reader_name)()
    return reader.read(data, folder)


def is_image_name(path: Path) -> bool:
    """Whether a file is taken for an image: by its ending, and not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def listed(source: Path, ids: list[str], uris: list[Path], labels: pd.DataFrame) -> Manifest:
    """Make a manifest of what a reader found, digests empty.

    Raises
    ------
    DataError
        nothing was found.
    """
    if not ids:
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(
            f"no images in {str(source)!r}; expected one sub-folder a class holding images ({endings}), "
            "or a label table ('featx init SOURCE --labels FILE')"
        )
    index = pd.Index(np.asarray(ids, dtype=object))
    uri_texts = np.asarray([str(uri) for uri in uris], dtype=object)
    return Manifest(index.to_numpy(object), uri_texts, labels.set_index(index), np.full(len(ids), "", dtype=object))
