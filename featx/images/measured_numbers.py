"""Recognition of measured numbers, as opposed to codes of classes, and of numbers written with their units."""

import re
from typing import Any

import pandas as pd

# Proposals of targets are stricter than recipes (featx.tables.encoding), where the user has stated classes.
# Whole numbers with more different values than this are measured, not classes.
MAX_WHOLE_CLASSES = 50
# Fractions with more different values than this are measured.
MAX_FRACTIONS = 20
# A number whose mean count of images per value is below this is measured.
MIN_IMAGES_PER_NUMBER = 3
# With no more different values than this, few images for each value are no sign of a measured number.
MAX_VALUES_WITH_FEW_IMAGES = 10
NUMBER_WITH_UNIT = re.compile(
    r"\s*[~≈<>]?\s*([+-]?\d+(?:[.,]\d+)?)\s*([^\W\d_]{1,12}\.?|[^\W\d_]{0,4}[%°′″/²³^µμ][^\W\d_]{0,4}[²³23]?)\s*"
)
# More different units are codes, such as 3a and 3b.
MAX_UNITS = 3


def is_measured(values: "pd.Series[Any]") -> bool:
    """Whether numbers are measured: many different ones, or few images of each.

    Parameters
    ----------
    values
        Numbers of all images that have one.

    Examples
    --------
    >>> is_measured(pd.Series(range(100))), is_measured(pd.Series([1, 2, 3] * 30))
    (True, False)
    """
    n_values = values.nunique()
    limit = MAX_WHOLE_CLASSES if bool((values % 1 == 0).all()) else MAX_FRACTIONS
    return n_values > limit or _has_few_images_each(n_values, len(values))


def find_number_with_unit(column: "pd.Series[Any]") -> str:
    """Return the first cell of a column whose cells are all a measured number and its unit; empty for other columns.

    Parameters
    ----------
    column
        Labels of all images.

    Examples
    --------
    >>> find_number_with_unit(pd.Series([f"{n / 10} mm" for n in range(40)]))
    '0.0 mm'
    >>> find_number_with_unit(pd.Series(["10 mm", "20 mm"] * 20))
    ''
    """
    values = column.dropna()
    # The first cell suffices to recognise most columns of words.
    if values.dtype.kind != "O" or not len(values) or not NUMBER_WITH_UNIT.fullmatch(str(values.iloc[0])):
        return ""
    texts = [text if isinstance(text, str) else "" for text in values.unique().tolist()]
    matches = [match for text in texts if (match := NUMBER_WITH_UNIT.fullmatch(text))]
    if len(matches) < len(texts) or len({match[2].lower() for match in matches}) > MAX_UNITS:
        return ""
    has_fractions = any(not match[1].lstrip("+-").isdigit() for match in matches)
    are_measured = (has_fractions and len(texts) > MAX_FRACTIONS) or _has_few_images_each(len(texts), len(values))
    return str(values.iloc[0]) if are_measured else ""


def _has_few_images_each(n_values: int, n_images: int) -> bool:
    return n_values > MAX_VALUES_WITH_FEW_IMAGES and n_images < MIN_IMAGES_PER_NUMBER * n_values
