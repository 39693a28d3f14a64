"""Which of the images found are studied: those with labels, of the classes kept, balanced where that is asked for."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from featx.errors import DataError
from featx.images.readers import Listing
from featx.registry import suggestion
from featx.specs.split import SplitSpec
from featx.specs.target import TargetSpec
from featx.tables.encoding import category_text, columns_of, encode, relabelled


def selected(
    found: Listing, targets: Mapping[str, TargetSpec], split: SplitSpec, drop_unlabelled: bool = False
) -> Listing:
    """Return the listing with the images that are not studied ignored, each by the rule that says why.

    Parameters
    ----------
    drop_unlabelled
        Ignore images without a label; otherwise they stay, and encoding the target names them.

    Raises
    ------
    DataError
        a target's column is not there, or holds no value that is to be mapped or kept; nothing is left.
    """
    for name, target in targets.items():
        _check_map(found, name, target)
    for name, target in targets.items():
        if drop_unlabelled:
            for column in columns_of(found.manifest, name, target):
                gaps = found.manifest.column(column).isna()
                found = found.without(dict.fromkeys(gaps.index[gaps], f"has no label in column {column!r}"))
        found = found.without(_not_kept(found, name, target))
    balanced = [name for name, target in targets.items() if target.balance == "undersample"]
    if len(balanced) > 1:
        raise DataError(f"targets {' and '.join(balanced)} are both to be balanced; one would unbalance the other")
    for name in balanced:
        found = found.without(_surplus(found, name, targets[name], split))
    if not len(found):
        raise DataError(f"no images are left of {len(found.ignored)} files; check 'keep' and the labels")
    return found


def _check_map(found: Listing, name: str, target: TargetSpec) -> None:
    if not target.map:
        return
    held = sorted(map(category_text, found.manifest.column(target.column).dropna().unique()))
    if unknown := [value for value in target.map if value not in held]:
        raise DataError(
            f"targets.{name}.map: column {target.column!r} holds no {unknown[0]!r}; {suggestion(unknown[0], held)}"
        )


def _not_kept(found: Listing, name: str, target: TargetSpec) -> dict[str, str]:
    if target.keep is None:
        return {}
    column = relabelled(found.manifest.column(target.column), name, target)
    values = column.map(category_text, na_action="ignore")
    held = sorted(map(str, values.dropna().unique()))
    if unknown := [value for value in target.keep if value not in held]:
        raise DataError(
            f"targets.{name}.keep: column {target.column!r} holds no {unknown[0]!r}; {suggestion(unknown[0], held)}"
        )
    others = values[values.notna() & ~values.isin(target.keep)]
    return {str(row): f"is {value!r}, which targets.{name}.keep leaves out" for row, value in others.items()}


def _surplus(found: Listing, name: str, target: TargetSpec, split: SplitSpec) -> dict[str, str]:
    """Return what is over in the larger classes, drawn by the split's seed, in each part that the source gives."""
    truth = encode(found.manifest, name, target)
    values = pd.Series(np.asarray(truth.classes, dtype=object)[truth.codes], index=pd.Index(truth.ids))
    parts = found.manifest.column(split.column) if split.column else pd.Series("all", index=values.index)
    rng = np.random.default_rng(split.seed)
    surplus: dict[str, str] = {}
    for _, inside in values.groupby(parts.to_numpy()):
        smallest = int(inside.value_counts().min())
        for value, rows in inside.groupby(inside):
            over = rng.permutation(rows.index.to_numpy(object))[smallest:]
            surplus |= dict.fromkeys(over, f"is over in {value!r}, to balance targets.{name}")
    return surplus
