"""Rows of a study with their labels, and the units that stay on one side of every cut."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError, IncompleteError
from featx.files.atomic import file_sha256, read_table, write_table
from featx.files.column_types import category_text
from featx.files.seals import read_sealed, write_sealed
from featx.metrics.scores import resolve_metric
from featx.specs.base import fingerprint, to_normal_form
from featx.specs.head import Metric
from featx.specs.split import PARTS, SplitSpec
from featx.specs.suitability import suited_metrics
from featx.study.embedding_lock import LockedEmbedding
from featx.study.extracted_data import HAS_EMBEDDING, ExtractedData
from featx.study.near_copy_table import COPIES, COPIES_STATE, COPY_COLUMNS, COPY_SEARCH_VERSION, NearCopies
from featx.study.run_spec import TrainState, ValState
from featx.study.splits import split
from featx.tables.encoding import encode_target, strata
from featx.tables.ids import Ids, Kind
from featx.tables.manifest import Manifest
from featx.tables.resampling_units import join_units
from featx.tables.target_values import TargetValues
from featx.tables.truth import AnyTruth, Numbers, Truth

NUMBER = re.compile(r"[0-9]+")
# Digits to which numbers in ids are filled with zeros for sorting.
NUMBER_WIDTH = 20


def _natural_key(name: str) -> tuple[str, str]:
    """Return a key by which names are sorted naturally, and those that differ in leading zeros in a fixed order."""
    return NUMBER.sub(lambda match: match.group().zfill(NUMBER_WIDTH), name), name


@dataclass(frozen=True)
class LabelledRows(ExtractedData):
    """Ids, labels, groups and copies of the images of a study; labels of the test split stay sealed."""

    def ids(self, part: str) -> Ids:
        """Return the ids of one part whose images have embeddings, in natural order.

        Folds, and therefore models, do not depend on the order of the rows of a label table.
        """
        is_in_part = self.split.reindex(self._embedded_ids).eq(part).to_numpy()
        return self._embedded_ids.to_numpy(object)[is_in_part]

    @cached_property
    def _embedded_ids(self) -> "pd.Index[str]":
        """The ids of all images that have embeddings, in natural order: ``image 9`` before ``image 10``."""
        ids = self.outcomes.loc[self.outcomes["outcome"].isin(HAS_EMBEDDING), "id"]
        return pd.Index(sorted(ids, key=_natural_key), dtype=object)

    def target_names(self, target: str | None = None) -> list[str]:
        """Return the names of the recipe's targets, or only `target`."""
        names = list(self.recipe.targets)
        target = target and to_normal_form(target)
        if target is not None and target not in names:
            raise DataError(f"no target is called {target!r}; targets: {', '.join(names)}")
        return names if target is None else [target]

    def of_kind(self, kinds: Sequence[Kind], target: str | None = None) -> list[str]:
        """Return the names of the targets of the given kinds.

        Raises
        ------
        DataError
            There is none, or the chosen target is of another kind.
        """
        names = self.target_names(target)
        matching_names = [name for name in names if self.recipe.targets[name].kind in kinds]
        if not matching_names:
            kind = self.recipe.targets[names[0]].kind
            raise DataError(f"target {names[0]!r} is of {kind}, expected one of {' or '.join(kinds)} here")
        return matching_names

    @cached_property
    def _truth_by_target(self) -> dict[str, AnyTruth]:
        """Target → true values of all images; filled on demand, because reading many label columns takes seconds."""
        return {}

    def _known(self, target: str) -> AnyTruth:
        if target not in self._truth_by_target:
            self._truth_by_target[target] = encode_target(self._labelled, target, self.recipe.targets[target])
        return self._truth_by_target[target]

    def labels(self, target: str) -> AnyTruth:
        """Return the labels of all train and val rows, never of the test split."""
        return self._known(target).take(np.concatenate([self.ids("train"), self.ids("val")]))

    def truth(self, target: str) -> Truth:
        """Return the labels of train and val rows for a target of kind "classes"."""
        labels = self.labels(target)
        assert isinstance(labels, Truth)
        return labels

    def numbers(self, target: str) -> Numbers:
        """Return the labels of train and val rows for a target of kind "labels" or "numbers"."""
        labels = self.labels(target)
        assert isinstance(labels, Numbers)
        return labels

    def metric(self, target: str) -> Metric:
        """Return the metric that ranks the runs of a target: that of its ``[[ensemble]]`` sections, or the default."""
        values = TargetValues.of(self.labels(target))
        metrics = suited_metrics(values.kind, values.ordered)
        sections = [section for section in self.recipe.ensemble if section.target in {None, target}]
        return resolve_metric(values, next((section.metric for section in sections if section.metric in metrics), None))

    def manifest_of(self, ids: Ids) -> Manifest:
        """Return the rows of train and val images with their labels.

        Raises
        ------
        ValueError
            An id belongs to the test split, whose labels are sealed.
        """
        if (self.split.reindex(pd.Index(ids)) == "test").any():
            raise ValueError("labels of the test split are sealed")
        return self._labelled.take(ids)

    def parts_of_split(self, spec: SplitSpec) -> "pd.Series[str]":
        """Return the part of each image by another split, which may be stratified by the labels of all images."""
        name, target = next(iter(self.recipe.targets.items()))
        return split(self._labelled, strata(self._labelled, name, target), spec, self.recipe.folder)

    def group_values(self, ids: Ids) -> dict[str, "pd.Series[Any]"]:
        """Return the column of each group of the recipe for the given ids, by name of the group."""
        return {name: self.group_column(column, ids) for name, column in self.recipe.group_labels.items()}

    def group_column(self, column: str, ids: Ids) -> "pd.Series[Any]":
        """Return the values of a label column that groups images, for the given ids.

        Raises
        ------
        DataError
            There is no such column.
        """
        rows = self._labelled.take(ids)
        if self.label_problem and column not in rows.labels.columns:
            # The problem of the labels, which the extraction has reported, may be this one.
            return pd.Series(None, index=rows.labels.index, dtype=object)
        return rows.column(column)

    def group_names(self, columns: Sequence[str], ids: Ids) -> NDArray[np.object_]:
        """Return the joined values of some label columns for each id, shape (n,); None where one has no value."""
        rows = self._labelled.take(ids)
        texts = [rows.column(column).map(category_text, na_action="ignore") for column in columns]
        names = [None if any(map(pd.isna, values)) else " × ".join(values) for values in zip(*texts, strict=True)]
        return np.array(names, dtype=object)

    @cached_property
    def contents(self) -> dict[str, str]:
        """The URI of each digest that has an embedding, sorted by digest; for equal files the first URI."""
        embedded_ids = self.outcomes.loc[self.outcomes["outcome"].isin(HAS_EMBEDDING), "id"].to_numpy(object)
        return dict(sorted(self.manifest.take(embedded_ids).uris_by_digest.items()))

    @property
    def first_embedding(self) -> LockedEmbedding | None:
        """The first extracted embedding of the recipe, None if there is none."""
        embeddings = {item.request: item for item in self.locked}
        return next((embeddings[request] for request in self.recipe.requests if request in embeddings), None)

    def copies_state(self) -> str:
        """Return a fingerprint (16 hex digits) of all inputs of the search for near copies."""
        first_embedding = self.first_embedding
        embedding = None if first_embedding is None else first_embedding.spec.fingerprint()
        return fingerprint([COPY_SEARCH_VERSION, list(self.contents), embedding, self.recipe.decoding.identity()])

    @property
    def knows_copies(self) -> bool:
        """Whether the near copies among the current images are known."""
        return self.copies_found() is not None

    def copies_found(self) -> NearCopies | None:
        """Return the near copies among the current images, None if they have to be searched."""
        try:
            fields = read_sealed(self.folder / COPIES_STATE)
            if fields.pop("state") != self.copies_state():
                return None
            return NearCopies(
                read_table(
                    self.folder / COPIES, "write it again with 'featx leaks'", COPY_COLUMNS, fields.pop("sha256")
                ),
                **fields,
            )
        except (IncompleteError, KeyError, TypeError):
            # The file does not exist, was changed, or was written by another version.
            return None

    def keep_copies(self, copies: NearCopies) -> None:
        """Write the near copies among the current images."""
        write_table(self.folder / COPIES, copies.pairs)
        counts = {name: getattr(copies, name) for name in ("n_unreadable", "n_without_embedding", "n_not_compared")}
        state = {"state": self.copies_state(), "sha256": file_sha256(self.folder / COPIES)}
        write_sealed(self.folder / COPIES_STATE, state | counts)

    @cached_property
    def near_copies(self) -> NearCopies:
        """The near copies among the current images.

        Raises
        ------
        IncompleteError
            `featx.embeddings.near_copies.find_near_copies` has not searched them yet.
        """
        copies = self.copies_found()
        if copies is None:
            raise IncompleteError(
                f"copies among the images of recipe {self.recipe.name!r} have not been searched yet; run 'featx fit' "
                "or 'featx leaks'"
            )
        return copies

    @cached_property
    def _units(self) -> "pd.Series[str]":
        """The unit of each image, by id; a unit is named by its first id."""
        rows, group_column = self._labelled, self.recipe.split.by
        digests = pd.Series(rows.digests, dtype=object).replace("", None)
        keys = [digests.to_numpy(object)] + (
            [] if group_column is None else [rows.column(group_column).to_numpy(object)]
        )
        first_row = pd.Series(np.arange(len(rows)), index=digests).groupby(level=0).first()
        pairs = self.near_copies.pairs
        i, j = (first_row.reindex(pairs[name]).to_numpy() for name in ("digest", "copy"))
        codes = join_units(len(rows), keys, (i.astype(np.intp), j.astype(np.intp)))
        ids = pd.Series(rows.ids, index=pd.Index(rows.ids))
        return ids.groupby(codes).transform("first")

    def groups(self, ids: Ids) -> NDArray[Any] | None:
        """Return the unit of each id: rows of one group of ``split.by`` and copies of one image share a unit.

        Returns
        -------
        numpy.ndarray or None
            (n,) names of units, None if no two ids share a unit.
        """
        units = self._units.reindex(pd.Index(np.asarray(ids, dtype=object))).to_numpy(object)
        return None if pd.Index(units).is_unique else units

    def units_fingerprint(self, part: str) -> str:
        """Return a fingerprint (16 hex digits) of the units of one part."""
        ids = np.sort(np.asarray(self.ids(part)).astype(str)).astype(object)
        units = self._units.reindex(pd.Index(ids))
        first_ids = pd.Series(ids, index=units.index).groupby(units.to_numpy()).transform("first")
        return fingerprint(dict(zip(ids, first_ids, strict=True)) if not first_ids.is_unique else {})

    def split_fingerprint(self) -> str:
        """Return a fingerprint (16 hex digits) of the part and the content of each image with an embedding."""
        parts = {part: np.sort(np.asarray(self.ids(part)).astype(str)).astype(object) for part in PARTS}
        tables = {part: self.manifest.take(ids) for part, ids in parts.items()}
        return fingerprint({part: dict(zip(rows.ids, rows.digests, strict=True)) for part, rows in tables.items()})

    def train_state(self, target: str, group_columns: Sequence[str] = ()) -> TrainState:
        """Return the state of all training data of a run; it is part of the run's spec and decides whether it is stale.

        Parameters
        ----------
        group_columns
            Label columns of the groups by which rows are weighted.
        """
        ids = np.sort(np.asarray(self.ids("train")).astype(str)).astype(object)
        groups = dict(zip(ids, self.group_names(group_columns, ids), strict=True)) if group_columns else {}
        return TrainState(
            target=target,
            split=self.split_fingerprint(),
            units=self.units_fingerprint("train"),
            labels=self.labels_fingerprint(target),
            group_columns=tuple(group_columns),
            group_values=fingerprint(groups),
        )

    def val_state(self, target: str) -> ValState:
        """Return the state of the labels, weights and units of the val rows."""
        return ValState(val_labels=self.labels_fingerprint(target, "val"), val_units=self.units_fingerprint("val"))

    def labels_fingerprint(self, target: str, part: str = "train") -> str:
        """Return a fingerprint (16 hex digits) of the labels of one part, which must not be test."""
        if part == "test":
            raise ValueError("labels of the test split are sealed")
        return self._labels_fingerprint(target, part)

    def _labels_fingerprint(self, target: str, part: str) -> str:
        truth = self._known(target).take(self.ids(part))
        if isinstance(truth, Truth):
            columns, flags = [truth.codes, truth.weights, truth.shares], ["ordered"] if truth.ordered else []
        else:
            # Columns of 0 and 1 are equal as labels and as numbers, for which other models are fitted.
            columns, flags = [truth.values, truth.weights], ["labels"] if truth.kind == "labels" else []
        columns_by_id = [dict(zip(truth.ids, column.tolist(), strict=True)) for column in columns if column is not None]
        return fingerprint([list(truth.names), *columns_by_id, *flags])

    def final_state(self, target: str) -> str:
        """Return a fingerprint (16 hex digits) of everything that a table of test scores depends on.

        The labels of the test split enter it as a hash only.
        """
        ids = np.concatenate([self.ids(part) for part in PARTS])
        groups = {name: column.map(category_text).to_dict() for name, column in self.group_values(ids).items()}
        states = [self.train_state(target).identity(), self.val_state(target).identity()]
        test_state = [self.units_fingerprint("test"), groups]
        settings = [self.metric(target), self.recipe.evaluation.identity()]
        return fingerprint([*states, *test_state, self._labels_fingerprint(target, "test"), *settings])
