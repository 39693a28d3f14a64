"""Files of vectors that were made elsewhere: ``ids`` (n,) and ``x`` (n, d) in npz, HDF5 or Parquet, without pickle."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError, ReadError
from featx.files.atomic import file_sha256, file_state
from featx.files.parsing import ParseError, parse_with
from featx.images.array_files import open_datasets, skipped_datasets
from featx.specs.embedding import VECTOR_SUFFIXES
from featx.tables.ids import Ids

EXPECTED = "expected 'ids' (n,) of text and 'x' (n, d) of float16, float32 or float64"


@dataclass(frozen=True, eq=False)
class VectorFile:
    """The vectors of a file.

    Attributes
    ----------
    file
        The file.
    state
        State of the file (`featx.files.atomic.file_state`).
    sha256
        SHA-256 of its content.
    ids
        (n,) ids, each once.
    x
        (n, d) numbers in the file's type, which may be mapped.
    """

    file: Path
    state: tuple[str, int, int]
    sha256: str
    ids: NDArray[np.object_]
    x: NDArray[np.floating]

    @property
    def n_features(self) -> int:
        """Number of features d."""
        return int(self.x.shape[1])

    def take(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the vectors of some rows.

        Raises
        ------
        DataError
            a vector holds nan, infinity or a number that is too large for float32.
        """
        with np.errstate(over="ignore"):
            x = np.asarray(self.x[rows], dtype=np.float32)
        if (is_invalid := ~np.isfinite(x).all(axis=1)).any():
            raise DataError(
                f"{self.file}: {int(is_invalid.sum())} of {len(x)} vectors hold nan, infinity or numbers too large for "
                f"float32, first that of {self.ids[rows[is_invalid.argmax()]]!r}; expected finite numbers"
            )
        return x


def read_vector_file(file: Path) -> VectorFile:
    """Return the vectors of a file, whose ids and shapes are checked.

    Raises
    ------
    DataError
        there is no such file, it cannot be read, or its content is not as described.
    """
    if file.suffix not in VECTOR_SUFFIXES:
        raise DataError(f"vectors: found {str(file)!r}, expected a file *{', *'.join(VECTOR_SUFFIXES)}")
    state = file_state(file)
    if state is None:
        raise DataError(f"vectors: there is no {file}; {EXPECTED}")
    sha256 = file_sha256(file)
    ids, x = _read_parquet_columns(file) if file.suffix == ".parquet" else _read_array_columns(file)
    if x.dtype.kind != "f" or x.dtype.itemsize > 8 or x.ndim != 2 or not x.shape[1]:
        raise DataError(f"{file}: x is {x.dtype} of shape {x.shape}; {EXPECTED}")
    texts = _decode_ids(file, ids)
    if len(texts) != len(x):
        raise DataError(f"{file}: found {len(texts)} ids and {len(x)} rows of x, expected one row for each id")
    if (is_repeated := pd.Index(texts).duplicated()).any():
        raise DataError(
            f"{file}: {int(is_repeated.sum())} of {len(texts)} ids occur again, first {texts[is_repeated.argmax()]!r}; "
            "expected each id once"
        )
    if file_state(file) != state:
        raise DataError(f"{file} was changed while it was read; run again when it is complete")
    return VectorFile(file, state, sha256, texts, x)


def _read_array_columns(file: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the ids and vectors of an npz or HDF5 file."""
    try:
        arrays, skipped_reasons = open_datasets(file), skipped_datasets(file)
    except ReadError as error:
        raise DataError(f"{error}; {EXPECTED}") from error
    _check_names(file, list(arrays), skipped_reasons)
    return np.asarray(arrays["ids"][:]), np.asarray(arrays["x"][:])


def _read_parquet_columns(file: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the ids and vectors of a Parquet file, whose vectors are one column of lists."""
    import pyarrow as pa
    from pyarrow import compute, parquet

    try:
        names = parse_with("a Parquet table", lambda: parquet.read_schema(file).names)
        _check_names(file, names, {})
        table = parse_with("a Parquet table", lambda: parquet.read_table(file, columns=["ids", "x"]))
        parse_with("a Parquet table", lambda: table.validate(full=True))
    except ParseError as error:
        raise DataError(f"{file} {error}; {EXPECTED}") from error
    lists = table["x"].combine_chunks()
    is_list = pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)
    if not (is_list or pa.types.is_fixed_size_list(lists.type)):
        raise DataError(f"{file}: x is a column of {lists.type}; {EXPECTED}, in Parquet as lists of length d")
    lengths = compute.list_value_length(lists).fill_null(-1).to_numpy(zero_copy_only=False)
    if len(np.unique(lengths)) > 1 or (lengths < 0).any():
        raise DataError(f"{file}: x has lists of length {lengths.min()} to {lengths.max()} (-1: null); {EXPECTED}")
    values = lists.flatten().to_numpy(zero_copy_only=False)
    d = int(lengths[0]) if len(lengths) else 0
    return table["ids"].to_pandas().to_numpy(object), values.reshape(len(lengths), d)


def _check_names(file: Path, names: list[str], skipped_reasons: Mapping[str, str]) -> None:
    """Check that a file holds ids and vectors.

    Parameters
    ----------
    file
        The file.
    names
        Names of its arrays that can be read.
    skipped_reasons
        Reason by name of its other arrays.

    Raises
    ------
    DataError
        it lacks one of them.
    """
    for name in ("ids", "x"):
        if name in skipped_reasons:
            raise DataError(f"{file}: {name!r} {skipped_reasons[name].partition(',')[0]}; {EXPECTED}")
        if name not in names:
            raise DataError(f"{file} has no {name!r}; found {', '.join(names) or 'nothing'}, {EXPECTED}")


def _decode_ids(file: Path, ids: NDArray[Any]) -> NDArray[np.object_]:
    """Return ids of fixed or variable width as text."""
    try:
        texts = [value.decode() if isinstance(value, bytes) else value for value in ids.tolist()]
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: ids are not UTF-8 ({error}); {EXPECTED}") from error
    if ids.ndim != 1 or (invalid_ids := [value for value in texts if not isinstance(value, str)]):
        first_text = "" if ids.ndim != 1 else f", first {invalid_ids[0]!r}"
        raise DataError(f"{file}: ids are {ids.dtype} of shape {ids.shape}{first_text}; {EXPECTED}")
    return np.array(texts, dtype=object)


def find_positions(available_ids: Ids, ids: Ids) -> NDArray[np.intp]:
    """Return (n,) the position of each id among those available; -1 where it is missing."""
    return np.asarray(pd.Index(available_ids).get_indexer(pd.Index(ids)), dtype=np.intp)
