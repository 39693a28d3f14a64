"""Which images teach, which choose, and which stay sealed: parts by id, kept once given."""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from featx.errors import DataError
from featx.images.names import PARTS
from featx.specs.split import SplitSpec
from featx.tables import Manifest, Truth

SEALED_FIRST = {"test": 0, "val": 1, "train": 2}
DRAWS = 64  # groupings among which the one closest to the shares asked for is taken


def split(manifest: Manifest, truth: Truth, spec: SplitSpec, kept: "pd.Series[str] | None" = None) -> "pd.Series[str]":
    """Assign each image to ``train``, ``val`` or ``test``.

    Parameters
    ----------
    truth
        Labels to stratify by.
    kept
        Parts that were given earlier, by id: they stay, and only new ids are assigned.

    Returns
    -------
    pandas.Series
        the part of each id, in the manifest's order.

    Raises
    ------
    DataError
        a class or group is too small for the parts asked for, or a split column says something else.

    Notes
    -----
    Test is cut first and val from what is left, so the sealed rows do not depend on ``val``; ``cut = "together"``
    cuts both from all rows and test from those. Each cut is scikit-learn's ``train_test_split`` with
    ``random_state=seed``; with groups the best of 64 shuffles by group.
    New ids fill the parts up to their shares of all rows; they are drawn without stratification, since a few
    new images have no shares of classes to keep.
    With ``duplicates = "together"`` one image of each content is split, and its copies follow it: the one that was
    given a part earlier, the most sealed one where there are several.
    """
    if spec.duplicates == "together":
        firsts = _firsts(manifest, kept)
        chosen = pd.unique(firsts.to_numpy())
        alone = spec.model_copy(update={"duplicates": "apart"})
        parts = split(manifest.take(chosen), truth.take(chosen), alone, kept)
        return pd.Series(parts[firsts].to_numpy(), index=firsts.index, name="part", dtype=object)
    said = _given(manifest, spec)
    named = set(said.dropna())
    parts = said.where(said != "train")  # what a column calls train may still be cut into the parts it does not name
    groups = _groups(manifest, spec.by) if spec.by else None
    if kept is not None:
        parts = parts.fillna(kept[~kept.isin(named - {"train"})].reindex(parts.index))
        parts = _join_groups(parts, groups)
    codes = pd.Series(truth.codes, index=parts.index) if spec.stratify else None

    def cut(free: pd.Index, n_cut: int, part: str) -> NDArray[np.object_]:
        if kept is not None:
            return _top_up(free, n_cut, groups, spec.seed)
        if groups is not None:
            return _cut_groups(free, n_cut, codes, groups[free], spec.seed)
        return _cut(free, n_cut, codes, spec.seed, f"split.{part}")

    def lacking(part: str, share: float) -> int:
        return 0 if part in named else round(share * len(parts)) - int((parts == part).sum())

    if (
        spec.cut == "together"
        and kept is None
        and min(n_test := lacking("test", spec.test), lacking("val", spec.val)) > 0
    ):
        both = pd.Index(cut(parts.index[parts.isna()], n_test + lacking("val", spec.val), "test and val"))
        parts = parts.mask(parts.index.isin(both), "val").mask(parts.index.isin(cut(both, n_test, "test")), "test")
    for part, share in (("test", spec.test), ("val", spec.val)):
        free = parts.index[parts.isna()]
        if (n_cut := min(lacking(part, share), len(free))) > 0:
            parts = parts.mask(parts.index.isin(cut(free, n_cut, part)), part)
    parts = parts.fillna("train").rename("part")
    _check_groups(parts, groups)
    return parts


def held_out(  # noqa: PLR0913 (a cut and what it keeps to)
    ids: NDArray[np.object_],
    n_cut: int,
    codes: NDArray[np.int64] | None,
    groups: NDArray[Any] | None,
    seed: int,
    what: str,
) -> NDArray[np.object_]:
    """Return about `n_cut` of some ids: classes in their shares, groups whole.

    Parameters
    ----------
    codes, groups
        One an id; None where there is nothing to keep to.
    what
        The cut's name, for messages.

    Raises
    ------
    DataError
        a class or the groups are too few.
    """
    index = pd.Index(ids)
    shares = None if codes is None else pd.Series(codes, index=index)
    if groups is None:
        return _cut(index, n_cut, shares, seed, what)
    return _cut_groups(index, n_cut, shares, pd.Series(groups, index=index), seed)


def _firsts(manifest: Manifest, kept: "pd.Series[str] | None") -> "pd.Series[str]":
    """Return by id the image of the same content that is split for all of its copies; unread ones are their own."""
    ids = pd.Series(manifest.ids, index=pd.Index(manifest.ids))
    given = ids.map({} if kept is None else kept).map(SEALED_FIRST).fillna(len(SEALED_FIRST))
    content = pd.Series(manifest.digests, index=ids.index).where(manifest.digests != "", ids)
    ordered = ids[given.sort_values(kind="stable").index]
    return ordered.groupby(content[ordered.index]).transform("first").reindex(ids.index)


def _join_groups(parts: "pd.Series[str]", groups: "pd.Series[str] | None") -> "pd.Series[str]":
    """Give new images of a known group that group's part."""
    if groups is None:
        return parts
    known = parts.groupby(groups.to_numpy()).first()
    return parts.fillna(pd.Series(known.reindex(groups).to_numpy(), index=parts.index))


def _check_groups(parts: "pd.Series[str]", groups: "pd.Series[str] | None") -> None:
    if groups is None:
        return
    n_parts = parts.groupby(groups).nunique()
    if (torn := n_parts.index[n_parts > 1]).size:
        found = " and ".join(sorted(parts[groups == torn[0]].unique()))
        raise DataError(
            f"split.by: {torn.size} groups stand in several parts, first {torn[0]!r} in {found}; expected each group "
            "whole: mend split.column, or make the split anew"
        )


def _groups(manifest: Manifest, by: str) -> "pd.Series[str]":
    groups = manifest.column(by)
    if (gaps := groups.isna()).any():
        raise DataError(
            f"split.by: {int(gaps.sum())} of {len(groups)} images have no {by!r}, first {groups.index[gaps][0]!r}; "
            "give each a group or take their rows out"
        )
    return groups


def _given(manifest: Manifest, spec: SplitSpec) -> "pd.Series[str]":
    """Return the parts that a column of the source gives, NaN elsewhere."""
    if spec.column is None:
        return pd.Series(np.nan, index=pd.Index(manifest.ids), dtype=object)
    said = manifest.column(spec.column).astype(object)
    parts = said.map(lambda part: PARTS.get(str(part).lower()))
    if (odd := said[parts.isna()]).size:
        raise DataError(
            f"split.column: {odd.size} images have {odd.iloc[0]!r} in {spec.column!r}, first {odd.index[0]!r}; "
            "expected train, val or test"
        )
    if (parts == "train").sum() == 0:
        raise DataError(f"split.column: no image has 'train' in {spec.column!r}")
    return parts


def _top_up(free: pd.Index, n_cut: int, groups: "pd.Series[str] | None", seed: int) -> NDArray[np.object_]:
    """Return about `n_cut` of the new ids in shuffled order; whole groups where there are groups."""
    units = pd.Series(free if groups is None else groups[free].to_numpy(), index=free)
    shuffled = np.random.default_rng(seed).permutation(units.unique().astype(object))
    sizes = units.value_counts()[shuffled]
    taken = shuffled[(sizes.cumsum() - sizes / 2 < n_cut).to_numpy()]
    return np.asarray(free[units.isin(taken)], dtype=object)


def _cut(free: pd.Index, n_cut: int, codes: "pd.Series[int] | None", seed: int, part: str) -> NDArray[np.object_]:
    stratify = None if codes is None else codes[free]
    try:
        _, cut = train_test_split(free.to_numpy(object), test_size=n_cut, random_state=seed, stratify=stratify)
    except ValueError as error:
        smallest = "" if stratify is None else f", the smallest class has {stratify.value_counts().min()} left"
        raise DataError(
            f"{part}: cannot cut {n_cut} of {len(free)} images{smallest}; expected at least one image of "
            "each class in every part: add images, drop the class, or say 'split.stratify = false'"
        ) from error
    return np.asarray(cut)


def _cut_groups(
    free: pd.Index, n_cut: int, codes: "pd.Series[int] | None", groups: "pd.Series[str]", seed: int
) -> NDArray[np.object_]:
    """Return the ids of whole groups, about `n_cut` in all, whose classes are mixed most like all of `free`."""
    n_groups = groups.nunique()
    if n_groups < 2:
        raise DataError(f"split.by: {n_groups} group is left to cut from; expected at least two")
    n_cut_groups = min(math.ceil(n_cut / len(free) * n_groups), n_groups - 1)
    draws = GroupShuffleSplit(DRAWS, test_size=n_cut_groups, random_state=seed)

    def distance(cut: NDArray[np.intp]) -> float:
        off = abs(len(cut) - n_cut) / len(free)
        if codes is None:
            return off
        shares = codes[free].iloc[cut].value_counts(normalize=True)
        return off + float(shares.sub(codes[free].value_counts(normalize=True), fill_value=0).abs().sum()) / 2

    best = min((cut for _, cut in draws.split(free, groups=groups)), key=distance)
    return np.asarray(free[best], dtype=object)
