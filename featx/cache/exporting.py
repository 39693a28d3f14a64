"""Vectors for other software: NumPy, HDF5 or Parquet, each image once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.cache.cache_place import Cache
from featx.embeddings.read import locked_embeddings
from featx.embeddings.space import free_bytes, gigabytes
from featx.errors import DataError, StoreError
from featx.files.atomic import whole_file
from featx.progress import ProgressCallback, no_progress
from featx.specs.recipe import Recipe
from featx.storage.checks import open_store
from featx.storage.places import SUFFIX
from featx.storage.store import EmbeddingStore
from featx.study.study import Study

BLOCK_ROWS = 4096
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class ExportedVectors:
    """A file with vectors.

    Attributes
    ----------
    file
        Holds ``digest`` (n,) text, ``x`` (n, d), and for a recipe's embedding ``id`` (n,) and ``part`` (n,) text.
    embedding
        Which one.
    n, n_features
        Its rows and d.
    """

    file: str
    embedding: str
    n: int
    n_features: int


Columns = dict[str, NDArray[Any]]
Put = Callable[[int, NDArray[Any]], None]  # the first row of a block, and its vectors


def export(
    embedding: str,
    file: str | Path,
    recipe: str | Path | Recipe | None = None,
    *,
    cache: str | Path | None = None,
    progress: ProgressCallback = no_progress,
) -> ExportedVectors:
    """Write the vectors of a store, or of a recipe's images.

    Parameters
    ----------
    embedding
        A recipe's embedding (`featx.specs.EmbeddingRequest.is_called`): a row each of its images. Or a store's name or
        how it begins: a row each of all that it holds.
    file
        Ends in ``.npz``, ``.h5`` or ``.parquet``.

    Raises
    ------
    DataError
        no embedding is called so, or several, or the file's ending is another.
    StoreError
        the disk does not hold it.
    """
    file = Path(file)
    if file.suffix not in WRITERS:
        raise DataError(f"{file}: found the ending {file.suffix!r}, expected one of {', '.join(WRITERS)}")
    place = Cache.of(recipe, cache)
    stores = [store for store in place.everything.shelves() or () if store.name.startswith(embedding)]
    if len(stores) > 1:
        raise DataError(f"several stores begin with {embedding!r}: {', '.join(store.name for store in stores)}")
    store, columns = _all_of(open_store(stores[0].place)) if stores else _images_of(place, embedding)
    n, d = len(columns["digest"]), store.n_features
    if (needed := n * d * store.dtype.itemsize) > free_bytes(file.parent):
        raise StoreError(f"{file} would take {gigabytes(needed)}, {gigabytes(free_bytes(file.parent))} are free there")
    with whole_file(file) as private, WRITERS[file.suffix](private, columns, (n, d), store.dtype) as put:
        for start in range(0, n, BLOCK_ROWS):
            put(start, store.read(columns["digest"][start : start + BLOCK_ROWS].tolist()))
            progress("export", min(start + BLOCK_ROWS, n), n)
    return ExportedVectors(str(file), embedding if not stores else stores[0].name.removesuffix(SUFFIX), n, d)


def _all_of(store: EmbeddingStore) -> tuple[EmbeddingStore, Columns]:
    return store, {"digest": np.array(store.digests, dtype=object)}


def _images_of(place: Cache, embedding: str) -> tuple[EmbeddingStore, Columns]:
    if place.recipe is None:
        raise DataError(
            f"no store in {place.everything.place} begins with {embedding!r}, and no recipe is named that has one"
        )
    study = Study(place.recipe)
    found = locked_embeddings(study, embedding)
    if len(found) > 1:
        raise DataError(
            f"{len(found)} embeddings are called {embedding!r}: {', '.join(one.request.name for one in found)}"
        )
    ids = {part: study.ids(part) for part in PARTS}
    every = np.concatenate(list(ids.values()))
    store = EmbeddingStore(study.store_path(found[0].spec), found[0].spec, found[0].n_features)
    parts = np.repeat(np.array(PARTS, dtype=object), [len(some) for some in ids.values()])
    return store, {"id": every, "part": parts, "digest": study.manifest.take(every).digests}


@contextmanager
def _npz(file: Path, columns: Columns, shape: tuple[int, int], dtype: np.dtype[Any]) -> Iterator[Put]:
    x = np.empty(shape, dtype)

    def put(start: int, rows: NDArray[Any]) -> None:
        x[start : start + len(rows)] = rows

    yield put
    with file.open("wb") as opened:
        texts: dict[str, Any] = {name: values.astype(str) for name, values in columns.items()}
        np.savez(opened, x=x, **texts)


@contextmanager
def _hdf5(file: Path, columns: Columns, shape: tuple[int, int], dtype: np.dtype[Any]) -> Iterator[Put]:
    import h5py

    with h5py.File(file, "w") as opened:
        x = opened.create_dataset("x", shape, dtype)

        def put(start: int, rows: NDArray[Any]) -> None:
            x[start : start + len(rows)] = rows

        yield put
        for name, values in columns.items():
            opened.create_dataset(name, data=values.astype(object), dtype=h5py.string_dtype())


@contextmanager
def _parquet(file: Path, columns: Columns, shape: tuple[int, int], dtype: np.dtype[Any]) -> Iterator[Put]:
    import pyarrow as pa
    from pyarrow import parquet

    vector = pa.list_(pa.from_numpy_dtype(dtype.newbyteorder("=")), shape[1])
    schema = pa.schema([*((name, pa.string()) for name in columns), ("x", vector)])
    with parquet.ParquetWriter(file, schema) as opened:

        def put(start: int, rows: NDArray[Any]) -> None:
            texts = [pa.array(values[start : start + len(rows)].tolist(), pa.string()) for values in columns.values()]
            flat = pa.array(rows.astype(rows.dtype.newbyteorder("=")).reshape(-1))
            opened.write_table(pa.table([*texts, pa.FixedSizeListArray.from_arrays(flat, shape[1])], schema=schema))

        yield put


WRITERS = {".npz": _npz, ".h5": _hdf5, ".parquet": _parquet}
