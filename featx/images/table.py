"""A CSV, TSV or Parquet table with a path column and label columns."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pandas.errors import EmptyDataError, ParserError, ParserWarning

from featx.errors import DataError, ReadError
from featx.images.readers import is_image_name, listed
from featx.sources import labels_path, source_path
from featx.specs import LabelsSpec, ReaderSpec
from featx.tables import Manifest

SEPARATORS = {"comma": ",", "tab": "\t", "semicolon": ";", "whitespace": r"\s+"}
TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
# A trailing separator makes no index; "None" and "null" are words, gaps are these.
CSV: dict[str, Any] = {
    "skipinitialspace": True,
    "index_col": False,
    "keep_default_na": False,
    "na_values": ["", "NaN", "nan", "NA", "N/A", "n/a", "<NA>", "#N/A"],
}
LOOKED_AT = 50  # rows that must name images before a column is taken for the paths


class TableReader:
    """Reads a label table: its columns as they are, without the path column."""

    rank = 10

    def recognise(self, source: Path, labels: Path | None) -> ReaderSpec | None:
        """See `featx.images.readers.Reader`."""
        root = source if source.is_dir() else source.parent
        candidates = [labels] if labels else [source] if source.is_file() else sorted(root.iterdir())
        for file in candidates:
            if file.suffix.lower() not in TABLE_SUFFIXES:
                continue
            try:
                found = _recognise(root, file)
            except ReadError:
                if labels or source.is_file():
                    raise
                continue  # nobody said that this file is a label table
            if found:
                return ReaderSpec(source=str(root), labels=found)
        return None

    def read(self, data: ReaderSpec, folder: Path) -> Manifest:
        """See `featx.images.readers.Reader`."""
        if data.labels is None:
            raise DataError("data.labels: is missing; the reader 'table' needs a label table, 'labels = { file = … }'")
        file = labels_path(data, folder)
        frame = read_labels(file, data.labels)
        if data.labels.path not in frame.columns:
            known = ", ".join(map(str, frame.columns))
            raise DataError(f"data.labels.path: {file} has no column {data.labels.path!r}; columns: {known}")
        paths = frame.pop(data.labels.path)
        if paths.isna().any():
            raise DataError(
                f"{file}: {int(paths.isna().sum())} rows have no path, first row {int(paths.isna().argmax())}"
            )
        ids = paths.astype(str).str.strip()
        if twice := ids[ids.duplicated()].unique().tolist():
            raise DataError(
                f"{file}: {len(twice)} paths stand in several rows, first {twice[0]!r}; expected one row an image"
            )
        root = source_path(data.source, folder) / data.labels.root
        return listed(root, ids.tolist(), [root / name for name in ids], frame)


def read_labels(file: Path, spec: LabelsSpec) -> pd.DataFrame:
    """Read a label table; text cells lose the spaces around them.

    Raises
    ------
    ReadError
        it cannot be read or has other columns than `spec` says.
    """
    try:
        if file.suffix.lower() == ".parquet":
            frame = pd.read_parquet(file)
        else:
            header: Literal["infer"] | None = None if spec.columns else "infer"
            separator = SEPARATORS[spec.separator] if spec.separator else sniffed(file)
            with warnings.catch_warnings():
                warnings.simplefilter("error", ParserWarning)  # rows wider than the header would be cut
                frame = pd.read_csv(file, sep=separator, header=header, encoding="utf-8-sig", **CSV)
    except (OSError, ValueError, ParserError, ParserWarning, EmptyDataError) as error:
        raise ReadError(f"{file} cannot be read as a table: {str(error).splitlines()[0]}") from error
    if spec.columns:
        if len(spec.columns) != frame.shape[1]:
            raise ReadError(f"{file} has {frame.shape[1]} columns; data.labels.columns names {len(spec.columns)}")
        frame.columns = pd.Index(spec.columns)
    texts = frame.select_dtypes(["object", "str"]).columns
    frame[texts] = frame[texts].map(lambda cell: cell.strip() if isinstance(cell, str) else cell)
    return frame.rename(columns=str)


def sniffed(file: Path) -> str:
    """Return the separator that the first line of a text table uses."""
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        first = lines.readline()
    return next((SEPARATORS[name] for name in ("tab", "semicolon", "comma") if SEPARATORS[name] in first), r"\s+")


def _recognise(root: Path, file: Path) -> LabelsSpec | None:
    """Say how to read `file` where one of its columns names images at or one folder below `root`."""
    place = os.path.relpath(file, root)
    for spec in _ways_to_read(file, place):
        frame = read_labels(file, spec)
        for column in frame.columns:
            names = frame[column].head(LOOKED_AT).astype(str)
            if sum(is_image_name(Path(name)) for name in names) > len(names) / 2:
                # The first line names an image too: it is no header.
                if spec.columns is None and is_image_name(Path(column)):
                    break
                return spec.model_copy(update={"path": column, "root": _root_of(root, names.tolist())})
    return None


def _ways_to_read(file: Path, place: str) -> Iterator[LabelsSpec]:
    if file.suffix.lower() == ".parquet":
        yield LabelsSpec(file=place)
        return
    separator = next(name for name, text in SEPARATORS.items() if text == sniffed(file))
    with_header = LabelsSpec.model_validate({"file": place, "separator": separator})
    yield with_header
    n_columns = read_labels(file, with_header).shape[1]
    yield with_header.model_copy(update={"columns": ("path", *(f"column{i}" for i in range(2, n_columns + 1)))})


def _root_of(root: Path, names: list[str]) -> str:
    """Return the folder below `root` in which most of `names` lie; ``.`` where none does better."""
    folders = [root, *sorted(child for child in root.iterdir() if child.is_dir())]
    best = max(folders, key=lambda folder: sum((folder / name).is_file() for name in names))
    return best.relative_to(root).as_posix()
