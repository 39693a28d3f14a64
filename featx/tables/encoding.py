"""Encoding of label columns, as people write them, as class codes, labels in {0, 1} or numbers."""

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError
from featx.files.column_types import category_text, find_numbers_in_texts
from featx.registry import suggest_names
from featx.specs.target import TargetSpec
from featx.tables.manifest import Manifest
from featx.tables.number_columns import (
    UNLABELLED_ADVICE,
    check_column,
    convert_to_numbers,
    read_finite_numbers,
    read_row_weights,
    read_squarable_numbers,
)
from featx.tables.target_values import TargetValues
from featx.tables.truth import AnyTruth, Labels, Numbers, Truth

MAX_CLASSES = 1000
# A measured number has more distinct values than this, and not all of them are whole.
MAX_FRACTIONAL_CLASSES = 50
# Pairs of texts by which a column says that an image lacks or has a label.
LABEL_VALUES = (("0", "1"), ("-1", "1"), ("false", "true"), ("no", "yes"))


def encode_classes(manifest: Manifest, name: str, spec: TargetSpec) -> Truth:
    """Return the true classes of all images of `manifest` for one target.

    Parameters
    ----------
    name
        Name of the target in the recipe, for messages.

    Raises
    ------
    DataError
        The column is missing, has gaps, holds only one class, or does not fit `spec`.
    """
    if spec.is_one_hot:
        return _encode_one_hot(manifest, name, spec)
    column = manifest.column(spec.column)
    _check_gaps(column, name, spec.column)
    if spec.soft:
        return _encode_soft(manifest, name, spec)
    column = map_and_bin(column, name, spec)
    codes, classes = _threshold(column, name, spec) if spec.above is not None else _categories(column, name, spec)
    if len(present_codes := np.unique(codes)) < 2:
        contents = f"only one class, {classes[present_codes[0]]!r}" if len(present_codes) else "no images"
        raise DataError(f"targets.{name}: column {spec.column!r} gives {contents}; expected at least two classes")
    return Truth(
        manifest.ids, codes.astype(np.int64), classes, read_row_weights(manifest, name, spec), ordered=spec.ordered
    )


def _check_gaps(column: "pd.Series[Any]", name: str, column_name: str) -> None:
    if (gaps := column.isna()).any():
        raise DataError(
            f"targets.{name}: {int(gaps.sum())} of {len(column)} images have no {column_name!r}, first "
            f"{column.index[gaps][0]!r}; {UNLABELLED_ADVICE}"
        )


def _encode_one_hot(manifest: Manifest, name: str, spec: TargetSpec) -> Truth:
    """Return the truth of columns of 0 and 1, one for each class."""
    indicators = np.stack([_has_label(manifest.column(c), name, c, None) for c in spec.columns], axis=1)
    counts = indicators.sum(axis=1)
    if (is_invalid := counts != 1).any():
        first_row = int(is_invalid.argmax())
        raise DataError(
            f"targets.{name}: {int(is_invalid.sum())} of {len(counts)} images do not have exactly one class, first "
            f"{manifest.ids[first_row]!r} with {counts[first_row]}; expected one 1 in each row of "
            f"{', '.join(spec.columns[:4])}, or kind = 'labels'"
        )
    if spec.classes is not None and len(spec.classes) != len(spec.columns):
        raise DataError(f"targets.{name}.classes: found {len(spec.classes)} names for {len(spec.columns)} columns")
    codes = indicators.argmax(axis=1).astype(np.int64)
    classes = spec.classes or spec.columns
    return Truth(manifest.ids, codes, classes, read_row_weights(manifest, name, spec), ordered=spec.ordered)


def _encode_soft(manifest: Manifest, name: str, spec: TargetSpec) -> Truth:
    """Return the truth of a column that holds the probability of the second class."""
    shares = read_finite_numbers(manifest, name, spec.column)
    expected_text = "expected numbers in [0, 1], or leave out 'soft'"
    check_column(manifest, f"targets.{name}", spec.column, (shares >= 0) & (shares <= 1), "probability", expected_text)
    threshold = 0.5 if spec.above is None else spec.above
    codes = (shares > threshold).astype(np.int64)
    if len(np.unique(codes)) < 2:
        raise DataError(
            f"targets.{name}: all images have a {spec.column!r} on the same side of {threshold:g}; expected two classes"
        )
    classes = spec.classes or (f"not {spec.column}", spec.column)
    proba = np.stack([1 - shares, shares], axis=1)
    return Truth(manifest.ids, codes, classes, read_row_weights(manifest, name, spec), proba)


def encode_target(manifest: Manifest, name: str, spec: TargetSpec) -> AnyTruth:
    """Return the true values of all images of `manifest` for one target of any kind.

    Raises
    ------
    DataError
        A column is missing, has gaps, or does not fit the target.
    """
    encoders: dict[str, Callable[[Manifest, str, TargetSpec], AnyTruth]]
    encoders = {"classes": encode_classes, "labels": encode_labels, "numbers": encode_numbers}
    return encoders[spec.kind](manifest, name, spec)


def encode_labels(manifest: Manifest, name: str, spec: TargetSpec) -> Labels:
    """Return which labels each image of `manifest` has.

    Raises
    ------
    DataError
        A column is missing, has gaps or more than two values, or all images or none have a label.
    """
    if spec.separator is not None:
        return _encode_separated(manifest, name, spec)
    columns = target_columns(manifest, name, spec)
    if len(columns) < 2:
        raise DataError(f"targets.{name}: one label, {columns[0]!r}, is a target of classes; leave out 'kind'")
    has_label = np.stack([_has_label(manifest.column(column), name, column, spec.above) for column in columns], axis=1)
    for column, count in zip(columns, has_label.sum(axis=0), strict=True):
        if count in {0, len(has_label)}:
            subject = "no image has" if count == 0 else "all images have"
            raise DataError(f"targets.{name}: {subject} the label {column!r}; leave it out of 'columns'")
    return Labels(manifest.ids, has_label.astype(np.float64), columns, read_row_weights(manifest, name, spec))


def _encode_separated(manifest: Manifest, name: str, spec: TargetSpec) -> Labels:
    """Return the labels of a column that lists them with a separator; the labels are sorted."""
    assert spec.separator is not None
    column = manifest.column(spec.column)
    _check_gaps(column, name, spec.column)
    cells = [split_labels(category_text(value), spec.separator) for value in column]
    labels = sorted({label for cell in cells for label in cell})
    if len(labels) < 2:
        raise DataError(
            f"targets.{name}: column {spec.column!r} holds {_listed(labels)}; expected two or more labels separated by "
            f"{spec.separator!r}"
        )
    codes = {label: code for code, label in enumerate(labels)}
    has_label = np.zeros((len(cells), len(labels)))
    for row, cell in enumerate(cells):
        has_label[row, [codes[label] for label in cell]] = 1
    if has_label.all(axis=0).any():
        raise DataError(f"targets.{name}: all images have the label {labels[int(has_label.all(axis=0).argmax())]!r}")
    return Labels(manifest.ids, has_label, tuple(labels), read_row_weights(manifest, name, spec))


def split_labels(text: str, separator: str) -> list[str]:
    """Return the labels that one cell lists.

    Examples
    --------
    >>> split_labels("Edema| Mass|", "|")
    ['Edema', 'Mass']
    """
    return [label for part in text.split(separator) if (label := part.strip())]


def target_columns(manifest: Manifest, name: str, spec: TargetSpec) -> tuple[str, ...]:
    """Return the names of the label columns that a target reads, each once.

    Raises
    ------
    DataError
        A pattern of labels matches no column.
    """
    if spec.kind != "labels":
        return spec.own_columns
    columns = [str(column) for column in manifest.labels.columns]
    column_names: dict[str, None] = {}
    for pattern in spec.own_columns:
        matches = [column for column in columns if fnmatchcase(column, pattern)]
        if not matches:
            raise DataError(
                f"targets.{name}.columns: {suggest_names(pattern, columns)} (no column matches {pattern!r})"
            )
        column_names |= dict.fromkeys(matches)
    return tuple(column_names)


def _has_label(column: "pd.Series[Any]", name: str, column_name: str, threshold: float | None) -> NDArray[np.bool_]:
    """Return whether each image has a label: a number above a threshold, or the second of two values."""
    _check_gaps(column, name, column_name)
    if threshold is not None:
        return np.asarray(convert_to_numbers(column, f"targets.{name}", "above") > threshold)
    column = column if (numbers := find_numbers_in_texts(column)) is None else numbers
    # Equal numbers have one text, which is made once; equal objects, such as 1 and True, have different texts.
    is_numeric = pd.api.types.is_numeric_dtype(column)
    texts = column.map({value: category_text(value) for value in column.unique()} if is_numeric else category_text)
    texts = texts.str.lower()
    for negative_text, positive_text in LABEL_VALUES:
        if texts.isin([negative_text, positive_text]).all():
            return (texts == positive_text).to_numpy()
    raise DataError(
        f"targets.{name}: column {column_name!r} holds {_listed(texts.unique())}; expected 0/1, -1/1, false/true or "
        "no/yes, or a number with 'above = …'"
    )


def encode_numbers(manifest: Manifest, name: str, spec: TargetSpec) -> Numbers:
    """Return the true numbers of all images of `manifest` for one target of numbers.

    Raises
    ------
    DataError
        A column is missing, has gaps, holds a value that is not a finite number, or numbers whose squares are too large
        or too small for 32-bit floats.
    """
    columns = [read_squarable_numbers(manifest, name, column) for column in spec.own_columns]
    return Numbers(manifest.ids, np.stack(columns, axis=1), spec.own_columns, read_row_weights(manifest, name, spec))


def strata(manifest: Manifest, name: str, spec: TargetSpec) -> Truth:
    """Return the strata by which images are split: classes, rarest labels, or fifths of the first column's numbers."""
    truth = encode_target(manifest, name, spec)
    if isinstance(truth, Truth):
        return truth
    codes = TargetValues.of(truth).strata()
    return Truth(truth.ids, codes, tuple(map(str, range(int(codes.max()) + 1))))


def map_and_bin(column: "pd.Series[Any]", name: str, spec: TargetSpec) -> "pd.Series[Any]":
    """Return a label column after the target's ``map`` and ``bins``: values replaced, numbers binned.

    Raises
    ------
    DataError
        The target has bins and the column holds a value that is not a number.
    """
    column = map_values(column, spec)
    return column if spec.bins is None else bin_numbers(column, spec.bins, f"targets.{name}", spec.classes)


def map_values(column: "pd.Series[Any]", spec: TargetSpec) -> "pd.Series[Any]":
    """Return a label column after the target's ``map``; missing values stay missing."""
    if not spec.map:
        return column
    return column.map(lambda value: spec.map.get(category_text(value), value), na_action="ignore")


def bin_numbers(
    column: "pd.Series[Any]", edges: Sequence[float], key: str, names: Sequence[str] | None = None
) -> "pd.Series[Any]":
    """Return the band of each number as an ordered categorical; missing numbers stay missing.

    Parameters
    ----------
    column
        n numbers.
    edges
        Edges b0 < b1 < … of the bands; an edge belongs to the band above it.
    key
        Section of the recipe, for the error.
    names
        Name of each band; by default ``<b0``, ``b0–b1``, …, ``≥bm``.

    Raises
    ------
    DataError
        The column holds a value that is not a number.
    """
    numbers = convert_to_numbers(column, key, "bins")
    codes = np.where(np.isnan(numbers), -1, np.searchsorted(edges, numbers, side="right"))
    texts = [category_text(edge) for edge in edges]
    default = (f"<{texts[0]}", *map("–".join, pairwise(texts)), f"≥{texts[-1]}")
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(names or default), ordered=True), index=column.index)


def _threshold(column: pd.Series, name: str, spec: TargetSpec) -> tuple[np.ndarray, tuple[str, ...]]:
    numbers = convert_to_numbers(column, f"targets.{name}", "above")
    assert spec.above is not None
    default = (f"{spec.column} ≤ {spec.above:g}", f"{spec.column} > {spec.above:g}")
    return (numbers > spec.above).astype(np.int64), spec.classes or default


def _categories(column: pd.Series, name: str, spec: TargetSpec) -> tuple[np.ndarray, tuple[str, ...]]:
    if spec.bins is not None:
        # The bins are an ordered categorical; their order is that of the classes.
        allowed_names = set(spec.keep or column.cat.categories) - set(spec.drop or ())
        bins = [item for item in column.cat.categories if item in allowed_names]
        return column.cat.set_categories(bins).cat.codes.to_numpy(np.int64), tuple(bins)
    is_numeric, observed_texts = pd.api.types.is_numeric_dtype(column), column.map(category_text)
    numbers = column if is_numeric else find_numbers_in_texts(column)
    sort_key = None if is_numeric or numbers is None else lambda text: (float(text), text)
    values = sorted(column.unique() if is_numeric else observed_texts.unique(), key=sort_key)
    distinct_numbers = [] if numbers is None else numbers.unique().tolist()
    is_measured = len(distinct_numbers) > MAX_FRACTIONAL_CLASSES and not all(
        float(number).is_integer() for number in distinct_numbers
    )
    if len(values) > MAX_CLASSES or is_measured:
        raise DataError(
            f"targets.{name}: column {spec.column!r} has {len(values)} values, which look like measured numbers or "
            "image names; expected classes; set 'above = …' for two classes, or 'kind = \"numbers\"' to predict the "
            "number"
        )
    texts = [category_text(value) for value in values]
    if spec.ordered and spec.classes is None and numbers is None:
        raise DataError(
            f"targets.{name}: column {spec.column!r} holds text, {_listed(texts)}, whose order is not known; state it "
            "with 'classes = [lowest, …, highest]'"
        )
    if spec.classes is None:
        order = names = texts
    elif set(spec.classes) >= set(texts):
        order = names = list(spec.classes)
    elif is_numeric and len(spec.classes) == len(texts):
        order, names = texts, list(spec.classes)
    else:
        raise DataError(
            f"targets.{name}.classes: column {spec.column!r} holds {_listed(texts)}, found names "
            f"{_listed(spec.classes)}; expected the column's own values, or one name for each of its numbers"
        )
    return observed_texts.map({text: code for code, text in enumerate(order)}).to_numpy(), tuple(names)


def _listed(names: Iterable[object], max_names: int = 8) -> str:
    texts = [repr(name) for name in names]
    return ", ".join(texts[:max_names]) + (f", … ({len(texts)} in all)" if len(texts) > max_names else "")
