"""What stands in several parts of a split and should not: copies of images, and groups that look like one person."""

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
from featx.metrics.definitions import LESS_IS_BETTER
from featx.metrics.scores import score
from featx.progress import ProgressCallback, no_progress
from featx.specs.head import Metric
from featx.specs.recipe import Recipe
from featx.study.study import Study
from featx.tables.ids import Ids
from featx.tables.predictions import Answered, Labels
from featx.tables.truth import Known, Truth

PARTS = ("train", "val", "test")
COLUMNS = ["id", "part", "copy", "copy_part", "kind", "similarity"]
WITHOUT = "_without_leaks"  # how the name of a score ends that copies are left out of
FEWEST_GROUPS, MOST_OF_ONE = 20, 25  # groups, and images of each on average, of a column that looks like an identity
SHOWN = 3  # images that a warning names


@dataclass(frozen=True)
class CopyPair:
    """An image and its copy in another part.

    Attributes
    ----------
    id, part
        The image in the later one of the parts train, val, test.
    copy, copy_part
        The other one.
    kind
        ``exact``: the same file content; ``near``: encoded again, resized or a little changed.
    similarity
        See `featx.embeddings.copies.ThumbnailHashes.similarity`; 1 of exact ones.
    labels
        Target → the two labels; those of test rows are left out while they are sealed.
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
        """The targets whose labels are known and differ."""
        return [name for name, (one, other) in self.labels.items() if None not in (one, other) and one != other]


@dataclass(frozen=True)
class SplitGroup:
    """Groups of one column of ``[groups]`` that stand in several parts.

    Attributes
    ----------
    n_groups, n_torn
        Groups in all, and those in several parts.
    first
        One of the latter.
    """

    name: str
    column: str
    n_groups: int
    n_torn: int
    first: str


@dataclass(frozen=True)
class Leaks:
    """What stands in several parts.

    Attributes
    ----------
    pairs
        Exact copies first, then the most similar ones. Of more than two copies each is paired with the first.
    n_images
        Part → its images that have a copy in another one.
    groups
        Columns that look like an identity and are torn; one that ``split.by`` names never is.
    n_unseen, n_unembedded
        Images that could not be read any more, and were compared by content alone; those that have lost their cached
        vector, and were compared by hash alone.
    n_uncompared
        Images among which near copies were not looked for, because there are too many.
    opened
        Whether labels of test rows are among the pairs'; the look was logged.
    file
        The table of all pairs, without labels.
    """

    recipe: str
    pairs: list[CopyPair]
    n_images: dict[str, int]
    groups: list[SplitGroup]
    n_unseen: int
    n_unembedded: int
    n_uncompared: int
    opened: bool
    file: str

    @property
    def disagreeing(self) -> list[CopyPair]:
        """Pairs with labels that differ."""
        return [pair for pair in self.pairs if pair.disagreeing]


def leaks(
    recipe: str | Path | Recipe | None = None, *, final: bool = False, progress: ProgressCallback = no_progress
) -> Leaks:
    """Find images that have copies in another part, and groups that are torn.

    Parameters
    ----------
    final
        Compare test labels as well; that opens the sealed test split, and the look is logged.

    Raises
    ------
    IncompleteError
        nothing has been extracted yet.
    DataError
        there are no test rows to open.
    """
    study = Study.open(recipe)
    copies = copied(study, progress)
    labels = {target: _label_texts(study.labels(target)) for target in study.recipe.targets}
    if final:
        for target in labels:
            labels[target] |= _label_texts(study.open_test(target, []))
    write_table(_file(study), copies.frame)
    pairs = []
    for row in copies.frame.to_dict("records"):
        both = {target: (texts.get(row["id"]), texts.get(row["copy"])) for target, texts in labels.items()}
        pairs.append(CopyPair(**{str(column): value for column, value in row.items()}, labels=both))
    return Leaks(
        recipe=study.recipe.name,
        pairs=pairs,
        n_images={part: len(copies.ids(part)) for part in PARTS},
        groups=list(torn_groups(study)),
        n_unseen=copies.n_unseen,
        n_unembedded=copies.n_unembedded,
        opened=final,
        n_uncompared=copies.n_uncompared,
        file=str(_file(study)),
    )


@dataclass(frozen=True, eq=False)
class Copies:
    """All images that have copies in another part.

    Attributes
    ----------
    frame
        One row a pair, columns `COLUMNS`.
    n_unseen, n_unembedded, n_uncompared
        As of `Leaks`.
    """

    frame: pd.DataFrame
    n_unseen: int = 0
    n_unembedded: int = 0
    n_uncompared: int = 0

    def ids(self, part: str) -> set[str]:
        """Return the images of one part that have a copy in another."""
        one, other = self.frame["part"] == part, self.frame["copy_part"] == part
        return {*self.frame.loc[one, "id"], *self.frame.loc[other, "copy"]}

    @cached_property
    def _every(self) -> pd.Index:
        every: pd.Index = pd.Index([*self.frame["id"], *self.frame["copy"]], dtype=object).unique()
        return every

    def score_without(self, metric: Metric, known: Known, table: Answered) -> dict[str, float]:
        """Return a score on the rows that have no copy in another part; nothing where all are such rows."""
        kept = table.ids[~pd.Index(table.ids).isin(self._every)]
        if len(kept) == len(table.ids):
            return {}
        sign = -1 if metric in LESS_IS_BETTER else 1
        return {f"{metric}{WITHOUT}": sign * score(metric, known, table.take(kept)) if len(kept) else float("nan")}

    def warnings(self, ids: Ids) -> list[str]:
        """Word in a line each how many of the rows scored have copies, and what could not be looked at."""
        blind = {
            "could not be read any more": self.n_unseen,
            "have lost their cached vector": self.n_unembedded,
            "are too many to be compared with each other": self.n_uncompared,
        }
        return [
            *self._clones(ids),
            *(f"{n} images {what}: copies of them may have been missed" for what, n in blind.items() if n),
        ]

    def _clones(self, ids: Ids) -> list[str]:
        clones = pd.Index(ids)[pd.Index(ids).isin(self._every)]
        if not len(clones):
            return []
        exact = self.frame[self.frame["kind"] == "exact"]
        n_exact = int(clones.isin([*exact["id"], *exact["copy"]]).sum())
        named = ", ".join(map(repr, clones[:SHOWN])) + (", …" if len(clones) > SHOWN else "")
        return [
            f"{len(clones)} of {len(ids)} images scored have a copy in another part ({n_exact} exact, "
            f"{len(clones) - n_exact} near), first {named}; 'featx leaks' lists all"
        ]


def copied(study: Study, progress: ProgressCallback = no_progress) -> Copies:
    """Return all images that have copies in another part."""
    near = find_near_copies(study, progress)
    rows = _rows(study)
    pairs = pd.DataFrame([*_exact(rows), *_near(rows, near.pairs)], columns=COLUMNS)
    pairs = pairs.sort_values(["kind", "similarity", "id", "copy"], ascending=[True, False, True, True])
    return Copies(pairs, near.n_unseen, near.n_unembedded, near.n_uncompared)


def _file(study: Study) -> Path:
    return study.folder / "leaks.parquet"


Images = dict[tuple[str, str], list[str]]  # (digest, part) → ids


def _rows(study: Study) -> Images:
    """Return the images of all parts by content."""
    rows: Images = {}
    for part in PARTS:
        ids = study.ids(part)
        for name, digest in zip(ids, study.manifest.take(ids).digests, strict=True):
            rows.setdefault((digest, part), []).append(name)
    return rows


def _exact(rows: Images) -> Iterator[tuple[Any, ...]]:
    for earlier, later in combinations(PARTS, 2):
        for digest, part in rows:
            if part == later and (digest, earlier) in rows:
                yield from _pairs(rows, (digest, later), (digest, earlier), "exact", 1.0)


def _near(rows: Images, near: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """Yield pairs of images in different parts whose contents are near copies."""
    for digest, copy, similarity in near.itertuples(index=False):
        for earlier, later in combinations(PARTS, 2):
            for one, other in ((digest, copy), (copy, digest)):
                if (one, later) in rows and (other, earlier) in rows:
                    yield from _pairs(rows, (one, later), (other, earlier), "near", similarity)


def _pairs(
    rows: Images, one: tuple[str, str], other: tuple[str, str], kind: str, similarity: float
) -> Iterator[tuple[Any, ...]]:
    """Yield pairs in which each image of one and of another content in their parts occurs at least once."""
    ids, copies = rows[one], rows[other]
    for name, copy in [*((name, copies[0]) for name in ids), *((ids[0], copy) for copy in copies[1:])]:
        yield name, one[1], copy, other[1], kind, similarity


def torn_groups(study: Study) -> Iterator[SplitGroup]:
    """Yield the columns of ``[groups]`` that look like an identity and have groups in several parts."""
    for name, column in study.recipe.groups.items():
        ids = np.concatenate([study.ids(part) for part in PARTS])
        groups = pd.Series(study.group_names([column], ids))
        n_groups = groups.nunique()
        if n_groups < FEWEST_GROUPS or len(ids) > MOST_OF_ONE * n_groups:
            continue
        n_parts = study.split.reindex(ids).reset_index(drop=True).groupby(groups).nunique()
        torn = n_parts.index[n_parts > 1]
        if len(torn):
            yield SplitGroup(name, column, n_groups, len(torn), str(torn[0]))


def _label_texts(known: Known) -> dict[str, str]:
    """Return each image's label as people read it."""
    if isinstance(known, Truth):
        texts = [known.classes[code] for code in known.codes]
    elif isinstance(known, Labels):
        had = [[name for name, has in zip(known.names, row, strict=True) if has] for row in known.values]
        texts = [" + ".join(names) or "none" for names in had]
    else:
        texts = [", ".join(f"{value:g}" for value in row) for row in known.values]
    return dict(zip(known.ids, texts, strict=True))
