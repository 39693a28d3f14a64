"""Columns that say the part of a split, in any common wording."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from featx.errors import DataError
from featx.images.names import PARTS, part_of, split_words
from featx.specs.split import SplitSpec
from featx.tables.manifest import Manifest

# Names of columns whose words may be parts.
PART_COLUMN_NAMES = frozenset({"split", "partition", "part", "set", "subset", "usage", "fold", "phase"})
# Names of columns that are a split even if no value is known as a part.
SPLIT_WORDS = frozenset({"split", "partition", "subset", "set"})
MAX_PART_WORDS = 3
# Names of columns whose codes 0, 1, 2 are train, val and test, as in CelebA's partition. The numbers of a fold, a phase
# or a set are often something else.
CODED_NAMES = frozenset({"split", "partition", "subset"})
# Share of rows with a part from which a column of other names is taken for an incomplete column of parts.
MIN_PART_ROWS = 0.6
CODED_PARTS = {"0": "train", "1": "val", "2": "test"}
# Names of columns that say with 0 and 1 whether an image belongs to a part.
FLAG_VALUES = {"0": False, "1": True, "false": False, "true": True, "no": False, "yes": True}


def find_split_column(labels: pd.DataFrame, target: str | None = None) -> str | None:
    """Return the label column whose values are parts for every image, one of them train; None if there is none.

    Parameters
    ----------
    labels
        Label columns.
    target
        Name of the column to predict, which is no column of parts; None if the user named none.
    """
    for name in labels.columns:
        if name != target and find_column_parts(str(name), labels[name]) is not None:
            return str(name)
    return None


def describe_codes(name: str, column: "pd.Series[Any]") -> str:
    """Return the part of each number of a column of parts; empty if its values are words, or no parts.

    Examples
    --------
    >>> describe_codes("split", pd.Series([0, 2, 1])), describe_codes("split", pd.Series(["train", "test"]))
    ('0 = train, 1 = val, 2 = test', '')
    """
    parts = find_column_parts(name, column) or {}
    is_coded = all(value.isdigit() for value in parts)
    return ", ".join(f"{value} = {part}" for value, part in parts.items()) if is_coded else ""


def join_labels(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the labels of several files as one table."""
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def explain_incomplete_split(labels: pd.DataFrame) -> list[str]:
    """Return a warning for each column that seems to be a split and is not used: some of its values are no parts."""
    counts = {name: count_rows_without_part(name, labels[name]) for name in map(str, labels.columns)}
    unknown_words = [name for name in counts if not counts[name] and _holds_unknown_words(name, labels[name])]
    return [
        f"column {name!r} looks like a split, but its values ({_list_words(labels[name])}) are not known as parts: no "
        "split is taken from it; if it is one, set split.column and split.parts"
        for name in unknown_words
    ] + [
        f"column {name!r} looks like a split, but {n} of {len(labels)} rows have no part: no split is taken from it; "
        "correct these rows, or set split.column and split.parts"
        for name, n in counts.items()
        if n
    ]


def _holds_unknown_words(name: str, column: "pd.Series[Any]") -> bool:
    """Return whether a column has the name of a split, and two or three words as values, none of which is a part."""
    if not SPLIT_WORDS & set(split_words(name)) or column.dtype.kind not in "OUT" or column.isna().any():
        return False
    words = set(map(str, column.unique().tolist()[: MAX_PART_WORDS + 1]))
    return 2 <= len(words) <= MAX_PART_WORDS and not any(map(part_of, words))


def _list_words(column: "pd.Series[Any]") -> str:
    return ", ".join(repr(str(word)) for word in column.unique().tolist())


def count_rows_without_part(name: str, column: "pd.Series[Any]") -> int:
    """Return the number of rows without a part in a column of parts; 0 if the column is complete, or none of parts."""
    if not len(column) or find_column_parts(name, column) is not None:
        return 0
    # A column of a million rows has few different parts.
    values = column.dropna().astype("str").value_counts()
    parts = {value: part for value in values.index if (part := part_of(value)) is not None}
    n_with_part = sum(int(values[value]) for value in parts)
    is_named = bool(PART_COLUMN_NAMES & set(split_words(name))) and bool(parts)
    is_mostly_parts = n_with_part >= MIN_PART_ROWS * len(column) and "train" in parts.values()
    return len(column) - n_with_part if is_named or is_mostly_parts else 0


def find_column_parts(name: str, column: "pd.Series[Any]") -> dict[str, str] | None:
    """Return the part that each value of a column stands for; None if it is not a column of parts.

    Examples
    --------
    >>> find_column_parts("Usage", pd.Series(["Training", "PublicTest"]))
    {'Training': 'train', 'PublicTest': 'val'}
    >>> find_column_parts("is_test", pd.Series([0, 1])), find_column_parts("age", pd.Series([0, 1]))
    ({'0': 'train', '1': 'test'}, None)
    >>> find_column_parts("fold", pd.Series([0, 1, 2])) is None
    True
    """
    if column.isna().any() or not len(column):
        return None
    try:
        values = [str(value) for value in column.unique().tolist()[: len(PARTS) + 1]]
    # Lists and mappings have no hash.
    except TypeError:
        return None
    parts = {value: part for value in values if (part := part_of(value)) is not None}
    if len(parts) == len(values) and "train" in parts.values():
        return parts
    words = split_words(name)
    if CODED_NAMES & set(words) and set(values) <= set(CODED_PARTS) and {"0", "1"} <= set(values):
        return {value: CODED_PARTS[value] for value in sorted(values)}
    flags = {value: FLAG_VALUES[value.lower()] for value in values if value.lower() in FLAG_VALUES}
    part = part_of(words[-1]) if len(words) == 2 and words[0] == "is" else None
    if part in {"test", "val", "train"} and len(flags) == len(values) == 2:
        other_part = "train" if part != "train" else "test"
        return {value: str(part) if flag else other_part for value, flag in sorted(flags.items())}
    return None


def parts_of_column(manifest: Manifest, spec: SplitSpec) -> "pd.Series[str]":
    """Return the part that ``split.column`` gives to each image; NaN without such a column.

    Raises
    ------
    DataError
        A value is no part, or no image is in train.
    """
    if spec.column is None:
        return pd.Series(np.nan, index=pd.Index(manifest.ids), dtype=object)
    values = manifest.column(spec.column).astype(object)
    parts = values.map(lambda value: spec.parts.get(str(value)) or part_of(str(value)))
    if (unknown_values := values[parts.isna()]).size:
        raise DataError(
            f"split.column: {unknown_values.size} images have {unknown_values.iloc[0]!r} in {spec.column!r}, first "
            f"{unknown_values.index[0]!r}; expected train, val or test"
        )
    if (parts == "train").sum() == 0:
        raise DataError(f"split.column: no image has 'train' in {spec.column!r}")
    return parts
