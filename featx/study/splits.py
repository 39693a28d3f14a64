"""The part of each image: train, val or test, as a function of the recipe and the data alone."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError
from featx.images.split_columns import parts_of_column
from featx.specs.split import SplitSpec
from featx.study.split_functions import parts_by_code
from featx.study.unit_cuts import UnassignedRows, cut_units
from featx.tables.manifest import Manifest
from featx.tables.resampling_units import join_units
from featx.tables.truth import Truth

# The requested share or number of rows of each part: test first, parts without rows left out.
Sizes = dict[str, float]


def split(manifest: Manifest, truth: Truth, spec: SplitSpec, folder: Path = Path()) -> "pd.Series[str]":
    """Assign each image to ``train``, ``val`` or ``test``.

    Parameters
    ----------
    truth
        Labels to stratify by.
    folder
        Folder of the recipe, which the file of ``split.cut`` is relative to.

    Returns
    -------
    pandas.Series
        The part of each id, in the manifest's order.

    Raises
    ------
    DataError
        A class or group is too small for the requested parts, a group is missing, the split column has an unknown
        value, or the function of ``split.cut`` fails.

    Notes
    -----
    The result depends on the recipe and the data only, never on an earlier split. With ``method = "hash"`` a unit's
    part follows from its own hash, so that test rows stay test rows when images are added, removed or renamed.
    With ``train_test_split`` test is cut first and val from the rest, each by one call of scikit-learn's function with
    ``random_state=seed`` and the rows in the order of the source; with groups the best of 64 shuffles by group.
    """
    groups = _groups(manifest, spec.by) if spec.by else None
    given_parts = parts_of_column(manifest, spec) if spec.cut is None else parts_by_code(manifest, spec, folder)
    given_names = set(given_parts.dropna())
    # Rows that a column calls train may still be cut into the parts that it does not name.
    parts = given_parts.where(given_parts != "train")
    sizes = {part: size for part, size in spec.sizes.items() if part not in given_names and size > 0}
    free_rows = _free_rows(manifest, truth, groups, spec, parts.isna().to_numpy())
    if len(free_rows):
        cut = (
            _cut_by_hash(free_rows, sizes, spec, parts)
            if spec.method == "hash"
            else _cut_exactly(free_rows, sizes, spec, parts)
        )
        parts = parts.fillna(pd.Series(cut, index=free_rows.ids))
    _check_groups(parts, groups)
    return parts.rename("part")


def classes_without(parts: "pd.Series[str]", truth: Truth, part: str) -> list[str]:
    """Return the classes that have images, but none in the given part."""
    part_codes = np.unique(truth.codes[(parts.reindex(truth.ids) == part).to_numpy()])
    return [truth.classes[code] for code in np.setdiff1d(truth.codes, part_codes).tolist()]


# Rows and units


def _free_rows(
    manifest: Manifest, truth: Truth, groups: "pd.Series[str] | None", spec: SplitSpec, is_free: NDArray[np.bool_]
) -> UnassignedRows:
    digests = pd.Series(manifest.digests, dtype=object).replace("", None).to_numpy()
    content = digests if spec.duplicates == "together" else np.full(len(manifest), None, dtype=object)
    columns = [content] if groups is None else [content, groups.to_numpy(object)]
    unit_values = content if groups is None else groups.to_numpy(object)
    keys = np.where(pd.isna(unit_values), manifest.ids, unit_values).astype(object)
    classes = truth.codes[is_free] if spec.stratify else None
    units = join_units(int(is_free.sum()), [column[is_free] for column in columns])
    return UnassignedRows(pd.Index(manifest.ids[is_free]), units, keys[is_free], classes)


def _check_groups(parts: "pd.Series[str]", groups: "pd.Series[str] | None") -> None:
    if groups is None:
        return
    n_parts = parts.groupby(groups).nunique()
    if (leaking_groups := n_parts.index[n_parts > 1]).size:
        names = " and ".join(sorted(parts[groups == leaking_groups[0]].unique()))
        raise DataError(
            f"split.by: {leaking_groups.size} groups have rows in several parts, first {leaking_groups[0]!r} in "
            f"{names}; expected all rows of a group in one part: correct split.column, or remove it"
        )


def _groups(manifest: Manifest, group_column: str) -> "pd.Series[str]":
    groups = manifest.column(group_column)
    if (gaps := groups.isna()).any():
        raise DataError(
            f"split.by: {int(gaps.sum())} of {len(groups)} images have no {group_column!r}, first "
            f"{groups.index[gaps][0]!r}; give each image a group, or remove these rows"
        )
    return groups


# By hash


def _cut_by_hash(
    free_rows: UnassignedRows, sizes: Sizes, spec: SplitSpec, given_parts: "pd.Series[str]"
) -> NDArray[np.object_]:
    """Return the part of each row by the hash of its unit; each class has a row in train, and one in val."""
    position = _positions(free_rows, spec.seed)
    test = sizes.get("test", 0.0)
    val = _val_share_of_free_rows(free_rows, sizes.get("val", 0.0), test, spec, given_parts)
    parts = np.where(position < test, "test", np.where(position < test + val, "val", "train")).astype(object)
    if free_rows.classes is not None:
        for code in np.unique(free_rows.classes):
            _bring_into_train(parts, free_rows, position, int(code))
        for code in np.unique(free_rows.classes) if val else ():
            _bring_into_val(parts, free_rows, position, int(code))
    return parts


def _val_share_of_free_rows(
    free_rows: UnassignedRows, val: float, test: float, spec: SplitSpec, given_parts: "pd.Series[str]"
) -> float:
    """Return the share of val among the free rows.

    Raises
    ------
    DataError
        It leaves no row for train.
    """
    if spec.val_base == "rest":
        return val * (1 - test)
    share = val * len(given_parts) / len(free_rows)
    if test + share >= 1:
        raise DataError(
            f"split.val: {val:g} of all {len(given_parts)} images is more than the train part of {spec.column!r} has "
            f"({len(free_rows)} images); set a smaller share, or val_of = 'rest'"
        )
    return share


def _positions(free_rows: UnassignedRows, seed: int) -> NDArray[np.float64]:
    """Return (n,) numbers in [0, 1), uniform over seeds: the lowest hash of the keys in each row's unit.

    A unit of several groups that share an image takes the lowest of their numbers. The lowest ones mean test: where a
    new image ties a test row to a train row, both become test rows.
    """
    codes, names = pd.factorize(free_rows.keys)
    hashes = [hashlib.sha256(f"{seed}/{name}".encode()).digest() for name in names]
    key_positions = np.array([int.from_bytes(digest[:8], "big") / 2**64 for digest in hashes])
    unit_positions = pd.Series(key_positions[codes]).groupby(free_rows.units).transform("min")
    return unit_positions.to_numpy(np.float64)


def _bring_into_train(
    parts: NDArray[np.object_], free_rows: UnassignedRows, position: NDArray[np.float64], code: int
) -> None:
    """Move the unit with the highest position into train where a class has no row there.

    The test rows that this leaves in test stay there when images are added.
    """
    rows = np.flatnonzero(free_rows.classes == code)
    if not (parts[rows] == "train").any():
        highest_row = rows[position[rows].argmax()]
        parts[free_rows.units == free_rows.units[highest_row]] = "train"


def _bring_into_val(
    parts: NDArray[np.object_], free_rows: UnassignedRows, position: NDArray[np.float64], code: int
) -> None:
    """Move the train unit with the lowest position into val where a class has no row there and train can spare it."""
    rows = np.flatnonzero(free_rows.classes == code)
    if (parts[rows] == "val").any():
        return
    assert free_rows.classes is not None
    n_train_by_class = np.bincount(free_rows.classes[parts == "train"])
    train_rows = rows[parts[rows] == "train"]
    ordered_rows = train_rows[np.argsort(position[train_rows], kind="stable")]
    rows_of_units = pd.Series(np.arange(len(free_rows))).groupby(free_rows.units).indices
    for unit in pd.unique(free_rows.units[ordered_rows]):
        classes, counts = np.unique(free_rows.classes[rows_of_units[unit]], return_counts=True)
        if (n_train_by_class[classes] > counts).all():
            parts[rows_of_units[unit]] = "val"
            return


# By exact sizes


def _cut_exactly(
    free_rows: UnassignedRows, sizes: Sizes, spec: SplitSpec, given_parts: "pd.Series[str]"
) -> NDArray[np.object_]:
    """Return the part of each row by `train_test_split`; shares of all rows include those of given parts."""
    # Where all rows are cut and units are sets of copies, one image stands for its copies: shares are of these.
    is_by_copies = spec.by is None and bool(given_parts.isna().all())
    n_rows = len(np.unique(free_rows.units)) if is_by_copies else len(given_parts)
    if spec.order == "together" and len(sizes) == 2:
        return _cut_together(free_rows, sizes, spec, n_rows, counts_units=is_by_copies)
    parts, remaining_rows, seed = np.full(len(free_rows), "train", dtype=object), np.arange(len(free_rows)), spec.seed
    n_not_test = n_rows - int((given_parts == "test").sum())
    for part, size in sizes.items():
        n_part = _n_of_size(size, n_not_test if part == "val" and spec.val_base == "rest" else n_rows)
        cut = cut_units(free_rows.take(remaining_rows), n_part, seed, f"split.{part}", counts_units=is_by_copies)
        parts[remaining_rows[cut.cut_rows]] = part
        # A second call gets the rows in the order in which the first one returned them.
        remaining_rows, seed, n_not_test = remaining_rows[cut.remaining_rows], _second_seed(spec), n_not_test - n_part
    return parts


def _cut_together(
    free_rows: UnassignedRows, sizes: Sizes, spec: SplitSpec, n_rows: int, *, counts_units: bool
) -> NDArray[np.object_]:
    """Return the part of each row: val and test are cut from train in one call, and from each other in a second."""
    test, val = sizes["test"], sizes["val"]
    purpose = "split.test and val"
    n_test, n_both = _n_of_size(test, n_rows), _n_of_size(test, n_rows) + _n_of_size(val, n_rows)
    if test < 1 and val < 1:
        # The sum and the quotient are rounded, because 0.1 + 0.2 and 0.3 are different floats.
        n_both = _n_of_size(round(test + val, 12), n_rows)
        n_test = _n_of_size(round(test / (test + val), 12), n_both)
    val_test_rows = cut_units(free_rows, n_both, spec.seed, purpose, counts_units=counts_units).cut_rows
    second_rows = free_rows.take(val_test_rows)
    cut = cut_units(second_rows, n_test, _second_seed(spec), purpose, counts_units=counts_units)
    parts = np.full(len(free_rows), "train", dtype=object)
    parts[val_test_rows[cut.remaining_rows]], parts[val_test_rows[cut.cut_rows]] = "val", "test"
    return parts


def _n_of_size(size: float, n_rows: int) -> int:
    """Return the number of rows of a size, which is a share below 1, rounded as `train_test_split` does."""
    return int(size) if size >= 1 else math.ceil(size * n_rows)


def _second_seed(spec: SplitSpec) -> int:
    return spec.seed if spec.second_seed is None else spec.second_seed
