"""True values of images in label tables, and warnings about the rows without a valid one."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.files.column_types import category_text
from featx.predictors.cell_values import MAX_NAMES_SHOWN, CellReader, TrueValue, list_names
from featx.tables.manifest import Manifest

MAX_VALUE_CHARACTERS = 30
MISSING = "no value"


@dataclass
class TableValues:
    """True values of one target in the label tables that have its columns.

    Attributes
    ----------
    target
        Name of the target.
    reader
        Reader of its cells.
    all_columns
        Columns of all predicted targets.
    by_image
        Id of an image → true value.
    ids
        Ids of all rows.
    invalid_counts
        Text of each value that does not fit the target → number of its rows.
    missing_columns
        Columns of the target that a table lacks which has others of them, or labels but none of a predicted target.
    found_columns
        Columns of these tables.
    """

    target: str
    reader: CellReader
    all_columns: frozenset[str]
    by_image: dict[str, TrueValue] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    invalid_counts: Counter[str] = field(default_factory=Counter)
    missing_columns: list[str] = field(default_factory=list)
    found_columns: list[str] = field(default_factory=list)

    def add(self, manifest: Manifest) -> None:
        """Add the rows of a table; a table without all columns of the target adds none."""
        columns, found_columns = self.reader.columns, list(map(str, manifest.labels.columns))
        missing_columns = [column for column in columns if column not in found_columns]
        if missing_columns:
            is_of_other_targets = len(missing_columns) == len(columns) and self.all_columns.intersection(found_columns)
            if found_columns and not is_of_other_targets:
                self.missing_columns += missing_columns
                self.found_columns += found_columns
            return
        cells = manifest.labels[columns]
        has_values = cells.notna().all(axis=1)
        full_cells = cells[has_values.to_numpy()]
        values, is_valid = self.reader.read(full_cells)
        self.ids.update(manifest.ids)
        self.invalid_counts.update({MISSING: int((~has_values).sum())})
        for row, (image, value) in enumerate(zip(full_cells.index, values, strict=True)):
            if value is None:
                self.invalid_counts[_describe_row(full_cells.iloc[row], is_valid[row])] += 1
            else:
                self.by_image[image] = value

    def warnings(self) -> list[str]:
        """Return a warning about missing columns and one about rows without a valid value, if there are any."""
        warnings = []
        if self.missing_columns:
            warnings.append(
                f"no true values of {self.target!r} are read from a label table without the columns "
                f"{list_names(self.missing_columns)}; columns found: {list_names(self.found_columns)}"
            )
        if n_invalid := self.invalid_counts.total():
            have_value = f"have no valid value of {self.target!r}"
            problem = (
                f"{n_invalid} of {len(self.ids)} rows of the label table {have_value} and are left out of the scores"
                if self.by_image
                else f"all {len(self.ids)} rows of the label table {have_value}, so that no scores are shown"
            )
            warnings.append(f"{problem}: {list_counts(self.invalid_counts)}; expected {self.reader.expected}")
        return warnings


def list_counts(counts: Mapping[str, int]) -> str:
    """Return the most frequent texts with their counts, and the number of the others.

    Examples
    --------
    >>> list_counts({"'grey'": 2, "no value": 0, "'pink'": 1})
    "'grey' (2), 'pink' (1)"
    """
    positive_counts = +Counter(counts)
    texts = [f"{text} ({n})" for text, n in positive_counts.most_common(MAX_NAMES_SHOWN)]
    n_more = len(positive_counts) - len(texts)
    return ", ".join(texts) + (f" and {n_more} more" if n_more else "")


def _describe_row(cells: "pd.Series[Any]", is_valid: NDArray[np.bool_]) -> str:
    """Return the cells of a row that do not fit the target as text; all of them if only the row as a whole does not."""
    text = ", ".join(map(category_text, cells if is_valid.all() else cells[~is_valid]))
    return repr(text if len(text) <= MAX_VALUE_CHARACTERS else f"{text[:MAX_VALUE_CHARACTERS]}…")
