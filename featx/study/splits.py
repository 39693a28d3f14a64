"""The part of each image: train, val or test, as a function of the recipe and the data alone."""

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError
from featx.images.names import part_of
from featx.specs.split import SplitSpec
from featx.tables.manifest import Manifest
from featx.tables.resampling_units import are_mostly_single, join_units
from featx.tables.truth import Truth

# Number of random splits by group; the one closest to the requested shares is used.
N_GROUP_DRAWS = 64
ADVICE = "add images, drop the class, or say 'split.stratify = false'"
# The requested share of rows of each part.
Shares = dict[str, float]


@dataclass(frozen=True, eq=False)
class FreeRows:
    """The rows whose part is not given by a column of the source.

    Attributes
    ----------
    ids
        (n,) ids in the order of the manifest.
    units
        (n,) codes of units; all rows of a unit are assigned to one part.
    keys
        (n,) hashed text of each row: its group, its digest, or its id if neither is used.
    classes
        (n,) codes of classes to stratify by, None without stratification.
    """

    ids: pd.Index
    units: NDArray[np.int64]
    keys: NDArray[np.object_]
    classes: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.ids)


def split(manifest: Manifest, truth: Truth, spec: SplitSpec) -> "pd.Series[str]":
    """Assign each image to ``train``, ``val`` or ``test``.

    Parameters
    ----------
    truth
        Labels to stratify by.

    Returns
    -------
    pandas.Series
        The part of each id, in the manifest's order.

    Raises
    ------
    DataError
        A class or group is too small for the requested parts, a group is missing, or the split column has an unknown
        value.

    Notes
    -----
    The result depends on the recipe and the data only, never on an earlier split. With ``method = "hash"`` a unit's
    part follows from its own hash, so that test rows stay test rows when images are added, removed or renamed.
    With ``train_test_split`` test is cut first and val from the rest, each by one call of scikit-learn's function with
    ``random_state=seed``; with groups the best of 64 shuffles by group.
    """
    groups = _groups(manifest, spec.by) if spec.by else None
    given_parts = _given(manifest, spec)
    named = set(given_parts.dropna())
    # Rows that a column calls train may still be cut into the parts that it does not name.
    parts = given_parts.where(given_parts != "train")
    shares = {part: share for part, share in spec.shares.items() if part not in named and share > 0}
    free = _free_rows(manifest, truth, groups, spec, parts.isna().to_numpy())
    if len(free):
        cut = (
            _cut_by_hash(free, shares, spec.seed) if spec.method == "hash" else _cut_exactly(free, shares, spec, parts)
        )
        parts = parts.fillna(pd.Series(cut, index=free.ids))
    _check_groups(parts, groups)
    return parts.rename("part")


def held_out(  # noqa: PLR0913 (a cut and what it keeps to)
    ids: NDArray[np.object_],
    n_cut: int,
    codes: NDArray[np.int64] | None,
    groups: NDArray[Any] | None,
    seed: int,
    purpose: str,
) -> NDArray[np.object_]:
    """Return about `n_cut` of the given ids: stratified by class, with whole units, without classes of a single unit.

    Parameters
    ----------
    codes
        (n,) classes to stratify by, or None.
    groups
        (n,) the unit of each id; None where every id stands for itself.
    purpose
        Name of the cut, for messages.

    Raises
    ------
    DataError
        A class has too few rows, or there are too few groups.
    """
    index = pd.Index(ids)
    units = np.arange(len(index)) if groups is None else pd.factorize(np.asarray(groups))[0]
    free = FreeRows(index, units, index.to_numpy(object), codes)
    if codes is not None:
        n_units = pd.Series(units).groupby(codes).transform("nunique").to_numpy()
        free = _among(free, ~np.isin(units, units[n_units == 1]))
    if len(np.unique(free.units)) < 2:
        raise DataError(
            f"{purpose}: found {len(np.unique(free.units))} images, groups or sets of copies to choose from, expected "
            "at least two (a class that occurs in only one of them stays in train); add images"
        )
    return _some_units(free, n_cut, seed, purpose)


def classes_without(parts: "pd.Series[str]", truth: Truth, part: str) -> list[str]:
    """Return the classes that have images, but none in the given part."""
    inside = np.unique(truth.codes[(parts.reindex(truth.ids) == part).to_numpy()])
    return [truth.classes[code] for code in np.setdiff1d(truth.codes, inside).tolist()]


# Rows and units


def _free_rows(
    manifest: Manifest, truth: Truth, groups: "pd.Series[str] | None", spec: SplitSpec, is_free: NDArray[np.bool_]
) -> FreeRows:
    digests = pd.Series(manifest.digests, dtype=object).replace("", None).to_numpy()
    content = digests if spec.duplicates == "together" else np.full(len(manifest), None, dtype=object)
    columns = [content] if groups is None else [content, groups.to_numpy(object)]
    own = content if groups is None else groups.to_numpy(object)
    keys = np.where(pd.isna(own), manifest.ids, own).astype(object)
    classes = truth.codes[is_free] if spec.stratify else None
    units = join_units(int(is_free.sum()), [column[is_free] for column in columns])
    return FreeRows(pd.Index(manifest.ids[is_free]), units, keys[is_free], classes)


def _check_groups(parts: "pd.Series[str]", groups: "pd.Series[str] | None") -> None:
    if groups is None:
        return
    n_parts = parts.groupby(groups).nunique()
    if (torn := n_parts.index[n_parts > 1]).size:
        names = " and ".join(sorted(parts[groups == torn[0]].unique()))
        raise DataError(
            f"split.by: {torn.size} groups have rows in several parts, first {torn[0]!r} in {names}; expected all "
            "rows of a group in one part: correct split.column, or remove it"
        )


def _groups(manifest: Manifest, by: str) -> "pd.Series[str]":
    groups = manifest.column(by)
    if (gaps := groups.isna()).any():
        raise DataError(
            f"split.by: {int(gaps.sum())} of {len(groups)} images have no {by!r}, first {groups.index[gaps][0]!r}; "
            "give each image a group, or remove these rows"
        )
    return groups


def _given(manifest: Manifest, spec: SplitSpec) -> "pd.Series[str]":
    """Return the parts that a column of the source gives, NaN elsewhere."""
    if spec.column is None:
        return pd.Series(np.nan, index=pd.Index(manifest.ids), dtype=object)
    values = manifest.column(spec.column).astype(object)
    parts = values.map(lambda value: spec.parts.get(str(value)) or part_of(str(value)))
    if (unknown := values[parts.isna()]).size:
        raise DataError(
            f"split.column: {unknown.size} images have {unknown.iloc[0]!r} in {spec.column!r}, first "
            f"{unknown.index[0]!r}; expected train, val or test"
        )
    if (parts == "train").sum() == 0:
        raise DataError(f"split.column: no image has 'train' in {spec.column!r}")
    return parts


# By hash


def _cut_by_hash(free: FreeRows, shares: Shares, seed: int) -> NDArray[np.object_]:
    """Return the part of each row by the hash of its unit; each class has a row in train, and one in val."""
    position = _positions(free, seed)
    test, val = shares.get("test", 0.0), shares.get("val", 0.0)
    parts = np.where(position < test, "test", np.where(position < test + val, "val", "train")).astype(object)
    if free.classes is not None:
        for code in np.unique(free.classes):
            _bring_into_train(parts, free, position, int(code))
        for code in np.unique(free.classes) if val else ():
            _bring_into_val(parts, free, position, int(code))
    return parts


def _positions(free: FreeRows, seed: int) -> NDArray[np.float64]:
    """Return (n,) numbers in [0, 1), uniform over seeds: the lowest hash of the keys in each row's unit.

    A unit of several groups that share an image takes the lowest of their numbers. The lowest ones mean test: where a
    new image ties a test row to a train row, both become test rows.
    """
    codes, names = pd.factorize(free.keys)
    hashes = [hashlib.sha256(f"{seed}/{name}".encode()).digest() for name in names]
    of_key = np.array([int.from_bytes(digest[:8], "big") / 2**64 for digest in hashes])
    lowest = pd.Series(of_key[codes]).groupby(free.units).transform("min")
    return lowest.to_numpy(np.float64)


def _bring_into_train(parts: NDArray[np.object_], free: FreeRows, position: NDArray[np.float64], code: int) -> None:
    """Move the unit with the highest position into train where a class has no row there.

    The test rows that this leaves in test stay there when images are added.
    """
    rows = np.flatnonzero(free.classes == code)
    if not (parts[rows] == "train").any():
        highest = rows[position[rows].argmax()]
        parts[free.units == free.units[highest]] = "train"


def _bring_into_val(parts: NDArray[np.object_], free: FreeRows, position: NDArray[np.float64], code: int) -> None:
    """Move the train unit with the lowest position into val where a class has no row there and train can spare it."""
    rows = np.flatnonzero(free.classes == code)
    if (parts[rows] == "val").any():
        return
    assert free.classes is not None
    in_train = rows[parts[rows] == "train"]
    for row in in_train[np.argsort(position[in_train], kind="stable")]:
        unit = free.units == free.units[row]
        left = np.unique(free.classes[(parts == "train") & ~unit])
        if np.isin(free.classes[unit], left).all():
            parts[unit] = "val"
            return


# By exact shares


def _cut_exactly(free: FreeRows, shares: Shares, spec: SplitSpec, given_parts: "pd.Series[str]") -> NDArray[np.object_]:
    """Return the part of each row by `train_test_split`; shares are those of all rows, given ones among them."""
    parts = np.full(len(free), "train", dtype=object)
    # Where all rows are cut and units are sets of copies, one image stands for its copies: shares are of these.
    copies_only = spec.by is None and given_parts.isna().all()
    n_rows = len(np.unique(free.units)) if copies_only else len(given_parts)
    counts = {part: round(share * n_rows) for part, share in shares.items()}
    if spec.order == "together" and len(counts) == 2 and min(counts.values()) > 0:
        val_and_test = _some_units(free, sum(counts.values()), spec.seed, "split.test and val")
        parts[free.ids.isin(val_and_test)] = "val"
        # The second call gets the rows in the order in which the first one returned them.
        remaining = _among(free, free.ids.get_indexer(pd.Index(val_and_test)))
        test = _some_units(remaining, counts["test"], spec.seed, "split.test and val")
        parts[free.ids.isin(test)] = "test"
        return parts
    for part, n_cut in counts.items():
        remaining = _among(free, parts == "train")
        if n_part := min(n_cut, len(remaining)):
            parts[free.ids.isin(_some_units(remaining, n_part, spec.seed, f"split.{part}"))] = part
    return parts


def _among(free: FreeRows, selected: NDArray[np.bool_] | NDArray[np.intp]) -> FreeRows:
    """Return some of the rows, by a mask or by row numbers in any order."""
    classes = None if free.classes is None else free.classes[selected]
    return FreeRows(free.ids[selected], free.units[selected], free.keys[selected], classes)


def _some_units(free: FreeRows, n_cut: int, seed: int, purpose: str) -> NDArray[np.object_]:
    """Return the ids of whole units, about `n_cut` rows: of single images stratified, of groups the best draw."""
    if not are_mostly_single(free.units):
        return _cut_groups(free, n_cut, seed, purpose)
    _, first = np.unique(free.units, return_index=True)
    first.sort()
    chosen = _cut_single(_among(free, np.isin(np.arange(len(free)), first)), n_cut, seed, purpose)
    rank = pd.Series(np.arange(len(chosen)), index=free.units[free.ids.get_indexer(pd.Index(chosen))])
    places = rank.reindex(free.units).to_numpy()
    rows = np.argsort(places, kind="stable")[: int(np.isfinite(places).sum())]
    return np.asarray(free.ids[rows], dtype=object)


def _cut_single(free: FreeRows, n_cut: int, seed: int, purpose: str) -> NDArray[np.object_]:
    # Importing scikit-learn takes half a second, and a split by hash does without it.
    from sklearn.model_selection import train_test_split

    try:
        ids = free.ids.to_numpy(object)
        _, cut = train_test_split(ids, test_size=n_cut, random_state=seed, stratify=free.classes)
    except ValueError as error:
        counts = None if free.classes is None else np.unique(free.classes, return_counts=True)[1]
        smallest = "" if counts is None else f", the smallest class has {counts.min()} left"
        raise DataError(
            f"{purpose}: cannot select {n_cut} of {len(free)} images{smallest}; expected at least one image of "
            f"each class in every part: {ADVICE}"
        ) from error
    return np.asarray(cut)


def _cut_groups(free: FreeRows, n_cut: int, seed: int, purpose: str) -> NDArray[np.object_]:
    """Return the ids of whole groups, about `n_cut` in all, whose classes are mixed most like all of `free`."""
    from sklearn.model_selection import GroupShuffleSplit

    n_groups = len(np.unique(free.units))
    if n_groups < 2:
        raise DataError(f"{purpose}: {n_groups} group to choose from; expected at least two")
    n_cut_groups = min(math.ceil(n_cut / len(free) * n_groups), n_groups - 1)
    draws = GroupShuffleSplit(N_GROUP_DRAWS, test_size=n_cut_groups, random_state=seed)
    shares = None if free.classes is None else np.bincount(free.classes) / len(free)

    def distance(cut: NDArray[np.intp]) -> float:
        size = abs(len(cut) - n_cut) / len(free)
        if shares is None:
            return size
        mixed = np.bincount(free.classes[cut], minlength=len(shares)) / len(cut)  # type: ignore[index]
        return size + float(np.abs(mixed - shares).sum()) / 2

    best = min((cut for _, cut in draws.split(free.ids, groups=free.units)), key=distance)
    return np.asarray(free.ids[best], dtype=object)
