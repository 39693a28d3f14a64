"""Results of analyses: tables, facts, and highlights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from featx.exploration.explored_images import ExploredImages
from featx.progress import ProgressCallback


@dataclass(frozen=True)
class Highlight:
    """One notable result, for the summary of the terminal and the page.

    Attributes
    ----------
    text
        One sentence of at most about 150 characters: what was found, how many, the first example.
    rank
        Position among all highlights: the terminal prints those with the lowest ranks. 0: results would be wrong
        (leaks, shortcuts); 1: the data should be corrected (labels, copies); 2: worth a look.
    is_warning
        Whether it is a problem, and not only a fact.
    """

    text: str
    rank: int = 2
    is_warning: bool = True


@dataclass(frozen=True, eq=False)
class AnalysisResult:
    """Result of one analysis.

    Attributes
    ----------
    tables
        Name that is unique over all analyses → table, written as Parquet and CSV. Rows about images have a column
        ``id``; columns are snake_case with their unit.
    facts
        Numbers and texts that JSON can hold.
    highlights
        Notable results.
    notes
        Reasons why the analysis, or a part of it, was not made, as sentences.
    arrays
        Arrays that the page shows and no table holds.
    """

    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    highlights: tuple[Highlight, ...] = ()
    notes: tuple[str, ...] = ()
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


# An analysis reports the progress of what takes longer than some seconds.
Analysis = Callable[[ExploredImages, ProgressCallback], AnalysisResult]


def count_text(n: int, noun: str, nouns: str = "") -> str:
    """Return a number with its noun; the plural ends in s unless it is given.

    Examples
    --------
    >>> count_text(1, "image"), count_text(1200, "image"), count_text(2, "pair of copies", "pairs of copies")
    ('1 image', '1,200 images', '2 pairs of copies')
    """
    return f"{n:,} {noun if n == 1 else nouns or f'{noun}s'}"
