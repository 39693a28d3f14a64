"""Columns that say the part of a split, in any common wording."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from featx.images.names import PARTS, part_of, split_words

# Names of columns whose codes 0, 1, 2 are train, val and test, as in CelebA's partition.
CODED_NAMES = frozenset({"split", "partition", "part", "set", "subset", "usage", "fold", "phase"})
CODED_PARTS = {"0": "train", "1": "val", "2": "test"}
# Names of columns that say with 0 and 1 whether an image belongs to a part.
FLAG_VALUES = {"0": False, "1": True, "false": False, "true": True, "no": False, "yes": True}


def find_split_column(labels: pd.DataFrame) -> str | None:
    """Return the label column whose values are parts for every image, one of them train; None if there is none."""
    for name in labels.columns:
        if find_column_parts(str(name), labels[name]) is not None:
            return str(name)
    return None


def join_labels(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the labels of several files as one table, without a column ``split`` that lacks parts or a train part."""
    labels = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    if "split" in labels and (labels["split"].isna().any() or "train" not in set(labels["split"])):
        return labels.drop(columns="split")
    return labels


def find_column_parts(name: str, column: "pd.Series[Any]") -> dict[str, str] | None:
    """Return the part that each value of a column stands for; None if it is not a column of parts.

    Examples
    --------
    >>> find_column_parts("Usage", pd.Series(["Training", "PublicTest"]))
    {'Training': 'train', 'PublicTest': 'val'}
    >>> find_column_parts("is_test", pd.Series([0, 1])), find_column_parts("age", pd.Series([0, 1]))
    ({'0': 'train', '1': 'test'}, None)
    """
    if column.isna().any() or not len(column):
        return None
    values = [str(value) for value in column.unique().tolist()[: len(PARTS) + 1]]
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
