"""Columns of a label table as numbers: true numbers, weights and confidences of rows, with errors for other values."""

import re
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError
from featx.files.column_types import DECIMAL_COMMA, category_text
from featx.specs.target import TargetSpec
from featx.tables.ids import Floats
from featx.tables.manifest import Manifest

# Limits of numbers and weights, and of the differences of numbers, whose squares are 32-bit floats.
MAX_NUMBER = 1e18
MIN_SPREAD = 1e-18
UNLABELLED_ADVICE = "label them, or leave them out with 'drop_unlabelled = true' in [data]"
COMMA_ADVICE = "set 'decimal' in data.labels to 'comma' if its commas are decimal commas"


def read_finite_numbers(manifest: Manifest, name: str, column: str) -> Floats:
    """Return the (n,) finite numbers of a column for a target.

    Raises
    ------
    DataError
        An image has no number.
    """
    values = pd.to_numeric(manifest.column(column), errors="coerce").to_numpy(np.float64)
    has_only_gaps = bool(manifest.column(column)[~np.isfinite(values)].isna().all())
    advice = UNLABELLED_ADVICE if has_only_gaps else "correct these values, or remove them and label the images"
    check_column(manifest, f"targets.{name}", column, np.isfinite(values), "finite number", advice)
    return values


def read_squarable_numbers(manifest: Manifest, name: str, column: str) -> Floats:
    """Return the (n,) numbers of a column; heads and networks compute the squares of their differences in 32 bits.

    Raises
    ------
    DataError
        An image has no number, or numbers or their differences are too large or too small to be squared.
    """
    values = read_finite_numbers(manifest, name, column)
    key, is_valid = f"targets.{name}", np.abs(values) <= MAX_NUMBER
    advice = "state the column in another unit, and leave missing numbers empty"
    check_column(manifest, key, column, is_valid, f"number within ±{MAX_NUMBER:g}", advice)
    if len(values) and 0 < (spread := float(np.ptp(values))) < MIN_SPREAD:
        raise DataError(
            f"{key}: the numbers in {column!r} differ by {spread:.2g}, expected {MIN_SPREAD:g} or more; state the "
            "column in another unit"
        )
    return values


def check_column(  # noqa: PLR0913 - the parts of one message
    manifest: Manifest, key: str, column: str, is_valid: NDArray[np.bool_], quantity: str, advice: str
) -> None:
    """Raise an error that names the first image whose value in a column is not valid."""
    if not is_valid.all():
        first_row = int(is_valid.argmin())
        text = category_text(manifest.labels[column].iloc[first_row])
        raise DataError(
            f"{key}: {int((~is_valid).sum())} of {len(is_valid)} images have no {quantity} in {column!r}, first "
            f"{manifest.ids[first_row]!r} with {text!r}; {COMMA_ADVICE if re.match(DECIMAL_COMMA, text) else advice}"
        )


def read_row_weights(manifest: Manifest, name: str, spec: TargetSpec) -> Floats | None:
    """Return the (n,) products of the weights and confidences of the rows; None if the target names neither.

    Raises
    ------
    DataError
        An image has no weight, or all weights are 0.
    """
    product: Floats | None = None
    for key, column in (("weight", spec.weight), ("confidence", spec.confidence)):
        if column is None:
            continue
        numbers = pd.to_numeric(manifest.column(column), errors="coerce").to_numpy(np.float64)
        is_valid = (numbers >= 0) & (numbers <= MAX_NUMBER)
        quantity = f"number from 0 to {MAX_NUMBER:g}"
        check_column(manifest, f"targets.{name}.{key}", column, is_valid, quantity, "correct the column")
        product = numbers if product is None else product * numbers
    if spec.probability_confidence:
        proba = pd.to_numeric(manifest.column(spec.column), errors="coerce").to_numpy(np.float64)
        is_valid = (proba >= 0) & (proba <= 1)
        key = f"targets.{name}.probability_confidence"
        check_column(manifest, key, spec.column, is_valid, "probability in [0, 1]", "remove the key")
        product = np.abs(2 * proba - 1) * (1.0 if product is None else product)
    if product is not None and not product.any():
        raise DataError(f"targets.{name}: all images weigh 0; check 'weight' and 'confidence'")
    return product


def convert_to_numbers(column: "pd.Series[Any]", section: str, key: str) -> Floats:
    """Return the numbers of a column that the key of a section needs, nan for missing ones.

    Raises
    ------
    DataError
        The column holds a value that is not a number.
    """
    numbers = pd.to_numeric(column, errors="coerce")
    if (is_invalid := numbers.isna() & column.notna()).any():
        value = column[is_invalid].iloc[0]
        advice = f"; {COMMA_ADVICE}" if re.match(DECIMAL_COMMA, str(value)) else ""
        raise DataError(f"{section}: {key!r} needs numbers, column {column.name!r} holds {value!r}{advice}")
    return numbers.to_numpy(np.float64)
