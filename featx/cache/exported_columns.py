"""Columns of an exported file of vectors: ids, digests, parts, labels and groups of a study's images."""

from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError
from featx.files.column_types import MAX_EXACT_WHOLE_FLOAT, category_text
from featx.study.extracted_data import HAS_EMBEDDING
from featx.study.study import Study
from featx.tables.ids import Ids
from featx.tables.truth import Truth

# Name of a column → (n,) texts (dtype object, None where missing) or numbers (float64, nan where missing).
Columns = dict[str, NDArray[Any]]


def study_columns(study: Study) -> Columns:
    """Return one row for each image that has an embedding, in the order of the manifest.

    Labels of the test split are missing, because only `featx.study.study.Study.open_test` returns them. Without a
    split all labels are missing: it is unknown which images would be test.

    Raises
    ------
    DataError
        A target ``a.b`` and the label ``b`` of a target ``a`` have one name.
    """
    ids = study.outcomes.loc[study.outcomes["outcome"].isin(HAS_EMBEDDING), "id"].to_numpy(object)
    if study.label_problem:
        parts = _missing(len(ids))
        labels = {f"target.{name}": _missing(len(ids)) for name in study.recipe.targets}
    else:
        parts = study.split.reindex(pd.Index(ids)).to_numpy(object)
        ids, parts = ids[pd.notna(parts)], parts[pd.notna(parts)]
        labels = {}
        for name in study.recipe.targets:
            columns = _label_columns(study, name, ids)
            if repeated_columns := sorted(labels.keys() & columns):
                raise DataError(
                    f"two targets have a column {repeated_columns[0]!r}; rename target {name!r} in the recipe"
                )
            labels |= columns
    rows = {"ids": ids, "digests": study.manifest.take(ids).digests, "split": parts}
    return rows | labels | _group_columns(study, ids, is_sealed=~np.isin(parts.astype(str), ("train", "val")))


def _missing(n: int) -> NDArray[np.object_]:
    return np.full(n, None, dtype=object)


def _label_columns(study: Study, target: str, ids: Ids) -> Columns:
    """Return the classes of a target as text, or its labels or numbers with one column each."""
    truth = study.labels(target)
    rows = pd.Index(truth.ids)
    if isinstance(truth, Truth):
        classes = np.asarray(truth.classes, dtype=object)[truth.codes]
        return {f"target.{target}": _as_column(pd.Series(classes, index=rows).reindex(pd.Index(ids)))}
    suffixes = [f".{name}" for name in truth.names] if len(truth.names) > 1 else [""]
    return {
        f"target.{target}{suffix}": _as_column(pd.Series(values, index=rows).reindex(pd.Index(ids)))
        for suffix, values in zip(suffixes, truth.values.T, strict=True)
    }


def _group_columns(study: Study, ids: Ids, is_sealed: NDArray[np.bool_]) -> Columns:
    """Return the values of the recipe's groups and of ``split.by``; those that are labels are missing where sealed."""
    groups = study.recipe.groups
    sources = {f"group.{name}": column for name, column in study.recipe.group_labels.items()}
    # Bands of a target's numbers are as secret as the numbers.
    origins = {f"group.{name}": group.column for name, group in groups.items()}
    if study.recipe.split.by is not None:
        sources["split_by"] = study.recipe.split.by
    patterns = [pattern for target in study.recipe.targets.values() for pattern in target.own_columns]
    columns: Columns = {}
    for name, column in sources.items():
        values = study.group_column(column, ids)
        label = origins.get(name, column)
        if any(label == pattern or fnmatchcase(label, pattern) for pattern in patterns):
            values = values.mask(is_sealed)
        columns[name] = _as_column(values)
    return columns


def _as_column(values: "pd.Series[Any]") -> NDArray[Any]:
    """Return numbers as float64, and other values as text, whole numbers included that a float64 does not hold."""
    is_numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if is_numeric and not (values.dtype.kind in "iu" and values.abs().max() >= MAX_EXACT_WHOLE_FLOAT):
        return values.to_numpy(np.float64, na_value=np.nan)
    texts = values.astype(object).map(category_text, na_action="ignore")
    return texts.where(texts.notna(), None).to_numpy(object)
