"""Leaks between the parts of a split: copies of images, and groups of one identity that are in several parts."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from featx.embeddings.near_copies import find_near_copies
from featx.files.atomic import write_table
from featx.metrics.score_texts import SUFFIX_WITHOUT_LEAKS
from featx.metrics.scores import compared_score, score
from featx.progress import ProgressCallback, no_progress
from featx.specs.head import Metric
from featx.specs.recipe import Recipe
from featx.specs.split import PARTS
from featx.study.study import Study
from featx.tables.ids import Ids
from featx.tables.predictions import AnyPredictions
from featx.tables.truth import AnyTruth

COLUMNS = ["id", "part", "copy", "copy_part", "kind", "similarity"]
# End of the name of a score that is computed without images that have copies in another part.
# A column looks like an identity, for example of patients, from this number of groups on …
MIN_IDENTITY_GROUPS = 20
# … and up to this number of images per group on average.
MAX_MEAN_IMAGES_PER_IDENTITY = 25
# Number of images that a warning names.
MAX_NAMED_IMAGES = 3

# Images by (digest, part).
Images = dict[tuple[str, str], list[str]]


@dataclass(frozen=True)
class CopyPair:
    """An image and its copy in another part.

    Attributes
    ----------
    id, part
        Id and part of the image in the later part, in the order train, val, test.
    copy, copy_part
        Id and part of the other image.
    kind
        ``exact``: the same file content; ``near``: encoded again, resized or slightly changed.
    similarity
        Correlation of the thumbnails (`featx.embeddings.copies.ThumbnailHashes.similarity`); 1 for exact copies.
    labels
        Target → the two labels; None for sealed labels of test rows.
    """

    id: str
    part: str
    copy: str
    copy_part: str
    kind: str
    similarity: float
    labels: dict[str, tuple[str | None, str | None]] = field(default_factory=dict)

    @property
    def disagreeing(self) -> list[str]:
        """Targets whose two labels are known and differ."""
        return [name for name, labels in self.labels.items() if None not in labels and labels[0] != labels[1]]


@dataclass(frozen=True)
class SplitGroup:
    """Groups of one column of ``[groups]`` that are in several parts.

    Attributes
    ----------
    name, column
        Name of the grouping in the recipe, and its label column.
    n_groups, n_leaking_groups
        Number of all groups, and of those in several parts. Images without a value belong to no group.
    first
        Name of the first group that is in several parts.
    """

    name: str
    column: str
    n_groups: int
    n_leaking_groups: int
    first: str


@dataclass(frozen=True)
class Leaks:
    """Copies and groups that are in several parts of the split.

    Attributes
    ----------
    recipe
        Name of the recipe.
    pairs
        Pairs of copies, exact ones first, then by decreasing similarity. Of more than two copies, each is paired with
        the first one.
    n_images
        Part → number of its images that have a copy in another part.
    groups
        Columns that look like an identity and have groups in several parts; never the one of ``split.by``.
    n_unreadable
        Number of images that could not be read and were compared by content only.
    n_without_embedding
        Number of images without a cached embedding, which were compared by hash only.
    n_not_compared
        Number of images that were not searched for near copies because there are too many.
    opened
        Whether the labels of test rows were opened and compared; the opening is logged.
    file
        Path of the table of all pairs, without labels.
    """

    recipe: str
    pairs: list[CopyPair]
    n_images: dict[str, int]
    groups: list[SplitGroup]
    n_unreadable: int
    n_without_embedding: int
    n_not_compared: int
    opened: bool
    file: str

    @property
    def disagreeing(self) -> list[CopyPair]:
        """Pairs whose labels differ."""
        return [pair for pair in self.pairs if pair.disagreeing]


def leaks(
    recipe: str | Path | Recipe | None = None, *, final: bool = False, progress: ProgressCallback = no_progress
) -> Leaks:
    """Return the images that have copies in another part, and the groups that are in several parts.

    Parameters
    ----------
    recipe
        Recipe or path of a recipe; by default the one that ``$FEATX_RECIPE`` names, or ``./featx.toml``.
    final
        Whether to compare test labels as well. This opens the sealed test split, and the opening is logged.
    progress
        Callback for the progress of the search for copies.

    Raises
    ------
    IncompleteError
        nothing has been extracted yet.
    DataError
        there are no test rows to open.
    """
    return find_leaks(Study.open(recipe), final=final, progress=progress)


def find_leaks(study: Study, *, final: bool = False, progress: ProgressCallback = no_progress) -> Leaks:
    """Return the copies and groups in several parts of an open study; parameters and errors are those of `leaks`."""
    copies = find_copies(study, progress)
    labels = {target: study.labels(target).texts() for target in study.recipe.targets}
    if final:
        for target in labels:
            labels[target] |= study.open_test(target, []).texts()
    write_table(_file(study), copies.frame)
    pairs = []
    for row in copies.frame.to_dict("records"):
        pair_labels = {target: (texts.get(row["id"]), texts.get(row["copy"])) for target, texts in labels.items()}
        pairs.append(CopyPair(**{str(column): value for column, value in row.items()}, labels=pair_labels))
    return Leaks(
        recipe=study.recipe.name,
        pairs=pairs,
        n_images={part: len(copies.ids(part)) for part in PARTS},
        groups=list(_split_groups(study)),
        n_unreadable=copies.n_unreadable,
        n_without_embedding=copies.n_without_embedding,
        opened=final,
        n_not_compared=copies.n_not_compared,
        file=str(_file(study)),
    )


@dataclass(frozen=True, eq=False)
class Copies:
    """All images that have copies in another part.

    Attributes
    ----------
    frame
        Table with one row per pair and the columns `COLUMNS`.
    n_unreadable, n_without_embedding, n_not_compared
        Numbers of images that were not fully compared (`Leaks`).
    """

    frame: pd.DataFrame
    n_unreadable: int = 0
    n_without_embedding: int = 0
    n_not_compared: int = 0

    def ids(self, part: str) -> set[str]:
        """Return the ids of the images of one part that have a copy in another part."""
        is_image, is_copy = self.frame["part"] == part, self.frame["copy_part"] == part
        return {*self.frame.loc[is_image, "id"], *self.frame.loc[is_copy, "copy"]}

    @cached_property
    def _all_ids(self) -> pd.Index:
        ids: pd.Index = pd.Index([*self.frame["id"], *self.frame["copy"]], dtype=object).unique()
        return ids

    def score_without(self, metric: Metric, truth: AnyTruth, table: AnyPredictions) -> dict[str, float]:
        """Return the compared score on the rows that have no copy in another part; empty if no row has such a copy."""
        clean_ids = table.ids[~pd.Index(table.ids).isin(self._all_ids)]
        if len(clean_ids) == len(table.ids):
            return {}
        value = score(metric, truth, table.take(clean_ids)) if len(clean_ids) else math.nan
        return {f"{compared_score(metric, truth.take(table.ids))}{SUFFIX_WITHOUT_LEAKS}": value}

    def warnings(self, ids: Ids) -> list[str]:
        """Return warnings about scored rows that have copies, and about images that were not fully compared."""
        incomplete = {
            "cannot be read any more": self.n_unreadable,
            "have no cached embedding any more": self.n_without_embedding,
            "are too many to be compared with each other": self.n_not_compared,
        }
        return [
            *self._copy_warnings(ids),
            *(f"{n} images {reason}: copies of them may be missing" for reason, n in incomplete.items() if n),
        ]

    def _copy_warnings(self, ids: Ids) -> list[str]:
        copies = pd.Index(ids)[pd.Index(ids).isin(self._all_ids)]
        if not len(copies):
            return []
        exact_pairs = self.frame[self.frame["kind"] == "exact"]
        n_exact = int(copies.isin([*exact_pairs["id"], *exact_pairs["copy"]]).sum())
        copies_text = ", ".join(map(repr, copies[:MAX_NAMED_IMAGES])) + (
            ", …" if len(copies) > MAX_NAMED_IMAGES else ""
        )
        return [
            f"{len(copies)} of {len(ids)} images scored have a copy in another part ({n_exact} exact, "
            f"{len(copies) - n_exact} near), first {copies_text}; 'featx leaks' lists all"
        ]


def find_copies(study: Study, progress: ProgressCallback = no_progress) -> Copies:
    """Return all images that have copies in another part."""
    near_copies = find_near_copies(study, progress)
    images = _images_by_content(study)
    pairs = pd.DataFrame([*_exact_pairs(images), *_near_pairs(images, near_copies.pairs)], columns=COLUMNS)
    pairs = pairs.sort_values(["kind", "similarity", "id", "copy"], ascending=[True, False, True, True])
    return Copies(pairs, near_copies.n_unreadable, near_copies.n_without_embedding, near_copies.n_not_compared)


def _file(study: Study) -> Path:
    return study.folder / "leaks.parquet"


def _images_by_content(study: Study) -> Images:
    """Return the images of all parts by content and part."""
    images: Images = {}
    for part in PARTS:
        ids = study.ids(part)
        for name, digest in zip(ids, study.manifest.take(ids).digests, strict=True):
            images.setdefault((digest, part), []).append(name)
    return images


def _exact_pairs(images: Images) -> Iterator[tuple[Any, ...]]:
    """Yield pairs of images in different parts with the same content."""
    for earlier_part, later_part in combinations(PARTS, 2):
        for digest, part in images:
            if part == later_part and (digest, earlier_part) in images:
                yield from _pairs(images, (digest, later_part), (digest, earlier_part), "exact", 1.0)


def _near_pairs(images: Images, near_copies: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Yield pairs of images in different parts whose contents are near copies."""
    for digest, copy, similarity in near_copies.itertuples(index=False):
        for earlier_part, later_part in combinations(PARTS, 2):
            for first, second in ((digest, copy), (copy, digest)):
                if (first, later_part) in images and (second, earlier_part) in images:
                    yield from _pairs(images, (first, later_part), (second, earlier_part), "near", similarity)


def _pairs(
    images: Images, first: tuple[str, str], second: tuple[str, str], kind: str, similarity: float
) -> Iterator[tuple[Any, ...]]:
    """Yield pairs of images of two contents such that each image occurs at least once."""
    ids, copies = images[first], images[second]
    for name, copy in [*((name, copies[0]) for name in ids), *((ids[0], copy) for copy in copies[1:])]:
        yield name, first[1], copy, second[1], kind, similarity


def _split_groups(study: Study) -> Iterator[SplitGroup]:
    """Yield the columns of ``[groups]`` that look like an identity and have groups in several parts."""
    for name, column in study.recipe.group_labels.items():
        ids = np.concatenate([study.ids(part) for part in PARTS])
        groups = pd.Series(study.group_names([column], ids))
        n_groups = groups.nunique()
        if n_groups < MIN_IDENTITY_GROUPS or groups.count() > MAX_MEAN_IMAGES_PER_IDENTITY * n_groups:
            continue
        n_parts = study.split.reindex(ids).reset_index(drop=True).groupby(groups).nunique()
        leaking_groups = n_parts.index[n_parts > 1]
        if len(leaking_groups):
            yield SplitGroup(name, column, n_groups, len(leaking_groups), str(leaking_groups[0]))
