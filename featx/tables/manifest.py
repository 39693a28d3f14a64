"""The table of all images: ids, URIs, labels, digests."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import AlignmentError, DataError
from featx.registry import suggest_names
from featx.tables.ids import Ids, as_ids, positions


@dataclass(frozen=True, eq=False)
class Manifest:
    """All images of a source, readable or not.

    Attributes
    ----------
    ids
        (n,) stable, readable image ids: paths relative to the source.
    uris
        (n,) URIs of the images' bytes.
    labels
        n rows of label columns as they were read, indexed by id.
    digests
        (n,) 32 hex digits of the SHA-256 of each image's content; empty where it is unreadable or not read yet.
    """

    ids: NDArray[np.object_]
    uris: NDArray[np.object_]
    labels: pd.DataFrame
    digests: NDArray[np.object_]

    def __post_init__(self) -> None:
        as_ids(self.ids)
        if not len(self.ids) == len(self.uris) == len(self.labels) == len(self.digests):
            raise AlignmentError("ids, uris, labels and digests of a manifest differ in length")
        if not self.labels.index.equals(pd.Index(self.ids, dtype=object)):
            raise AlignmentError("the labels of a manifest are not in the order of its ids")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def uris_by_digest(self) -> dict[str, str]:
        """The URI of the first image with each digest; images without a digest are left out."""
        uris: dict[str, str] = {}
        for digest, uri in zip(self.digests, self.uris, strict=True):
            if digest:
                uris.setdefault(digest, uri)
        return uris

    def take(self, ids: Ids) -> "Manifest":
        """Return the rows of `ids`, in their order."""
        rows = positions(self.ids, ids, "manifest")
        return Manifest(self.ids[rows], self.uris[rows], self.labels.iloc[rows], self.digests[rows])

    def with_column(self, name: str, values: "pd.Series[Any]") -> "Manifest":
        """Return the table with one more label column.

        Parameters
        ----------
        name
            Name of the new column.
        values
            n values, indexed by id.

        Raises
        ------
        DataError
            The table has a column of this name.
        """
        if name in self.labels.columns:
            raise DataError(f"groups.{name}: a label column has this name already; name the grouping otherwise")
        labels = self.labels.copy(deep=False)
        labels[name] = values
        return replace(self, labels=labels)

    def column(self, name: str) -> "pd.Series[Any]":
        """Return a label column as a series indexed by id.

        Raises
        ------
        DataError
            The table has no such column; the message lists the existing ones.
        """
        if name not in self.labels.columns:
            hint = suggest_names(name, list(map(str, self.labels)), title="columns")
            raise DataError(f"no label column is called {name!r}; {hint}")
        return self.labels[name]

    def to_frame(self) -> pd.DataFrame:
        """Return one flat frame for Parquet; label columns are prefixed ``label.``."""
        frame = pd.DataFrame({"id": self.ids, "uri": self.uris, "digest": self.digests})
        return frame.join(self.labels.reset_index(drop=True).add_prefix("label."))

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> "Manifest":
        """Return the manifest that `to_frame` turned into a frame."""
        labels = frame[[name for name in frame.columns if name.startswith("label.")]]
        labels = labels.rename(columns=lambda name: name.removeprefix("label.")).set_index(pd.Index(frame["id"]))
        ids, uris, digests = (frame[name].to_numpy(object) for name in ("id", "uri", "digest"))
        return cls(ids, uris, labels, digests)
