"""The tables that ``featx extract`` writes, and their checksums, which it writes last.

If an extraction is killed between two files, the tables do not match the checksums. Reading them then raises an error
that asks for another extraction, which writes all tables again.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from featx.errors import IncompleteError
from featx.files.atomic import file_lock, file_sha256, read_table
from featx.files.seals import read_sealed, write_sealed
from featx.specs.embedding import Decoding
from featx.study.embedding_lock import EMBEDDINGS

SPLIT = "split.parquet"
# The sealed file with the SHA-256 of each table, and the problem of the labels if there is no split.
EXTRACTION = "extraction.json"
LABEL_PROBLEM = "label_problem"
# The decoding by which all images with an outcome other than unreadable were decoded; absent if it is not known.
DECODING = "decoding"
# The required columns of each table.
TABLES = {
    "manifest.parquet": ("id", "uri", "digest"),
    SPLIT: ("id", "part"),
    "outcomes.parquet": ("id", "outcome", "reason"),
}
# All sealed files of an extraction.
SEALED_FILES = ("source.json", "split.json", EMBEDDINGS, EXTRACTION)


def read_extracted(folder: Path, name: str) -> pd.DataFrame:
    """Return one of `TABLES` from a study's folder.

    Raises
    ------
    IncompleteError
        The table does not match the checksums of the last extraction.
    """
    next_step = "run 'featx extract' again"
    checksums = read_sealed(folder / EXTRACTION, next_step)
    if name not in checksums:
        raise IncompleteError(f"{folder / EXTRACTION} names no {name}; {next_step}")
    return read_table(folder / name, "write it again with 'featx extract'", TABLES[name], str(checksums[name]))


def extraction_lock(folder: Path) -> AbstractContextManager[None]:
    """Return a context in which no other process writes the files of an extraction in a study's folder."""
    return file_lock(folder / ".extraction.lock")


def check_has_split(folder: Path) -> None:
    """Check that the last extraction could split the images.

    Raises
    ------
    IncompleteError
        There was a problem with the labels.
    """
    if problem := read_label_problem(folder):
        raise IncompleteError(
            f"the images have no split: {problem}; correct the recipe or the labels, then run 'featx extract' again"
        )


def read_label_problem(folder: Path) -> str:
    """Return the reason why the last extraction could not split the images; empty if it could."""
    return str(read_sealed(folder / EXTRACTION, "run 'featx extract' again").get(LABEL_PROBLEM, ""))


def read_decoding(folder: Path) -> Any:
    """Return the fields of the decoding by which the last extraction decoded its images; None if it is not known."""
    return read_sealed(folder / EXTRACTION, "run 'featx extract' again").get(DECODING)


def seal_extraction(folder: Path, label_problem: str = "", decoding: Decoding | None = None) -> None:
    """Write the checksums of an extraction's tables; as the last step, this reveals interrupted extractions.

    Parameters
    ----------
    folder
        The study's folder.
    label_problem
        Reason why there is no split, with the way out; empty if there is one.
    decoding
        The decoding by which all readable images were decoded; None if some were not.
    """
    names = [name for name in TABLES if not (label_problem and name == SPLIT)]
    fields: dict[str, Any] = {name: file_sha256(folder / name) for name in names}
    if label_problem:
        fields[LABEL_PROBLEM] = label_problem
    if decoding is not None:
        # The limit of bytes is no part of its identity, and decides which images can be read.
        fields[DECODING] = decoding.model_dump(mode="json")
    write_sealed(folder / EXTRACTION, fields)


def damaged_files(folder: Path) -> list[Path]:
    """Return the files of an extraction in a study's folder that exist and do not match their checksums."""
    readers: dict[str, Callable[[], object]] = {name: partial(read_sealed, folder / name) for name in SEALED_FILES}
    readers |= {name: partial(read_extracted, folder, name) for name in TABLES}
    return [folder / name for name, reader in readers.items() if (folder / name).is_file() and not _is_readable(reader)]


def _is_readable(reader: Callable[[], object]) -> bool:
    try:
        reader()
    except IncompleteError:
        return False
    return True
