"""Export vectors for other software, to NumPy, HDF5 or Parquet files with one row for each image."""

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
from featx.files.atomic import atomic_file
from featx.progress import ProgressCallback, no_progress
from featx.specs.recipe import Recipe
from featx.storage.checks import open_store
from featx.storage.places import STORE_SUFFIX
from featx.storage.store import EmbeddingStore
from featx.study.study import Study

BLOCK_ROWS = 4096
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class ExportedVectors:
    """An exported file of vectors.

    Attributes
    ----------
    file
        The file, which holds ``digest`` (n,) text, ``x`` (n, d), and for a recipe's embedding ``id`` (n,) and ``part``
        (n,) text.
    embedding
        Name of the embedding or of the store.
    n, n_features
        Number of rows, and d.
    """

    file: str
    embedding: str
    n: int
    n_features: int


Columns = dict[str, NDArray[Any]]
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
    """Write the vectors of a store, or of a recipe's images.

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
        no embedding has this name, or several have, or the file has another ending.
    StoreError
        the disk has no room for the file.
    """
    file = Path(file)
    if file.suffix not in WRITERS:
        raise DataError(f"{file}: found the ending {file.suffix!r}, expected one of {', '.join(WRITERS)}")
    place = Cache.find(recipe, cache)
    stores = [store for store in place.all_stores.segment_stores() or () if store.name.startswith(embedding)]
    if len(stores) > 1:
        raise DataError(f"several stores begin with {embedding!r}: {', '.join(store.name for store in stores)}")
    store, columns = _whole_store(open_store(stores[0].place)) if stores else _images_of_recipe(place, embedding)
    n, d = len(columns["digest"]), store.n_features
    if (n_bytes := n * d * store.dtype.itemsize) > free_bytes(file.parent):
        raise StoreError(f"{file} would take {gigabytes(n_bytes)}, {gigabytes(free_bytes(file.parent))} are free there")
    with atomic_file(file) as private, WRITERS[file.suffix](private, columns, (n, d), store.dtype) as write_block:
        for start in range(0, n, BLOCK_ROWS):
            write_block(start, store.read(columns["digest"][start : start + BLOCK_ROWS].tolist()))
            progress("export", min(start + BLOCK_ROWS, n), n)
    return ExportedVectors(str(file), embedding if not stores else stores[0].name.removesuffix(STORE_SUFFIX), n, d)


def _whole_store(store: EmbeddingStore) -> tuple[EmbeddingStore, Columns]:
    return store, {"digest": np.array(store.digests, dtype=object)}


def _images_of_recipe(place: Cache, name: str) -> tuple[EmbeddingStore, Columns]:
    if place.recipe is None:
        raise DataError(
            f"no store in {place.all_stores.place} begins with {name!r}, and no recipe is given that could name it"
        )
    study = Study(place.recipe)
    embeddings = locked_embeddings(study, name)
    if len(embeddings) > 1:
        names = ", ".join(embedding.request.name for embedding in embeddings)
        raise DataError(f"{len(embeddings)} embeddings are called {name!r}: {names}")
    (embedding,) = embeddings
    part_ids = {part: study.ids(part) for part in PARTS}
    ids = np.concatenate(list(part_ids.values()))
    store = EmbeddingStore(study.store_path(embedding.spec), embedding.spec, embedding.n_features)
    parts = np.repeat(np.array(PARTS, dtype=object), [len(ids_of_part) for ids_of_part in part_ids.values()])
    return store, {"id": ids, "part": parts, "digest": study.manifest.take(ids).digests}


@contextmanager
def _npz(file: Path, columns: Columns, shape: tuple[int, int], dtype: np.dtype[Any]) -> Iterator[WriteBlock]:
    x = np.empty(shape, dtype)

    def write_block(start: int, rows: NDArray[Any]) -> None:
        x[start : start + len(rows)] = rows

    yield write_block
    with file.open("wb") as opened_file:
        texts: dict[str, Any] = {name: values.astype(str) for name, values in columns.items()}
        np.savez(opened_file, x=x, **texts)


@contextmanager
def _hdf5(file: Path, columns: Columns, shape: tuple[int, int], dtype: np.dtype[Any]) -> Iterator[WriteBlock]:
    import h5py

    with h5py.File(file, "w") as opened_file:
        x = opened_file.create_dataset("x", shape, dtype)

        def write_block(start: int, rows: NDArray[Any]) -> None:
            x[start : start + len(rows)] = rows

        yield write_block
        for name, values in columns.items():
            opened_file.create_dataset(name, data=values.astype(object), dtype=h5py.string_dtype())


@contextmanager
def _parquet(file: Path, columns: Columns, shape: tuple[int, int], dtype: np.dtype[Any]) -> Iterator[WriteBlock]:
    import pyarrow as pa
    from pyarrow import parquet

    vector = pa.list_(pa.from_numpy_dtype(dtype.newbyteorder("=")), shape[1])
    schema = pa.schema([*((name, pa.string()) for name in columns), ("x", vector)])
    with parquet.ParquetWriter(file, schema) as opened_file:

        def write_block(start: int, rows: NDArray[Any]) -> None:
            texts = [pa.array(values[start : start + len(rows)].tolist(), pa.string()) for values in columns.values()]
            flat = pa.array(rows.astype(rows.dtype.newbyteorder("=")).reshape(-1))
            opened_file.write_table(
                pa.table([*texts, pa.FixedSizeListArray.from_arrays(flat, shape[1])], schema=schema)
            )

        yield write_block


WRITERS = {".npz": _npz, ".h5": _hdf5, ".parquet": _parquet}
