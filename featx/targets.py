"""From a label column, as people write it, to integer codes with named classes."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError
from featx.specs import TargetSpec
from featx.tables import Manifest, Numbers, Truth

MOST_CLASSES = 1000
FIFTHS = 5


def encode(manifest: Manifest, name: str, spec: TargetSpec) -> Truth:
    """Return the truth of every image of `manifest` for one target.

    Parameters
    ----------
    name
        The target's name in the recipe, for messages.

    Raises
    ------
    DataError
        the column is not there, has gaps, holds one class only, or does not fit `spec`.
    """
    column = manifest.column(spec.column)
    if (gaps := column.isna()).any():
        first = manifest.ids[np.flatnonzero(gaps)[0]]
        raise DataError(
            f"targets.{name}: {int(gaps.sum())} of {len(column)} images have no {spec.column!r}, first {first!r}; "
            "label them, or leave them out with '--drop-unlabelled'"
        )
    column = relabelled(column, name, spec)
    codes, classes = _threshold(column, name, spec) if spec.above is not None else _categories(column, name, spec)
    if len(seen := np.unique(codes)) < 2:
        only = f"only one class, {classes[seen[0]]!r}" if len(seen) else "no images"
        raise DataError(f"targets.{name}: column {spec.column!r} gives {only}; expected at least two classes")
    return Truth(manifest.ids, codes.astype(np.int64), classes, _weights(manifest, name, spec))


def numbers(manifest: Manifest, name: str, spec: TargetSpec) -> Numbers:
    """Return the numbers of every image of `manifest` for one target of numbers.

    Raises
    ------
    DataError
        a column is not there, has gaps, or holds something that is no finite number.
    """
    columns = []
    for column in spec.number_columns:
        values = pd.to_numeric(manifest.column(column), errors="coerce").to_numpy(np.float64)
        if (odd := ~np.isfinite(values)).any():
            at = int(odd.argmax())
            found = category_text(manifest.labels[column].iloc[at])
            raise DataError(
                f"targets.{name}: {int(odd.sum())} of {len(odd)} images have no finite number in {column!r}, first "
                f"{manifest.ids[at]!r} with {found!r}; label them, or leave them out with '--drop-unlabelled'"
            )
        columns.append(values)
    return Numbers(manifest.ids, np.stack(columns, axis=1), spec.number_columns, _weights(manifest, name, spec))


def strata(manifest: Manifest, name: str, spec: TargetSpec) -> Truth:
    """Return what parts keep the shares of: classes, or fifths of the first column's numbers."""
    if spec.kind == "classes":
        return encode(manifest, name, spec)
    found = numbers(manifest, name, spec)
    first = found.values[:, 0]
    edges = np.unique(np.quantile(first, np.linspace(0, 1, FIFTHS + 1)[1:-1]))
    codes = np.unique(np.searchsorted(edges, first, side="right"), return_inverse=True)[1]
    return Truth(found.ids, codes, tuple(map(str, range(int(codes.max()) + 1))))


def _weights(manifest: Manifest, name: str, spec: TargetSpec) -> NDArray[np.float64] | None:
    """Return the product of the weight and confidence columns; None where the target names neither."""
    product: NDArray[np.float64] | None = None
    for key, column in (("weight", spec.weight), ("confidence", spec.confidence)):
        if column is None:
            continue
        numbers = pd.to_numeric(manifest.column(column), errors="coerce").to_numpy(np.float64)
        if (odd := ~(np.isfinite(numbers) & (numbers >= 0))).any():
            at = int(odd.argmax())
            raise DataError(
                f"targets.{name}.{key}: {int(odd.sum())} of {len(odd)} images have no number ≥ 0 in {column!r}, first "
                f"{manifest.ids[at]!r} with {category_text(manifest.labels[column].iloc[at])!r}"
            )
        product = numbers if product is None else product * numbers
    if product is not None and not product.any():
        raise DataError(f"targets.{name}: all images weigh 0; check 'weight' and 'confidence'")
    return product


def relabelled(column: "pd.Series[Any]", name: str, spec: TargetSpec) -> "pd.Series[Any]":
    """Return a label column with its values mapped and its numbers in bands, as the target says.

    Raises
    ------
    DataError
        bands are asked for and the column holds no numbers.
    """
    if spec.map:
        column = column.map(lambda value: spec.map.get(category_text(value), value), na_action="ignore")
    if spec.bins is None:
        return column
    numbers = _numbers(column, name, spec, "bins").to_numpy(np.float64)
    bands = np.where(np.isnan(numbers), -1, np.searchsorted(spec.bins, numbers, side="right"))
    edges = [category_text(edge) for edge in spec.bins]
    names = (f"<{edges[0]}", *map("–".join, pairwise(edges)), f"≥{edges[-1]}")
    return pd.Series(
        pd.Categorical.from_codes(bands, pd.Index(spec.classes or names), ordered=True), index=column.index
    )


def _numbers(column: "pd.Series[Any]", name: str, spec: TargetSpec, key: str) -> "pd.Series[float]":
    numbers = pd.to_numeric(column, errors="coerce")
    if (odd := numbers.isna() & column.notna()).any():
        raise DataError(f"targets.{name}: {key!r} needs numbers, column {spec.column!r} holds {column[odd].iloc[0]!r}")
    return numbers


def _threshold(column: pd.Series, name: str, spec: TargetSpec) -> tuple[np.ndarray, tuple[str, ...]]:
    numbers = _numbers(column, name, spec, "above")
    assert spec.above is not None
    default = (f"{spec.column} ≤ {spec.above:g}", f"{spec.column} > {spec.above:g}")
    return (numbers > spec.above).to_numpy(np.int64), spec.classes or default


def _categories(column: pd.Series, name: str, spec: TargetSpec) -> tuple[np.ndarray, tuple[str, ...]]:
    if spec.bins is not None:  # bands, in their order
        held = [band for band in column.cat.categories if spec.keep is None or band in spec.keep]
        return column.cat.set_categories(held).cat.codes.to_numpy(np.int64), tuple(held)
    numeric = pd.api.types.is_numeric_dtype(column)
    observed = column.map(category_text)
    values = sorted(column.unique()) if numeric else sorted(observed.unique())
    if len(values) > MOST_CLASSES or (numeric and len(values) > 50 and not all(float(v).is_integer() for v in values)):
        raise DataError(
            f"targets.{name}: column {spec.column!r} has {len(values)} different values; expected classes "
            "(for two classes from a number say 'above = …')"
        )
    texts = [category_text(value) for value in values]
    if spec.classes is None:
        order = names = texts
    elif set(spec.classes) >= set(texts):
        order = names = list(spec.classes)
    elif numeric and len(spec.classes) == len(texts):
        order, names = texts, list(spec.classes)
    else:
        raise DataError(
            f"targets.{name}.classes: column {spec.column!r} holds {_some(texts)}, found names {_some(spec.classes)}; "
            "expected the column's own values or, for numbers, as many names"
        )
    return observed.map({text: code for code, text in enumerate(order)}).to_numpy(), tuple(names)


def category_text(value: object) -> str:
    """Write a value as a class name: whole floats without their point.

    Examples
    --------
    >>> category_text(-1.0), category_text("cat"), category_text(0.5)
    ('-1', 'cat', '0.5')
    """
    if isinstance(value, float | np.floating) and value.is_integer():
        return str(int(value))
    return str(value)


def _some(names: object, limit: int = 8) -> str:
    listed = [repr(name) for name in names]  # type: ignore[attr-defined]
    return ", ".join(listed[:limit]) + (f", … ({len(listed)} in all)" if len(listed) > limit else "")
