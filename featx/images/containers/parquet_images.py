"""Parquet files that hold the images themselves, as Hugging Face's datasets are published."""

import os
import re
import weakref
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from featx.errors import DataError, ReadError
from featx.files.atomic import file_state
from featx.files.parsing import MAX_TABLE_VALUES, ParseError, parse_json
from featx.files.table_files import index_to_columns
from featx.images.containers.array_pairing import IMAGE_MAGICS
from featx.images.contents import FileState, check_size, file_uri, oversize_reason
from featx.images.names import file_suffix, find_part
from featx.images.readers import Listing
from featx.images.sources import open_tree
from featx.images.split_columns import join_labels
from featx.images.trees import Entry
from featx.images.unpacking import unpack
from featx.locations import resolve_source
from featx.specs.data import ReaderSpec

PARQUET_SUFFIX = ".parquet"
# Rows that are decoded at a time: a small file can state large equal values.
ROWS_PER_BATCH = 1
# Number of row groups whose images stay unpacked in temporary files.
MAX_UNPACKED_GROUPS = 8
# Rows that are inspected for the first bytes of an image.
N_INSPECTED_ROWS = 3
# Name under which pandas stores an index without a name, or with that of a column.
UNNAMED_INDEX = re.compile(r"__index_level_\d+__")


class ParquetImageReader:
    """Reads rows of Parquet files with a column of images in bytes; the other columns are the labels."""

    rank = 4

    def recognise(self, source: str, labels: str | None, target: str | None = None) -> ReaderSpec | None:
        """Return how to read the source if its Parquet files have a column of images, otherwise None."""
        if labels is not None:
            return None
        for file, _ in _list_parquet_files(source):
            try:
                if find_image_column(file):
                    return ReaderSpec(source=source, reader="parquet")
            # A table of labels that cannot be read is reported by the reader of tables.
            except ReadError:
                continue
        return None

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """Return all rows of the Parquet files with their labels."""
        place = resolve_source(data.source, folder)
        if not Path(place).exists():
            raise DataError(f"data.source: {data.source!r} does not exist; expected Parquet files with images")
        entries: list[Entry] = []
        frames: list[pd.DataFrame] = []
        rules: dict[str, str] = {}
        for file, name in _list_parquet_files(place):
            column = find_image_column(file)
            if not column:
                rules[name] = "is a Parquet file without a column of images"
                continue
            frame = _read_labels(file, column)
            part = find_part(name)
            frames.append(frame.assign(split=part) if part and "split" not in frame else frame)
            state = file_state(file)
            uri = f"parquet:{file_uri(str(file.absolute()))}//{column}/"
            entries += [
                Entry(f"{name}#{row}", f"{uri}{row}", state[1:] if state else None) for row in range(len(frame))
            ]
        if Path(place).is_dir():
            other_entries = [entry for entry in open_tree(place).entries() if file_suffix(entry.name) != PARQUET_SUFFIX]
            rules |= {entry.name: entry.non_image_reason for entry in other_entries}
        return Listing.from_entries(entries, join_labels(frames), rules).with_complete_split()


def read_parquet_image(location: str) -> bytes:
    """Return one image of ``/path/to/file.parquet//column/17``.

    Errors are those of `featx.images.sources.read_content`.
    """
    path, _, row_path = location.partition("//")
    column, _, row = row_path.rpartition("/")
    state = file_state(path)
    if state is None:
        raise FileNotFoundError(path)
    try:
        starts = _find_group_starts(path, state[1:])
        group = bisect_right(starts, int(row)) - 1
        return _UnpackedGroup.open(path, state[1:], column, group).read(int(row) - starts[group])
    except ReadError:
        raise
    except DataError as error:
        raise ReadError(str(error)) from error
    # The errors of Arrow for damaged files have no common base class.
    except Exception as error:
        raise ReadError(f"cannot be read from its Parquet file: {_format_error(error)}") from error


def find_image_column(file: Path) -> str:
    """Return the column that holds images: bytes, or a struct with ``bytes``; empty if there is none.

    Raises
    ------
    ReadError
        it is not a Parquet file.
    """
    import pyarrow as pa

    try:
        with _open(file) as parquet:
            schema, n_groups = parquet.schema_arrow, parquet.num_row_groups
            for field in schema:
                if pa.types.is_struct(field.type):
                    names = [field.type.field(number).name for number in range(field.type.num_fields)]
                    if "bytes" in names and _is_binary(field.type.field("bytes").type):
                        return f"{field.name}.bytes"
                if _is_binary(field.type) and n_groups and _has_images(parquet, field.name):
                    return str(field.name)
    except ReadError:
        raise
    # The errors of Arrow for damaged files have no common base class.
    except Exception as error:
        raise ReadError(f"{file} cannot be read as Parquet: {_format_error(error)}") from error
    return ""


def _open(file: Path | str) -> Any:
    from pyarrow.parquet import ParquetFile

    return ParquetFile(file)


def _format_error(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _is_binary(dtype: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype))


def _has_images(parquet: Any, column: str) -> bool:
    values = _iterate_values(parquet, column, 0)
    return any(value.startswith(IMAGE_MAGICS) for _, value in zip(range(N_INSPECTED_ROWS), values, strict=False))


def _iterate_values(parquet: Any, column: str, group: int) -> Iterator[bytes]:
    """Yield the values of a column in one row group, one by one; a missing value is empty."""
    for batch in parquet.iter_batches(
        batch_size=ROWS_PER_BATCH, row_groups=[group], columns=[column], use_threads=False
    ):
        values = batch.column(0)
        if column.endswith(".bytes") and values.type.num_fields:
            values = values.field("bytes")
        for value in values:
            # A value is copied only if it is small enough.
            n_bytes = 0 if not value.is_valid else value.as_buffer().size
            if reason := oversize_reason(n_bytes):
                raise ReadError(reason)
            yield value.as_py() if n_bytes else b""


def _list_parquet_files(source: str) -> list[tuple[Path, str]]:
    """Return the Parquet files of a source, each with its name relative to it."""
    path = Path(source)
    if path.is_file():
        return [(path, path.name)] if file_suffix(path.name) == PARQUET_SUFFIX else []
    if not path.is_dir():
        return []
    return [(path / entry.name, entry.name) for entry in open_tree(source).entries().readable(PARQUET_SUFFIX)]


@lru_cache(maxsize=256)
def _find_group_starts(path: str, state: FileState) -> list[int]:
    """Return the number of the first row of each row group."""
    with _open(path) as parquet:
        metadata = parquet.metadata
        n_rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    return [0, *accumulate(n_rows)][:-1]


class _UnpackedGroup:
    """The images of one row group in a temporary file without a name; several threads may read it.

    Parameters
    ----------
    path
        Path of the Parquet file.
    column
        Column of images.
    group
        Number of the row group.
    """

    def __init__(self, path: str, column: str, group: int) -> None:
        self._ends: list[int] = []
        with _open(path) as parquet:
            self._stream: IO[bytes] = unpack(self._record_ends(_iterate_values(parquet, column, group)), path)
        # A reader in another thread may still use the group when the cache drops it.
        weakref.finalize(self, self._stream.close)

    def _record_ends(self, values: Iterator[bytes]) -> Iterator[bytes]:
        end = 0
        for value in values:
            end += len(value)
            self._ends.append(end)
            yield value

    @staticmethod
    @lru_cache(maxsize=MAX_UNPACKED_GROUPS)
    def open(path: str, state: FileState, column: str, group: int) -> "_UnpackedGroup":
        """Return the unpacked images of a row group; those used last stay unpacked."""
        return _UnpackedGroup(path, column, group)

    def read(self, row: int) -> bytes:
        """Return the image in a row of the group."""
        start, end = self._ends[row - 1] if row else 0, self._ends[row]
        if start == end:
            raise ReadError("has no bytes in the Parquet file, only a path or nothing")
        check_size(end - start)
        return os.pread(self._stream.fileno(), end - start, start)


def _read_labels(file: Path, image_column: str) -> pd.DataFrame:
    """Return the columns beside the images; class names of Hugging Face's metadata replace their numbers.

    Raises
    ------
    DataError
        they cannot be read, or a class has no name.
    """
    image = image_column.removesuffix(".bytes")
    try:
        with _open(file) as parquet:
            schema, n_rows = parquet.schema_arrow, parquet.metadata.num_rows
            names = [name for name in schema.names if name != image and not UNNAMED_INDEX.fullmatch(name)]
            n_values = n_rows * max(1, len(names))
            is_small = n_values <= MAX_TABLE_VALUES
            frame = parquet.read(columns=names).to_pandas() if names and is_small else pd.DataFrame(index=range(0))
            frame = index_to_columns(frame)
    # The errors of Arrow for damaged files have no common base class.
    except Exception as error:
        raise DataError(f"{file} cannot be read as Parquet: {_format_error(error)}") from error
    if not is_small:
        raise DataError(f"{file} states {n_values} values, expected at most {MAX_TABLE_VALUES}")
    frame = frame if names else pd.DataFrame(index=range(n_rows))
    for name, (class_names, is_list) in _read_class_names(schema.metadata or {}).items():
        if name in frame.columns:
            frame = _name_classes(frame, name, class_names, is_list, file)
    return frame


def _read_class_names(metadata: Mapping[bytes, bytes]) -> dict[str, tuple[list[str], bool]]:
    """Return the class names of each column that Hugging Face's metadata define, and whether it holds lists."""
    try:
        features = parse_json(metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ParseError, KeyError, TypeError):
        return {}
    names: dict[str, tuple[list[str], bool]] = {}
    for column, feature in features.items() if isinstance(features, dict) else ():
        is_list = isinstance(feature, dict) and isinstance(feature.get("feature"), dict)
        inner = feature["feature"] if is_list else feature
        class_names = inner.get("names") if isinstance(inner, dict) else None
        if isinstance(class_names, list) and all(isinstance(name, str) for name in class_names):
            names[column] = class_names, is_list
    return names


def _name_classes(frame: pd.DataFrame, column: str, names: Sequence[str], is_list: bool, file: Path) -> pd.DataFrame:
    """Return the table with names for the numbers of a column; a column of lists becomes one column of 0/1 per name."""
    if is_list:
        rows = [set() if values is None else set(values) for values in frame[column]]
        numbers = set().union(*rows)
    else:
        # Rows without a class have -1.
        codes = frame[column].where(frame[column] != -1)
        numbers = set(codes.dropna())
    if unknown_numbers := [number for number in numbers if number not in range(len(names))]:
        raise DataError(
            f"{file}: column {column!r} holds {unknown_numbers[0]!r}, but its metadata name {len(names)} classes"
        )
    if not is_list:
        class_names = [None if pd.isna(code) else names[int(code)] for code in codes]
        frame = frame.copy(deep=False)
        frame[column] = np.array(class_names, dtype=object)
        return frame
    columns = {name: np.array([number in row for row in rows], dtype=np.int64) for number, name in enumerate(names)}
    other_columns = frame.drop(columns=column)
    if repeated_names := columns.keys() & set(other_columns.columns):
        raise DataError(
            f"{file}: class {min(repeated_names)!r} of {column!r} has the name of another column; rename it"
        )
    return pd.concat([other_columns, pd.DataFrame(columns, index=frame.index)], axis=1)
