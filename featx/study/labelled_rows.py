"""Rows of a study with their labels, and the units that stay on one side of every cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError, IncompleteError
from featx.files.atomic import read_table, sha256_of, write_table
from featx.files.seals import read_sealed, write_sealed
from featx.metrics.scores import GREATER_IS_BETTER, chosen_metric
from featx.specs.base import fingerprint
from featx.specs.head import Metric
from featx.study.embedding_lock import LockedEmbedding
from featx.study.extracted_data import HAS_EMBEDDING, ExtractedData
from featx.study.near_copy_table import COPIES, COPIES_STATE, COPY_COLUMNS, COPY_SEARCH_VERSION, NearCopies
from featx.tables.encoding import category_text, known
from featx.tables.ids import Ids, Kind
from featx.tables.manifest import Manifest
from featx.tables.resampling_units import joined
from featx.tables.target_values import TargetValues
from featx.tables.truth import Known, Numbers, Truth

PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class LabelledRows(ExtractedData):
    """Ids, labels, groups and copies of the images of a study; labels of the test split stay sealed."""

    def ids(self, part: str) -> Ids:
        """Return the ids of one part whose images have embeddings, in the manifest's order."""
        usable = self.outcomes.loc[self.outcomes["outcome"].isin(HAS_EMBEDDING), "id"]
        inside = self.split.reindex(usable).eq(part).to_numpy()
        return usable.to_numpy(object)[inside]

    def target_names(self, chosen: str | None = None) -> list[str]:
        """Return the recipe's targets, or the `chosen` one."""
        known = list(self.recipe.targets)
        if chosen is not None and chosen not in known:
            raise DataError(f"no target is called {chosen!r}; targets: {', '.join(known)}")
        return known if chosen is None else [chosen]

    def of_kind(self, kinds: Sequence[Kind], chosen: str | None = None) -> list[str]:
        """Return the recipe's targets of some kinds; a chosen one must be of them.

        Raises
        ------
        DataError
            there is none.
        """
        names = self.target_names(chosen)
        found = [name for name in names if self.recipe.targets[name].kind in kinds]
        if not found:
            kind = self.recipe.targets[names[0]].kind
            raise DataError(f"target {names[0]!r} is of {kind}, expected one of {' or '.join(kinds)} here")
        return found

    def _known(self, target: str) -> Known:
        return known(self._labelled, target, self.recipe.targets[target])

    def labels(self, target: str) -> Known:
        """Return the labels of all train and val rows; those of the test split stay sealed."""
        return self._known(target).take(np.concatenate([self.ids("train"), self.ids("val")]))

    def truth(self, target: str) -> Truth:
        """Return `labels` of a target of classes."""
        found = self.labels(target)
        assert isinstance(found, Truth)
        return found

    def numbers(self, target: str) -> Numbers:
        """Return `labels` of a target of labels or numbers."""
        found = self.labels(target)
        assert isinstance(found, Numbers)
        return found

    def metric(self, target: str) -> Metric:
        """Return the score that chooses between runs: the recipe's where it is one of this kind of target.

        Raises
        ------
        DataError
            it is of none of the recipe's targets.
        """
        facts, said = TargetValues.of(self.labels(target)), self.recipe.ensemble.metric
        others = {one.kind for one in self.recipe.targets.values()} - {facts.kind}
        of_others = said not in GREATER_IS_BETTER[facts.kind] and any(said in GREATER_IS_BETTER[one] for one in others)
        return chosen_metric(facts, None if of_others else said)

    def manifest_of(self, ids: Ids) -> Manifest:
        """Return the rows of train and val images with their labels.

        Raises
        ------
        ValueError
            one is of the test split, whose labels are sealed.
        """
        if (self.split.reindex(pd.Index(ids)) == "test").any():
            raise ValueError("labels of the test split are sealed")
        return self._labelled.take(ids)

    def group_values(self, ids: Ids) -> dict[str, "pd.Series[Any]"]:
        """Return the column of each of the recipe's groups, by the group's name, for some ids."""
        rows = self._labelled.take(ids)
        return {name: rows.column(column) for name, column in self.recipe.groups.items()}

    def group_names(self, columns: Sequence[str], ids: Ids) -> NDArray[np.object_]:
        """Return the group of each id by some label columns, their values joined."""
        rows = self._labelled.take(ids)
        texts = [rows.column(column).map(category_text) for column in columns]
        return np.array([" × ".join(values) for values in zip(*texts, strict=True)], dtype=object)

    @cached_property
    def contents(self) -> dict[str, str]:
        """Digest → uri of all images that have an embedding, in the order of digests; of equal files the first."""
        usable = self.outcomes.loc[self.outcomes["outcome"].isin(HAS_EMBEDDING), "id"].to_numpy(object)
        rows = self.manifest.take(usable)
        uris: dict[str, str] = {}
        for digest, uri in zip(rows.digests, rows.uris, strict=True):
            uris.setdefault(digest, uri)
        return dict(sorted(uris.items()))

    @property
    def first_embedding(self) -> LockedEmbedding | None:
        """The first of the recipe's embeddings that is extracted; None where none is."""
        extracted = {one.request: one for one in self.locked}
        return next((extracted[request] for request in self.recipe.requests if request in extracted), None)

    def copies_state(self) -> str:
        """Return 16 hex digits that change whenever what near copies are looked for by does."""
        first = self.first_embedding
        embedding = None if first is None else first.spec.fingerprint()
        return fingerprint([COPY_SEARCH_VERSION, list(self.contents), embedding, self.recipe.decoding.identity()])

    @property
    def knows_copies(self) -> bool:
        """Whether near copies have been looked for among today's images, and what was found is as it was written."""
        return self.copies_found() is not None

    def copies_found(self) -> NearCopies | None:
        """Return the near copies among today's images; None where a search for them is necessary."""
        try:
            fields = read_sealed(self.folder / COPIES_STATE)
            if fields.pop("state") != self.copies_state():
                return None
            return NearCopies(
                read_table(self.folder / COPIES, "featx leaks", COPY_COLUMNS, fields.pop("sha256")), **fields
            )
        except (IncompleteError, KeyError, TypeError):
            # It is not there yet, was changed, or another version wrote it.
            return None

    def keep_copies(self, copies: NearCopies) -> None:
        """Write the near copies among today's images."""
        write_table(self.folder / COPIES, copies.pairs)
        counts = {name: getattr(copies, name) for name in ("n_unseen", "n_unembedded", "n_uncompared")}
        state = {"state": self.copies_state(), "sha256": sha256_of(self.folder / COPIES)}
        write_sealed(self.folder / COPIES_STATE, state | counts)

    @cached_property
    def near_copies(self) -> NearCopies:
        """What `featx.embeddings.near_copies.find_near_copies` found among these images.

        Raises
        ------
        IncompleteError
            It has not been looked for them yet.
        """
        copies = self.copies_found()
        if copies is None:
            raise IncompleteError(
                f"copies among the images of recipe {self.recipe.name!r} have not been looked for yet; run 'featx fit' "
                "or 'featx leaks'"
            )
        return copies

    @cached_property
    def _units(self) -> "pd.Series[str]":
        """The unit of each image, by id: the first of the ids in it."""
        rows, by = self._labelled, self.recipe.split.by
        digests = pd.Series(rows.digests, dtype=object).replace("", None)
        keys = [digests.to_numpy(object)] + ([] if by is None else [rows.column(by).to_numpy(object)])
        first_row = pd.Series(np.arange(len(rows)), index=digests).groupby(level=0).first()
        pairs = self.near_copies.pairs
        i, j = (first_row.reindex(pairs[name]).to_numpy() for name in ("digest", "copy"))
        codes = joined(len(rows), keys, (i.astype(np.intp), j.astype(np.intp)))
        ids = pd.Series(rows.ids, index=pd.Index(rows.ids))
        return ids.groupby(codes).transform("first")

    def groups(self, ids: Ids) -> NDArray[Any] | None:
        """Return the unit of each id: rows of one group of ``split.by``, or copies of one image, have the same one.

        Returns
        -------
        numpy.ndarray or None
            (n,) names; None where no two of the ids are in one unit.
        """
        units = self._units.reindex(pd.Index(np.asarray(ids, dtype=object))).to_numpy(object)
        return None if pd.Index(units).is_unique else units

    def units_fingerprint(self, part: str) -> str:
        """Return 16 hex digits that change whenever rows of one part are joined into other units."""
        ids = np.sort(np.asarray(self.ids(part)).astype(str)).astype(object)
        units = self._units.reindex(pd.Index(ids))
        first = pd.Series(ids, index=units.index).groupby(units.to_numpy()).transform("first")
        return fingerprint(dict(zip(ids, first, strict=True)) if not first.is_unique else {})

    def split_fingerprint(self) -> str:
        """Return 16 hex digits that change whenever a usable image changes its part or its content."""
        parts = {part: np.sort(np.asarray(self.ids(part)).astype(str)).astype(object) for part in PARTS}
        rows = {part: self.manifest.take(ids) for part, ids in parts.items()}
        return fingerprint({part: dict(zip(some.ids, some.digests, strict=True)) for part, some in rows.items()})

    def training_state(self, target: str, group_columns: Sequence[str] = ()) -> dict[str, Any]:
        """Return all that a run learns from in the data: it is part of the run's spec, and a run of another is stale.

        Parameters
        ----------
        group_columns
            Label columns of the groups that the run's rows are weighted by.
        """
        ids = np.sort(np.asarray(self.ids("train")).astype(str)).astype(object)
        groups = dict(zip(ids, self.group_names(group_columns, ids), strict=True)) if group_columns else {}
        return {
            "target": target,
            "split": self.split_fingerprint(),
            "units": self.units_fingerprint("train"),
            "labels": self.labels_fingerprint(target),
            "group_columns": list(group_columns),
            "group_values": fingerprint(groups),
        }

    def choosing_state(self, target: str) -> dict[str, Any]:
        """Return all that is learnt or measured on val in the data: labels, weights and units of its rows."""
        return {"val_labels": self.labels_fingerprint(target, "val"), "val_units": self.units_fingerprint("val")}

    def labels_fingerprint(self, target: str, part: str = "train") -> str:
        """16 hex digits that change whenever any label of one part does; the test part has none."""
        if part == "test":
            raise ValueError("labels of the test split are sealed")
        return self._labels_fingerprint(target, part)

    def _labels_fingerprint(self, target: str, part: str) -> str:
        truth = self._known(target).take(self.ids(part))
        if isinstance(truth, Truth):
            columns, others = [truth.codes, truth.weights, truth.shares], ["ordered"] if truth.ordered else []
        else:
            columns, others = [truth.values, truth.weights], []
        by_id = [dict(zip(truth.ids, of.tolist(), strict=True)) for of in columns if of is not None]
        return fingerprint([list(truth.names), *by_id, *others])

    def final_state(self, target: str) -> str:
        """Return 16 hex digits that change whenever anything in data or recipe does that a table of test scores shows.

        Labels of the test split are hashed, and nothing else of them leaves this method.
        """
        ids = np.concatenate([self.ids(part) for part in PARTS])
        groups = {name: column.map(category_text).to_dict() for name, column in self.group_values(ids).items()}
        states = [self.training_state(target), self.choosing_state(target), self.units_fingerprint("test"), groups]
        settings = [self.metric(target), self.recipe.evaluation.identity()]
        return fingerprint([*states, self._labels_fingerprint(target, "test"), *settings])
