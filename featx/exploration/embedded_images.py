"""The vectors of explored images, and the classes and neighbours of those with labels, each computed once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.exploration.neighbours import (
    NO_ROW,
    ClassNeighbours,
    Rows,
    Vectors,
    find_class_neighbours,
    principal_coordinates,
    unit_vectors,
)
from featx.progress import ProgressCallback
from featx.tables.embedding_table import Embeddings

# Number of neighbours that are searched: the largest number that an analysis uses.
N_NEIGHBOURS = 20
# Number of principal axes that projections and clusters use.
N_AXES = 50


@dataclass(frozen=True, eq=False)
class LabelledVectors:
    """Images of one target of classes, without the test part.

    Attributes
    ----------
    target
        Name of the target; empty if there is none, and all images form one class.
    ids
        (n,) ids of the images.
    codes
        (n,) class codes 0 … k-1.
    classes
        Names of the k classes.
    embedded
        The embedded images that these are among.
    rows
        (n,) positions among the embedded images.
    neighbours
        The nearest neighbours among these images, in and across classes.
    """

    target: str
    ids: NDArray[np.object_]
    codes: NDArray[np.intp]
    classes: tuple[str, ...]
    embedded: "EmbeddedImages"
    rows: Rows
    neighbours: ClassNeighbours

    @property
    def vectors(self) -> Vectors:
        """(n, d) vectors of length 1, copied at each use: of many images they take hundreds of megabytes."""
        return self.embedded.vectors_at(self.rows)

    @property
    def units(self) -> NDArray[np.int64]:
        """(n,) units: copies of one image, and images of one group."""
        return self.embedded.units[self.rows]

    @property
    def labels(self) -> NDArray[np.object_]:
        """(n,) names of the classes of the images."""
        return np.asarray(self.classes, dtype=object)[self.codes]

    def ids_at(self, rows: Rows) -> NDArray[np.object_]:
        """Return the ids at some positions; None for -1."""
        ids = self.ids[rows]
        ids[rows == NO_ROW] = None
        return ids

    def labels_at(self, rows: Rows) -> NDArray[np.object_]:
        """Return the names of the classes at some positions; None for -1."""
        labels = self.labels[rows]
        labels[rows == NO_ROW] = None
        return labels


@dataclass(frozen=True, eq=False)
class EmbeddedImages:
    """Images with vectors of length 1.

    Attributes
    ----------
    ids
        (n,) ids of the images.
    vectors
        (n, d) vectors of length 1 around the mean of all images.
    units
        (n,) units: copies of one image, and images of one group.
    """

    ids: NDArray[np.object_]
    vectors: Vectors
    units: NDArray[np.int64]
    _labelled: dict[str, LabelledVectors] = field(default_factory=dict)

    @classmethod
    def of(cls, embeddings: Embeddings, units: NDArray[np.int64]) -> "EmbeddedImages":
        """Return the images of a table of embeddings."""
        return cls(embeddings.ids, unit_vectors(embeddings.x), units)

    @cached_property
    def coordinates(self) -> Vectors:
        """(n, 50 or fewer) coordinates along the first principal axes."""
        return principal_coordinates(self.vectors, min(N_AXES, self.vectors.shape[1]))

    def vectors_at(self, rows: Rows) -> Vectors:
        """Return the vectors of the images at some ascending positions."""
        return self.vectors if len(rows) == len(self.ids) else self.vectors[rows]

    def labelled(
        self,
        target: str,
        rows: Rows,
        codes: NDArray[np.integer[Any]],
        classes: Sequence[str],
        progress: ProgressCallback,
    ) -> LabelledVectors:
        """Return the images at some positions with their classes; neighbours are searched once for each target.

        Parameters
        ----------
        rows, codes
            (m,) positions of the images, and codes of their classes.
        """
        if target not in self._labelled:
            vectors, units = self.vectors_at(rows), self.units[rows]
            neighbours = find_class_neighbours(vectors, codes, N_NEIGHBOURS, units, progress)
            self._labelled[target] = LabelledVectors(
                target, self.ids[rows], codes.astype(np.intp), tuple(classes), self, rows, neighbours
            )
        return self._labelled[target]
