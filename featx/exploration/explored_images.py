"""The images that are explored, with everything that analyses use: labels, parts, groups, embeddings and runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.embeddings.read import locked_store, read_embeddings
from featx.exploration.embedded_images import EmbeddedImages
from featx.exploration.projections import Method
from featx.images.init import Recognition
from featx.specs.recipe import Recipe
from featx.study.run_folder import RunFolder
from featx.study.study import Study
from featx.tables.embedding_table import Embeddings
from featx.tables.ids import Ids, positions
from featx.tables.resampling_units import join_units
from featx.tables.truth import AnyTruth


@dataclass(frozen=True, eq=False)
class ExploredImages:
    """Images of a recipe or of a source, one row each, in the order of the source.

    Labels of the test part are sealed: analyses see its images, parts and groups, never its labels.

    Attributes
    ----------
    study
        The study. Without a recipe, its recipe is the one that ``featx init`` would write.
    ids, uris, digests
        (n,) ids, URIs and digests of the images whose bytes could be read.
    parts
        (n,) ``train``, ``val`` or ``test``; empty texts if there is no split.
    truths
        Target → the true values of the labelled images that are not in the test part, in any order; without targets
        and where labels have a problem, empty.
    groups
        Name of a grouping → (n,) series of values indexed by id.
    properties
        n rows indexed by id: the columns of `featx.exploration.image_properties.COLUMNS`, missing where an image
        could not be decoded.
    tiles
        Digest → JPEG of a small picture of the image, `featx.exploration.image_properties.TILE_PX` pixels wide and
        high; images that could not be decoded have none.
    unreadable
        Id → reason, of the images that could not be read or decoded; those without bytes are not among `ids`.
    ignored
        Number of files of the source that are no images, by rule.
    label_problem
        Reason why there are no labels and no split; empty if there are.
    is_extracted
        Whether ``featx extract`` has run for these images, so that embeddings can be read.
    notes
        Limits of this exploration as sentences.
    recognition
        What ``featx init`` recognises in the source; None for the images of a recipe.
    projection
        Method that projects the embedding to a map: ``tsne``, ``umap`` or ``pca``.
    n_found
        Number of images of the source, of which those without bytes and those outside of a sample are not explored.
    """

    study: Study
    ids: NDArray[np.object_]
    uris: NDArray[np.object_]
    digests: NDArray[np.object_]
    parts: NDArray[np.object_]
    truths: Mapping[str, AnyTruth]
    groups: Mapping[str, "pd.Series[Any]"]
    properties: pd.DataFrame = field(default_factory=pd.DataFrame)
    tiles: Mapping[str, bytes] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)
    label_problem: str = ""
    is_extracted: bool = False
    notes: tuple[str, ...] = ()
    recognition: Recognition | None = None
    n_found: int = 0
    projection: Method = "tsne"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def recipe(self) -> Recipe:
        """The recipe of the study."""
        return self.study.recipe

    def rows(self, ids: Ids) -> NDArray[np.intp]:
        """Return the (n,) positions of ids."""
        return positions(self.ids, ids, "explored images")

    def label_texts(self, target: str) -> "pd.Series[Any]":
        """Return the true value of each image as text, (n,) indexed by id; None for sealed and missing labels."""
        texts = self.truths[target].texts()
        return pd.Series([texts.get(image_id) for image_id in self.ids], index=pd.Index(self.ids), dtype=object)

    @property
    def embedding_name(self) -> str:
        """Name of the embedding that analyses use, the first one of the recipe; empty without one."""
        embedding = self.study.first_embedding if self.is_extracted else None
        return "" if embedding is None else embedding.request.name

    @cached_property
    def embedding(self) -> Embeddings | None:
        """Vectors of the first embedding, of the images that have one; None before ``featx extract``."""
        first_embedding = self.study.first_embedding if self.is_extracted else None
        if first_embedding is None:
            return None
        missing_digests = set(locked_store(self.study.cache, first_embedding).missing(self.digests.tolist()))
        has_vector = np.array([digest not in missing_digests for digest in self.digests], dtype=bool)
        return read_embeddings(self.study, self.ids[has_vector], [first_embedding])

    @cached_property
    def embedded(self) -> EmbeddedImages | None:
        """The images with vectors of length 1, whose neighbours are searched once; None before ``featx extract``."""
        if self.embedding is None:
            return None
        embedded_images = EmbeddedImages.of(self.embedding, self.units[self.rows(self.embedding.ids)])
        # The raw vectors take as much memory as those of length 1; they are read again if an analysis uses them.
        del self.__dict__["embedding"]
        return embedded_images

    @cached_property
    def units(self) -> NDArray[np.int64]:
        """(n,) units: equal images, near copies once they were searched, and rows that the split keeps together."""
        keys: list[Any] = [pd.Series(self.digests, dtype=object).replace("", None).to_numpy(object)]
        if self.is_extracted and self.study.knows_copies:
            keys.append(self.study.groups(self.ids))
        elif (split_column := self.recipe.split.by) is not None:
            columns = [name for name, column in self.recipe.group_labels.items() if column == split_column]
            grouped_columns = [name for name in columns or [split_column] if name in self.groups]
            keys += [self.groups[name].reindex(self.ids).to_numpy(object) for name in grouped_columns]
        return join_units(len(self), [key for key in keys if key is not None])

    def runs(self, target: str) -> list[RunFolder]:
        """Return the finished runs of a target that match the current data, oldest first; empty if there are none."""
        return self.study.comparable_runs(target) if self.is_extracted else []
