"""Export vectors for other software, to NumPy, HDF5 or Parquet files with one row for each image."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.cache.cache_place import Cache
from featx.cache.exported_columns import Columns, study_columns
from featx.embeddings.read import locked_store
from featx.embeddings.space import free_bytes, gigabytes
from featx.errors import DataError, StoreError
from featx.progress import ProgressCallback, no_progress
from featx.registry import suggest_names
from featx.specs.recipe import Recipe
from featx.storage.checks import open_store
from featx.storage.leases import atomic_output
from featx.storage.places import STORE_SUFFIX
from featx.storage.store import EmbeddingStore
from featx.study.folders import cache_place
from featx.study.study import Study

BLOCK_ROWS = 4096


@dataclass(frozen=True)
class ExportedVectors:
    """An exported file of vectors.

    Attributes
    ----------
    file
        The file.
    embedding
        Name of the embedding or of the store.
    n, n_features
        Number of rows, and d.
    columns
        Names of the columns beside ``x`` (n, d): ``digests``, and for a recipe's embedding ``ids``, ``split``,
        ``target.NAME``, ``group.NAME`` and ``split_by``.
    warnings
        Reason why there are no labels and parts.
    """

    file: str
    embedding: str
    n: int
    n_features: int
    columns: list[str]
    warnings: list[str]


# Writes a block of vectors; takes the number of its first row and the vectors.
WriteBlock = Callable[[int, NDArray[Any]], None]


def export(
    embedding: str,
    file: str | Path,
    recipe: str | Path | Recipe | None = None,
    *,
    cache: str | Path | None = None,
    progress: ProgressCallback = no_progress,
) -> ExportedVectors:
    """Write the vectors of a store, or of a recipe's images with their labels, groups and parts.

    Labels are those of train and val: test labels stay sealed, and are missing in the file.

    Parameters
    ----------
    embedding
        Name of a recipe's embedding (`featx.specs.EmbeddingRequest.is_called`), for one row for each of its images. Or
        the name of a store or its beginning, for one row for each image in it.
    file
        File to write; its name ends in ``.npz``, ``.h5`` or ``.parquet``.
    recipe
        The recipe whose cache it is; by default that of the working directory.
    cache
        Another folder or URL.
    progress
        Called after each block of rows.

    Raises
    ------
    DataError
        no embedding has this name, or several have, it has no vectors, or the file has another ending.
    StoreError
        the disk has no room for the file.
    """
    file = Path(file)
    if file.suffix not in WRITERS:
        raise DataError(f"{file}: found the ending {file.suffix!r}, expected one of {', '.join(WRITERS)}")
    place = Cache.find(recipe, cache)
    source = _recipe_source(place, embedding, cache) or _store_source(place, embedding)
    store, columns = source.store, source.columns
    n, d = len(columns["digests"]), store.n_features
    if not n:
        raise DataError(f"{source.name} has no vectors, so that nothing is written; run 'featx extract' first")
    if (n_bytes := n * d * store.dtype.itemsize) > free_bytes(file.parent):
        raise StoreError(f"{file} would take {gigabytes(n_bytes)}, {gigabytes(free_bytes(file.parent))} are free there")
    with (
        atomic_output(file) as private_file,
        WRITERS[file.suffix](private_file, columns, (n, d), store.dtype) as write_block,
    ):
        for start in range(0, n, BLOCK_ROWS):
            write_block(start, store.read(columns["digests"][start : start + BLOCK_ROWS].tolist()))
            progress("export", min(start + BLOCK_ROWS, n), n)
    return ExportedVectors(str(file), source.name, n, d, list(columns), source.warnings)


@dataclass(frozen=True)
class _Source:
    """A store, and the columns that are written beside its vectors."""

    name: str
    store: EmbeddingStore
    columns: Columns
    warnings: list[str]


def _recipe_source(place: Cache, name: str, cache: str | Path | None) -> _Source | None:
    """Return the recipe's embedding called `name`; None if there is no recipe, or none of its embeddings is."""
    if place.recipe is None:
        return None
    study = Study(place.recipe)
    embeddings = [embedding for embedding in study.locked if embedding.request.is_called(name)]
    if len(embeddings) > 1:
        names = ", ".join(embedding.request.name for embedding in embeddings)
        raise DataError(f"{len(embeddings)} embeddings are called {name!r}: {names}")
    if not embeddings:
        return None
    store = locked_store(cache_place(cache) if cache else study.cache, embeddings[0])
    problem = study.label_problem
    warnings = [f"there are no labels and no split: {problem}"] if problem else []
    return _Source(embeddings[0].request.name, store, study_columns(study), warnings)


def _store_source(place: Cache, name: str) -> _Source:
    """Return all rows of the store whose name begins with `name`."""
    stores = [store for store in place.all_stores.segment_stores() or () if store.name.startswith(name)]
    if len(stores) > 1:
        raise DataError(f"several stores begin with {name!r}: {', '.join(store.name for store in stores)}")
    if not stores:
        locked_embeddings = () if place.recipe is None else Study(place.recipe).locked
        names = [
            *(embedding.request.name for embedding in locked_embeddings),
            *(store.name for store in place.stores()),
        ]
        raise DataError(f"no extracted embedding or store is called {name!r}; {suggest_names(name, names)}")
    store = open_store(stores[0].place)
    columns: Columns = {"digests": np.array(store.digests, dtype=object)}
    return _Source(stores[0].name.removesuffix(STORE_SUFFIX), store, columns, [])


def _is_text(values: NDArray[Any]) -> bool:
    return values.dtype == object


def _fill_gaps(values: NDArray[Any]) -> NDArray[Any]:
    """Return a column whose missing texts are empty, for formats without missing values."""
    return np.where(pd.isna(values), "", values).astype(object) if _is_text(values) else values


@contextmanager
def _npz(file: Path, columns: Columns, shape: tuple[int, int], dtype: np.dtype[Any]) -> Iterator[WriteBlock]:
    x = np.empty(shape, dtype)

    def write_block(start: int, rows: NDArray[Any]) -> None:
        x[start : start + len(rows)] = rows

    yield write_block
    # Text of fixed width needs no pickle.
    arrays: dict[str, Any] = {
        name: _fill_gaps(values).astype(str) if _is_text(values) else values for name, values in columns.items()
    }
    with file.open("wb") as opened_file:
        np.savez(opened_file, x=x, **arrays)


@contextmanager
def _hdf5(file: Path, columns: Columns, shape: tuple[int, int], dtype: np.dtype[Any]) -> Iterator[WriteBlock]:
    import h5py

    with h5py.File(file, "w") as opened_file:
        x = opened_file.create_dataset("x", shape, dtype)

        def write_block(start: int, rows: NDArray[Any]) -> None:
            x[start : start + len(rows)] = rows

        yield write_block
        for name, values in columns.items():
            dtype_in_file = h5py.string_dtype() if _is_text(values) else np.dtype(np.float64)
            opened_file.create_dataset(name, data=_fill_gaps(values), dtype=dtype_in_file)


@contextmanager
def _parquet(file: Path, columns: Columns, shape: tuple[int, int], dtype: np.dtype[Any]) -> Iterator[WriteBlock]:
    import pyarrow as pa
    from pyarrow import parquet

    vector = pa.list_(pa.from_numpy_dtype(dtype.newbyteorder("=")), shape[1])
    types = {name: pa.string() if _is_text(values) else pa.float64() for name, values in columns.items()}
    schema = pa.schema([*types.items(), ("x", vector)])
    with parquet.ParquetWriter(file, schema) as opened_file:

        def write_block(start: int, rows: NDArray[Any]) -> None:
            arrays = [
                pa.array(values[start : start + len(rows)], types[name], from_pandas=True)
                for name, values in columns.items()
            ]
            flat_values = pa.array(rows.astype(rows.dtype.newbyteorder("=")).reshape(-1))
            opened_file.write_table(
                pa.table([*arrays, pa.FixedSizeListArray.from_arrays(flat_values, shape[1])], schema=schema)
            )

        yield write_block


WRITERS = {".npz": _npz, ".h5": _hdf5, ".parquet": _parquet}
