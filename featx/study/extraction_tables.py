"""The tables that ``featx extract`` leaves, and their checksums, which it writes last.

An extraction that is killed between two of its files leaves tables that do not match the checksums: whoever reads them
is told to extract again, which writes all of them anew.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from featx.errors import IncompleteError
from featx.files.atomic import read_table, sha256_of
from featx.files.seals import read_sealed, write_sealed

# Each table with the columns that it has at least.
TABLES = {
    "manifest.parquet": ("id", "uri", "digest"),
    "split.parquet": ("id", "part"),
    "outcomes.parquet": ("id", "outcome", "reason"),
}
EXTRACTION = "extraction.json"  # name → SHA-256 of each of the tables, sealed


def read_extracted(folder: Path, name: str) -> pd.DataFrame:
    """Return one of `TABLES` out of a study's folder.

    Raises
    ------
    IncompleteError
        It is not the one with which the last extraction ended.
    """
    remedy = "run 'featx extract' again"
    checksums = read_sealed(folder / EXTRACTION, remedy)
    if name not in checksums:
        raise IncompleteError(f"{folder / EXTRACTION} names no {name}; {remedy}")
    return read_table(folder / name, "featx extract", TABLES[name], str(checksums[name]))


def seal_extraction(folder: Path) -> None:
    """Write the checksums of an extraction's tables: its last step, so that an interrupted one is noticed."""
    write_sealed(folder / EXTRACTION, {name: sha256_of(folder / name) for name in TABLES})


def damaged_files(folder: Path, sealed_names: Sequence[str]) -> list[Path]:
    """Return the files of an extraction that are there and are not as they were written.

    Parameters
    ----------
    folder
        The study's folder.
    sealed_names
        The sealed files that belong to it beside the tables and their checksums.
    """
    reads: dict[str, Callable[[], object]] = {
        name: partial(read_sealed, folder / name) for name in (*sealed_names, EXTRACTION)
    }
    reads |= {name: partial(read_extracted, folder, name) for name in TABLES}
    return [folder / name for name, read in reads.items() if (folder / name).is_file() and not _is_readable(read)]


def _is_readable(read: Callable[[], object]) -> bool:
    try:
        read()
    except IncompleteError:
        return False
    return True
