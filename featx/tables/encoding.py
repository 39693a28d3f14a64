"""From a label column, as people write it, to integer codes with named classes."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError
from featx.registry import suggestion
from featx.specs.target import TargetSpec
from featx.tables.manifest import Manifest
from featx.tables.predictions import Labels
from featx.tables.target_values import TargetValues
from featx.tables.truth import Known, Numbers, Truth

MOST_CLASSES = 1000
FIFTHS = 5
FEW = 10  # images that share their rarest label: parts and folds cannot keep the share of so few
TWO_VALUES = (("0", "1"), ("-1", "1"), ("false", "true"), ("no", "yes"))  # that say whether an image has a label


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
    _check_gaps(column, name, spec.column)
    if spec.soft:
        return _soft(manifest, name, spec)
    column = relabelled(column, name, spec)
    codes, classes = _threshold(column, name, spec) if spec.above is not None else _categories(column, name, spec)
    if len(seen := np.unique(codes)) < 2:
        only = f"only one class, {classes[seen[0]]!r}" if len(seen) else "no images"
        raise DataError(f"targets.{name}: column {spec.column!r} gives {only}; expected at least two classes")
    return Truth(manifest.ids, codes.astype(np.int64), classes, _weights(manifest, name, spec), ordered=spec.ordered)


def _check_gaps(column: "pd.Series[Any]", name: str, of: str) -> None:
    if (gaps := column.isna()).any():
        raise DataError(
            f"targets.{name}: {int(gaps.sum())} of {len(column)} images have no {of!r}, first "
            f"{column.index[gaps][0]!r}; label them, or leave them out with '--drop-unlabelled'"
        )


def _soft(manifest: Manifest, name: str, spec: TargetSpec) -> Truth:
    """Take a column for the probability of the second class."""
    shares = _finite(manifest, name, spec.column)
    if (odd := (shares < 0) | (shares > 1)).any():
        at = int(odd.argmax())
        raise DataError(
            f"targets.{name}: {int(odd.sum())} of {len(odd)} images have no probability in {spec.column!r}, first "
            f"{manifest.ids[at]!r} with {shares[at]:g}; expected numbers in [0, 1], or leave out 'soft'"
        )
    codes = (shares > (0.5 if spec.above is None else spec.above)).astype(np.int64)
    if len(np.unique(codes)) < 2:
        raise DataError(f"targets.{name}: all images of {spec.column!r} are on one side; expected two classes")
    classes = spec.classes or (f"not {spec.column}", spec.column)
    both = np.stack([1 - shares, shares], axis=1)
    return Truth(manifest.ids, codes, classes, _weights(manifest, name, spec), both)


def known(manifest: Manifest, name: str, spec: TargetSpec) -> Known:
    """Return what is known of every image of `manifest` for one target of any kind.

    Raises
    ------
    DataError
        a column is not there, has gaps, or does not fit the target.
    """
    of_kind: dict[str, Callable[[Manifest, str, TargetSpec], Known]]
    of_kind = {"classes": encode, "labels": labels, "numbers": numbers}
    return of_kind[spec.kind](manifest, name, spec)


def labels(manifest: Manifest, name: str, spec: TargetSpec) -> Labels:
    """Return which labels every image of `manifest` has.

    Raises
    ------
    DataError
        a column is not there, has gaps or other values than two, or a label is had by all images or by none.
    """
    columns = columns_of(manifest, name, spec)
    if len(columns) < 2:
        raise DataError(f"targets.{name}: one label, {columns[0]!r}, is a target of classes; leave out 'kind'")
    had = np.stack([_had(manifest.column(column), name, column, spec.above) for column in columns], axis=1)
    counts = had.sum(axis=0)
    for column, count in zip(columns, counts, strict=True):
        if count in {0, len(had)}:
            who = "no image has" if count == 0 else "all images have"
            raise DataError(f"targets.{name}: {who} the label {column!r}; leave it out of 'columns'")
    return Labels(manifest.ids, had.astype(np.float64), columns, _weights(manifest, name, spec))


def columns_of(manifest: Manifest, name: str, spec: TargetSpec) -> tuple[str, ...]:
    """Return the label columns that a target is made of, each once.

    Raises
    ------
    DataError
        one is not there, or a pattern of labels fits none.
    """
    if spec.kind != "labels":
        return spec.own_columns
    known = [str(column) for column in manifest.labels.columns]
    found: dict[str, None] = {}
    for pattern in spec.own_columns:
        some = [column for column in known if fnmatchcase(column, pattern)]
        if not some:
            raise DataError(f"targets.{name}.columns: {suggestion(pattern, known)} (nothing fits {pattern!r})")
        found |= dict.fromkeys(some)
    return tuple(found)


def _had(column: "pd.Series[Any]", name: str, of: str, above: float | None) -> NDArray[np.bool_]:
    """Return whether each image has a label: a number above a threshold, or the second of two values."""
    _check_gaps(column, name, of)
    if above is not None:
        return np.asarray(_as_numbers(column, name, of, "above") > above)
    texts = column.map(category_text).str.lower()
    for no, yes in TWO_VALUES:
        if texts.isin([no, yes]).all():
            return (texts == yes).to_numpy()
    odd = texts.unique()
    raise DataError(
        f"targets.{name}: column {of!r} holds {_some(odd)}; expected 0/1, -1/1, false/true or no/yes, or a number with "
        "'above = …'"
    )


def numbers(manifest: Manifest, name: str, spec: TargetSpec) -> Numbers:
    """Return the numbers of every image of `manifest` for one target of numbers.

    Raises
    ------
    DataError
        a column is not there, has gaps, or holds something that is no finite number.
    """
    columns = [_finite(manifest, name, column) for column in spec.own_columns]
    return Numbers(manifest.ids, np.stack(columns, axis=1), spec.own_columns, _weights(manifest, name, spec))


def _finite(manifest: Manifest, name: str, column: str) -> NDArray[np.float64]:
    values = pd.to_numeric(manifest.column(column), errors="coerce").to_numpy(np.float64)
    if (odd := ~np.isfinite(values)).any():
        at = int(odd.argmax())
        found = category_text(manifest.labels[column].iloc[at])
        raise DataError(
            f"targets.{name}: {int(odd.sum())} of {len(odd)} images have no finite number in {column!r}, first "
            f"{manifest.ids[at]!r} with {found!r}; label them, or leave them out with '--drop-unlabelled'"
        )
    return values


def strata(manifest: Manifest, name: str, spec: TargetSpec) -> Truth:
    """Return what parts keep the shares of: classes, the rarest label, or fifths of the first column's numbers."""
    found = known(manifest, name, spec)
    if isinstance(found, Truth):
        return found
    codes = strata_codes(TargetValues.of(found))
    return Truth(found.ids, codes, tuple(map(str, range(int(codes.max()) + 1))))


def strata_codes(facts: TargetValues) -> NDArray[np.int64]:
    """Return (n,) codes in 0 … s-1 that parts and folds keep the shares of.

    Classes are their own. An image counts for the rarest of its labels, or, where few others do, with the largest of
    these strata; the first column's numbers are cut in fifths.
    """
    if facts.kind == "classes":
        return facts.y.astype(np.int64)
    if facts.kind == "labels":
        by_rarity = np.argsort(facts.y.sum(0), kind="stable")
        rarest = by_rarity[facts.y[:, by_rarity].argmax(1)]
        codes = np.where(facts.y.any(1), rarest, facts.n_outputs)
        counts = np.bincount(codes)
        codes = np.where(counts[codes] < FEW, counts.argmax(), codes)
        return np.asarray(np.unique(codes, return_inverse=True)[1], dtype=np.int64)
    first = facts.y[:, 0]
    edges = np.unique(np.quantile(first, np.linspace(0, 1, FIFTHS + 1)[1:-1]))
    return np.asarray(np.unique(np.searchsorted(edges, first, side="right"), return_inverse=True)[1], dtype=np.int64)


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
    numbers = _as_numbers(column, name, spec.column, "bins")
    bands = np.where(np.isnan(numbers), -1, np.searchsorted(spec.bins, numbers, side="right"))
    edges = [category_text(edge) for edge in spec.bins]
    names = (f"<{edges[0]}", *map("–".join, pairwise(edges)), f"≥{edges[-1]}")
    return pd.Series(
        pd.Categorical.from_codes(bands, pd.Index(spec.classes or names), ordered=True), index=column.index
    )


def _as_numbers(column: "pd.Series[Any]", name: str, of: str, key: str) -> NDArray[np.float64]:
    numbers = pd.to_numeric(column, errors="coerce")
    if (odd := numbers.isna() & column.notna()).any():
        raise DataError(f"targets.{name}: {key!r} needs numbers, column {of!r} holds {column[odd].iloc[0]!r}")
    return numbers.to_numpy(np.float64)


def _threshold(column: pd.Series, name: str, spec: TargetSpec) -> tuple[np.ndarray, tuple[str, ...]]:
    numbers = _as_numbers(column, name, spec.column, "above")
    assert spec.above is not None
    default = (f"{spec.column} ≤ {spec.above:g}", f"{spec.column} > {spec.above:g}")
    return (numbers > spec.above).astype(np.int64), spec.classes or default


def _categories(column: pd.Series, name: str, spec: TargetSpec) -> tuple[np.ndarray, tuple[str, ...]]:
    if spec.bins is not None:  # bands, in their order
        held = [band for band in column.cat.categories if spec.keep is None or band in spec.keep]
        return column.cat.set_categories(held).cat.codes.to_numpy(np.int64), tuple(held)
    numeric = pd.api.types.is_numeric_dtype(column)
    observed = column.map(category_text)
    values = sorted(column.unique()) if numeric else sorted(observed.unique())
    if len(values) > MOST_CLASSES or (numeric and len(values) > 50 and not all(float(v).is_integer() for v in values)):
        raise DataError(
            f"targets.{name}: column {spec.column!r} has {len(values)} different values, as numbers or names of images "
            "have; expected classes (for two classes from a number say 'above = …', for the number itself "
            "'kind = \"numbers\"')"
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
