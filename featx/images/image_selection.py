"""Selection of the images of a study: by label, by the classes to keep, by a sample, and by class balance."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from featx.errors import DataError
from featx.files.column_types import category_text
from featx.images.readers import Listing
from featx.images.split_columns import parts_of_column
from featx.registry import suggest_names
from featx.specs.split import SplitSpec
from featx.specs.target import TargetSpec
from featx.tables.encoding import encode_classes, map_and_bin, target_columns
from featx.tables.truth import class_names
from featx.tables.undersampling import surplus_rules


def select_images(  # noqa: PLR0913 (all but the first three are options by name)
    listing: Listing,
    targets: Mapping[str, TargetSpec],
    split: SplitSpec,
    drop_unlabelled: bool = False,
    sample: int | None = None,
    keep: Mapping[str, Sequence[str]] | None = None,
) -> Listing:
    """Return the listing with the images outside the study moved to the ignored files, each with its rule.

    Parameters
    ----------
    listing
        All files of a source.
    targets
        Target by name.
    split
        The split, whose seed and column of parts the balancing uses.
    drop_unlabelled
        Whether to ignore images without a label; by default they stay, and encoding the target reports them.
    sample
        Number of images to keep, before the classes are balanced; by default all.
    keep
        Label column → values that are studied; by default all.

    Raises
    ------
    DataError
        a target's column is missing or lacks a value of 'map' or 'keep', two targets are to be balanced, or no image
        is left.
    """
    for column, kept_values in (keep or {}).items():
        listing = listing.without(_rules_of_kept_values(listing, column, kept_values))
    for name, target in targets.items():
        _check_mapped_values(listing, name, target)
    for name, target in targets.items():
        if drop_unlabelled:
            for column in target_columns(listing.manifest, name, target):
                is_missing = listing.manifest.column(column).isna()
                rules = dict.fromkeys(is_missing.index[is_missing], f"has no label in column {column!r}")
                listing = listing.without(rules)
        listing = listing.without(_rules_of_keep(listing, name, target))
    listing = listing.without(_rules_of_sample(listing, sample))
    balanced_names = [name for name, target in targets.items() if target.balance != "none"]
    if len(balanced_names) > 1:
        raise DataError(
            f"targets {' and '.join(balanced_names)} have 'balance'; expected at most one, remove the others"
        )
    for name in balanced_names:
        listing = listing.without(_rules_of_balance(listing, name, targets[name], split))
    if not len(listing):
        raise DataError(f"no images are left of {len(listing.ignored)} files; check 'keep' and the labels")
    return listing


def _check_mapped_values(listing: Listing, name: str, target: TargetSpec) -> None:
    if target.map:
        values = listing.manifest.column(target.column).dropna().unique()
        _check_values(target.map, sorted(map(category_text, values)), f"targets.{name}.map", target.column)


def _check_values(expected_values: Iterable[str], values: list[str], key: str, column: str) -> None:
    """Check that a column holds all values that a recipe names.

    Raises
    ------
    DataError
        it lacks one; suggests the most similar value.
    """
    for value in expected_values:
        if value not in values:
            raise DataError(f"{key}: column {column!r} holds no {value!r}; {suggest_names(value, values)}")


def _rules_of_kept_values(listing: Listing, column: str, kept_values: Sequence[str]) -> dict[str, str]:
    """Return the rule by id of the images without one of the values of a label column that are kept."""
    values = listing.manifest.column(column).map(category_text, na_action="ignore")
    key = f"data.keep.{column}"
    _check_values(kept_values, sorted(map(str, values.dropna().unique())), key, column)
    dropped_values = values[~values.isin(kept_values)]
    return {str(row): f"is {'missing' if pd.isna(value) else repr(value)}, {key} leaves it out"
            for row, value in dropped_values.items()}  # fmt: skip


def _rules_of_keep(listing: Listing, name: str, target: TargetSpec) -> dict[str, str]:
    """Return the rule by id of the images whose class is not kept, or dropped."""
    class_names = target.keep or target.drop
    if class_names is None:
        return {}
    column = map_and_bin(listing.manifest.column(target.column), name, target)
    values = column.map(category_text, na_action="ignore")
    key = f"targets.{name}.{'keep' if target.keep else 'drop'}"
    _check_values(class_names, sorted(map(str, values.dropna().unique())), key, target.column)
    is_dropped = values.isin(class_names) if target.drop else ~values.isin(class_names)
    dropped_values = values[values.notna() & is_dropped]
    return {str(row): f"is {value!r}, which {key} leaves out" for row, value in dropped_values.items()}


def _rules_of_sample(listing: Listing, sample: int | None) -> dict[str, str]:
    """Return the rule by id of the images outside a sample: those with the smallest hashes of their ids are in it."""
    if sample is None or sample >= len(listing):
        return {}
    ids = sorted(
        listing.manifest.ids, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    )
    return dict.fromkeys(ids[sample:], f"is not among the {sample} images of data.sample")


def _rules_of_balance(listing: Listing, name: str, target: TargetSpec, split: SplitSpec) -> dict[str, str]:
    """Return the rule by id of the surplus images of the larger classes, drawn at random in each part of the source."""
    classes = class_names(encode_classes(listing.manifest, name, target))
    rng = np.random.default_rng(split.seed)
    rules: dict[str, str] = {}
    if target.balance == "undersample":
        parts = listing.manifest.column(split.column) if split.column else pd.Series("all", index=classes.index)
        for _, part_classes in classes.groupby(parts.to_numpy()):
            rules |= surplus_rules(part_classes, name, "undersample", rng)
        return rules
    given_parts = parts_of_column(listing.manifest, split)
    for part, size in target.balanced_parts.items():
        rules |= surplus_rules(classes[given_parts == part], name, size, rng, part)
    return rules
