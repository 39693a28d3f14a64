"""What every reader of a source can do; the readers themselves are named in `featx.registry.READERS`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError
from featx.images.label_columns import plain_columns
from featx.images.trees import Entry
from featx.registry import READERS
from featx.specs.data import ReaderSpec
from featx.tables.ids import Ids, positions
from featx.tables.manifest import Manifest


@dataclass(frozen=True, eq=False)
class Listing:
    """Every file of a source: the images, in a manifest without digests, and the rest.

    Attributes
    ----------
    manifest
        n images with their labels.
    states
        n states of what holds them, for the digest cache; None where there is none.
    known
        Images whose outcome is known without reading: id → (``missing`` or ``unreadable``, reason).
    ignored
        What is not an image of the study: id → the rule.
    warnings
        What should be looked at.
    """

    manifest: Manifest
    states: NDArray[np.object_]
    known: Mapping[str, tuple[str, str]]
    ignored: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        entries: Sequence[Entry],
        labels: pd.DataFrame,
        ignored: Mapping[str, str],
        ids: Sequence[str] | None = None,
        warnings: Sequence[str] = (),
    ) -> "Listing":
        """Make a listing of images with a row of labels each; their ids are their names unless `ids` says others."""
        n = len(entries)
        names = np.asarray([entry.name for entry in entries] if ids is None else ids, dtype=object)
        states = np.empty(n, dtype=object)
        states[:] = [entry.state for entry in entries]
        known = {
            name: (entry.outcome, entry.reason) for name, entry in zip(names, entries, strict=True) if entry.outcome
        }
        uris = np.asarray([entry.uri for entry in entries], dtype=object)
        manifest = Manifest(
            names, uris, plain_columns(labels).set_index(pd.Index(names, dtype=object)), np.full(n, "", dtype=object)
        )
        return cls(manifest, states, known, ignored, tuple(warnings))

    def __len__(self) -> int:
        return len(self.manifest)

    def without(self, rules: Mapping[str, str]) -> "Listing":
        """Return the listing with these images ignored, each for its rule."""
        if not rules:
            return self
        kept = [name for name in self.manifest.ids if name not in rules]
        at = positions(self.manifest.ids, kept, "listing")
        known = {name: outcome for name, outcome in self.known.items() if name not in rules}
        return replace(
            self,
            manifest=self.manifest.take(kept),
            states=self.states[at],
            known=known,
            ignored={**self.ignored, **rules},
        )

    def take(self, ids: Ids) -> "Listing":
        """Return the listing with the images in the order of `ids`."""
        at = positions(self.manifest.ids, ids, "listing")
        return replace(self, manifest=self.manifest.take(ids), states=self.states[at])


class Reader(Protocol):
    """One way in which images and labels lie in a source.

    Attributes
    ----------
    rank
        Readers are asked to recognise a source in this order, the most particular ones first.
    """

    rank: int

    def recognise(self, source: str, labels: str | None) -> ReaderSpec | None:
        """Look at `source` and say how to read it, or None where it is not of this kind.

        Parameters
        ----------
        source
            A place, as `featx.images.sources.open_tree` takes it, or an array file.
        labels
            A label table that the user named.
        """

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """List all files with the images' labels; no image is opened, digests are empty.

        Parameters
        ----------
        folder
            Where relative paths in `data` start.

        Raises
        ------
        DataError
            the labels cannot be read or do not fit.
        """


def read_source(data: ReaderSpec, folder: Path) -> Listing:
    """List the files of a source with the reader that its spec names.

    Raises
    ------
    DataError
        there are no images, or the labels cannot be read.
    """
    reader: Reader = READERS.get(data.reader_name)()
    found = reader.read(data, folder)
    if not len(found):
        others = f" (it holds {len(found.ignored)} other files)" if found.ignored else ""
        raise DataError(
            f"no images in {data.source!r}{others}; expected one sub-folder a class holding images, a label table that "
            "names them ('featx init SOURCE --labels FILE'), or array files"
        )
    return found
