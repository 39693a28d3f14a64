"""From a label column, as people write it, to integer codes with named classes."""

import numpy as np
import pandas as pd

from featx.errors import DataError
from featx.specs import TargetSpec
from featx.tables import Manifest, Truth

MOST_CLASSES = 1000


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
            "label them or take their rows out"
        )
    codes, classes = _threshold(column, name, spec) if spec.above is not None else _categories(column, name, spec)
    if len(seen := np.unique(codes)) < 2:
        only = f"only one class, {classes[seen[0]]!r}" if len(seen) else "no images"
        raise DataError(f"targets.{name}: column {spec.column!r} gives {only}; expected at least two classes")
    return Truth(manifest.ids, codes.astype(np.int64), classes)


def _threshold(column: pd.Series, name: str, spec: TargetSpec) -> tuple[np.ndarray, tuple[str, ...]]:
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.isna().any():
        odd = column[numbers.isna()].iloc[0]
        raise DataError(f"targets.{name}: 'above' needs numbers, column {spec.column!r} holds {odd!r}")
    assert spec.above is not None
    default = (f"{spec.column} ≤ {spec.above:g}", f"{spec.column} > {spec.above:g}")
    return (numbers > spec.above).to_numpy(np.int64), spec.classes or default


def _categories(column: pd.Series, name: str, spec: TargetSpec) -> tuple[np.ndarray, tuple[str, ...]]:
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
