"""Proposals of the groups that a split keeps together: the column of patients, or of other identities."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pandas as pd

from featx.images.class_sizes import MIN_IMAGES_OF_CLASS
from featx.images.column_roles import IDENTITY_RANKS, find_identity_words, is_identifier, rank_identity

# Fewer groups cannot be spread over the parts and over the folds of the search.
MIN_GROUPS = 5


@dataclass(frozen=True)
class GroupProposal:
    """Groups that the split keeps together.

    Attributes
    ----------
    column
        Column of the groups; None if there is none.
    reason
        Reason for the groups; empty if there are none.
    warnings
        Messages about columns of identities that cannot be the groups.
    """

    column: str | None = None
    reason: str = ""
    warnings: tuple[str, ...] = ()


def propose_groups(
    labels: pd.DataFrame, target_columns: Collection[str] = (), classes: "pd.Series[Any] | None" = None
) -> GroupProposal:
    """Return the groups that the split should keep together.

    Persons come first; of columns nested in each other, the one with the largest groups is taken.

    Parameters
    ----------
    labels
        Label columns.
    target_columns
        Columns of the target, which are no groups.
    classes
        (n,) class of each image; None if the target has no classes.
    """
    columns = [str(name) for name in labels.columns if name not in target_columns]
    ranks = {name: rank for name in columns if (rank := rank_identity(name, labels[name])) is not None}
    warnings: list[str] = []
    for rank in sorted(set(ranks.values())):
        candidates = [name for name in ranks if ranks[name] == rank and _is_repeated(labels[name])]
        objections = {name: _find_objection(name, labels[name], classes) for name in candidates}
        warnings += [objection for objection in objections.values() if objection]
        groups = [name for name in candidates if not objections[name] and labels[name].nunique() >= MIN_GROUPS]
        if groups:
            name = _find_largest(labels, groups)
            reason = (
                f"{labels[name].nunique()} values in {len(labels)} rows: images of one {name!r} in train and in val "
                "would make scores too high"
            )
            return GroupProposal(name, reason, tuple(warnings))
    return GroupProposal(warnings=tuple(warnings))


def _is_repeated(column: "pd.Series[Any]") -> bool:
    return 2 <= column.nunique() < column.count()


def _find_objection(name: str, column: "pd.Series[Any]", classes: "pd.Series[Any] | None") -> str:
    """Return why a column of identities cannot be the groups; empty if it can be, or if it normally has few values."""
    n_groups, n_empty = column.nunique(), int(column.isna().sum())
    if n_groups < MIN_GROUPS:
        if not (is_identifier(name) and IDENTITY_RANKS[0] & find_identity_words(name)):
            return ""
        return (
            f"column {name!r} has only {n_groups} values, too few for split.by: images of one {name!r} may come into "
            "several parts, which makes scores too high"
        )
    if n_empty:
        cells_text = "1 empty cell" if n_empty == 1 else f"{n_empty} empty cells"
        return (
            f"column {name!r} has {cells_text}: images of one {name!r} may come into several parts, which makes scores "
            f"too high; fill the cells and set split.by = {name!r}"
        )
    return "" if classes is None else _explain_whole_classes(name, column, classes)


def _explain_whole_classes(name: str, column: "pd.Series[Any]", classes: "pd.Series[Any]") -> str:
    """Return why groups that contain most classes as a whole cannot be kept together; empty if they do not."""
    groups_by_class = column.groupby(classes)
    n_groups = groups_by_class.nunique()[groups_by_class.size() >= MIN_IMAGES_OF_CLASS]
    n_whole = int((n_groups == 1).sum())
    if n_whole <= len(n_groups) / 2:
        return ""
    return (
        f"column {name!r} is not taken as split.by: {n_whole} of {len(n_groups)} classes have all their images in one "
        f"{name!r}, and each class must be in train and in val; if {name!r} identifies patients, images of "
        "one patient may come into several parts, which makes scores too high"
    )


def _find_largest(labels: pd.DataFrame, names: list[str]) -> str:
    """Return the column whose groups contain those of the first one; the first one if there is none."""
    largest = names[0]
    for name in names[1:]:
        is_larger = labels[name].nunique() < labels[largest].nunique()
        if is_larger and (labels.groupby(largest)[name].nunique() == 1).all():
            largest = name
    return largest
