"""True values in the cells of label columns, row by row: a row whose cells do not fit the target has none."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.files.column_types import category_text, find_numbers_in_texts
from featx.specs.target import TargetSpec
from featx.tables.encoding import LABEL_VALUES, bin_numbers, map_values, split_labels
from featx.tables.ids import Floats

# A class name; the numbers of a target, or the names of the labels that an image has.
TrueValue = str | tuple[float, ...] | tuple[str, ...]
MAX_NAMES_SHOWN = 4
NUMBERS_BY_TEXT = {text: float(number) for pair in LABEL_VALUES for number, text in enumerate(pair)}


@dataclass(frozen=True)
class CellReader:
    """Reads the true values of one target.

    Attributes
    ----------
    spec
        The target.
    names
        Names of its classes, labels or numbers, as the runs predict them.
    classes_by_text
        Value of the label column → class, for classes that are the values of one column.
    """

    spec: TargetSpec
    names: Sequence[str]
    classes_by_text: Mapping[str, str]

    @property
    def columns(self) -> list[str]:
        """Names of the label columns of the target."""
        # Columns of labels may be patterns in the recipe.
        has_label_columns = self.spec.kind == "labels" and self.spec.separator is None
        return list(self.names if has_label_columns else self.spec.own_columns)

    @property
    def expected(self) -> str:
        """The values that the cells may hold, for messages."""
        if self.spec.is_one_hot or (self.spec.kind == "labels" and self.spec.separator is None):
            values = "0/1, -1/1, false/true or no/yes" if self.spec.above is None else "numbers"
            return f"one 1 in each row of {list_names(self.columns)}" if self.spec.is_one_hot else values
        if self.spec.kind == "labels":
            return f"labels among {list_names(self.names)}, separated by {self.spec.separator!r}"
        if self.spec.soft:
            return "numbers in [0, 1]"
        has_numbers = self.spec.kind == "numbers" or self.spec.above is not None
        return "finite numbers" if has_numbers else f"one of {list_names(self.names)}"

    def read(self, cells: pd.DataFrame) -> tuple[list[TrueValue | None], NDArray[np.bool_]]:
        """Return the true value of each row, None where there is none, and whether each cell (n, t) fits the target.

        Parameters
        ----------
        cells
            The columns of the target, n rows without missing values.
        """
        if self.spec.kind == "numbers":
            numbers = _as_numbers(cells)
            return _valid_rows(list(map(tuple, numbers.tolist())), np.isfinite(numbers))
        if self.spec.kind == "labels":
            return self._read_separated(cells) if self.spec.separator is not None else self._read_label_columns(cells)
        if self.spec.is_one_hot:
            return self._read_one_hot(cells)
        return self._read_threshold(cells) if self.spec.soft or self.spec.above is not None else self._read_texts(cells)

    def _read_separated(self, cells: pd.DataFrame) -> tuple[list[TrueValue | None], NDArray[np.bool_]]:
        rows = [set(split_labels(category_text(text), self.spec.separator or "")) for text in cells[self.spec.column]]
        are_known = np.array([row <= set(self.names) for row in rows], dtype=bool)[:, None]
        return _valid_rows([tuple(name for name in self.names if name in row) for row in rows], are_known)

    def _read_label_columns(self, cells: pd.DataFrame) -> tuple[list[TrueValue | None], NDArray[np.bool_]]:
        indicators = _as_indicators(cells, self.spec.above)
        values = [tuple(name for name, number in zip(self.names, row, strict=True) if number) for row in indicators]
        return _valid_rows(values, np.isfinite(indicators))

    def _read_one_hot(self, cells: pd.DataFrame) -> tuple[list[TrueValue | None], NDArray[np.bool_]]:
        indicators = _as_indicators(cells, None)
        # A sum with a cell that does not fit is nan.
        codes = [int(row.argmax()) if row.sum() == 1 else None for row in indicators]
        return [None if code is None else self.names[code] for code in codes], np.isfinite(indicators)

    def _read_threshold(self, cells: pd.DataFrame) -> tuple[list[TrueValue | None], NDArray[np.bool_]]:
        numbers = _as_numbers(cells.apply(map_values, spec=self.spec))
        is_valid = np.isfinite(numbers) & (not self.spec.soft or ((numbers >= 0) & (numbers <= 1)))
        threshold = 0.5 if self.spec.above is None else self.spec.above
        return _valid_rows([self.names[int(number > threshold)] for number in numbers[:, 0]], is_valid)

    def _read_texts(self, cells: pd.DataFrame) -> tuple[list[TrueValue | None], NDArray[np.bool_]]:
        column = map_values(cells[self.spec.column], self.spec)
        if self.spec.bins is not None:
            numbers = pd.to_numeric(column, errors="coerce")
            column = bin_numbers(numbers, self.spec.bins, "bins", self.spec.classes).astype(object)
        # One text among numbers makes the whole column text, in which 1 may be written as 1.0.
        counts = Counter(map(_as_number, self.classes_by_text))
        # Codes such as 1.1 and 1.10 are one number, which is no class of its own.
        classes_by_number = {
            number: name for text, name in self.classes_by_text.items() if counts[number := _as_number(text)] == 1
        }
        classes_by_number.pop(None, None)
        classes_by_text = {} if pd.api.types.is_float_dtype(column) else self.classes_by_text
        texts = [category_text(value) for value in column]
        values = [classes_by_text.get(text, classes_by_number.get(_as_number(text))) for text in texts]
        return list(values), np.array([value is not None for value in values], dtype=bool)[:, None]


def list_names(names: Sequence[str]) -> str:
    """Return the first names in quotes, and the number of the others.

    Examples
    --------
    >>> list_names("abcdef")
    "'a', 'b', 'c', 'd' and 2 more"
    """
    n_more = len(names) - MAX_NAMES_SHOWN
    return ", ".join(map(repr, names[:MAX_NAMES_SHOWN])) + (f" and {n_more} more" if n_more > 0 else "")


def _valid_rows(
    values: Sequence[TrueValue], is_valid: NDArray[np.bool_]
) -> tuple[list[TrueValue | None], NDArray[np.bool_]]:
    are_rows_valid: list[bool] = np.all(is_valid, axis=1).tolist()
    rows = zip(values, are_rows_valid, strict=True)
    return [value if is_row_valid else None for value, is_row_valid in rows], is_valid


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _as_numbers(cells: pd.DataFrame) -> Floats:
    """Return cells (n, t) as numbers, nan where they are none."""
    return np.stack([pd.to_numeric(cells[name], errors="coerce").to_numpy(np.float64) for name in cells], axis=1)


def _as_indicators(cells: pd.DataFrame, threshold: float | None) -> Floats:
    """Return cells (n, t) as 1 where an image has a label, 0 where it has not, nan where that is unknown."""
    if threshold is not None:
        numbers = _as_numbers(cells)
        return np.where(np.isfinite(numbers), numbers > threshold, np.nan)
    texts = cells.map(lambda value: category_text(value).lower())
    for name, column in cells.items():
        if (column_numbers := find_numbers_in_texts(column)) is not None:
            texts[name] = column_numbers.map(category_text)
    return np.stack([texts[name].map(NUMBERS_BY_TEXT).to_numpy(np.float64) for name in texts], axis=1)
