"""Array files: HDF5, npz, npy and IDX (the MNIST family); an image is one row of a dataset."""

import io
import math
import os
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError, ReadError
from featx.files.atomic import file_state
from featx.images.contents import MOST_BYTES, State, check_size, file_uri
from featx.images.names import IN_NAMES, part_in, rule_against, words
from featx.images.npy import map_npy
from featx.images.readers import Listing
from featx.images.trees import Entry
from featx.images.unpacking import UNPACKERS, check_room, chunks_of, unpack
from featx.locations import source_file, source_place
from featx.specs.data import ArraySpec, ReaderSpec

ARRAY_FILE = re.compile(r"\.(h5|hdf5|hdf|npz|npy)$|-idx\d-ubyte(\.gz)?$|\.idx\d?-?(ubyte)?(\.gz)?$", re.IGNORECASE)
IDX_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}  # http://yann.lecun.com/exdb/mnist
BROKEN = (OSError, ValueError, EOFError, KeyError, RuntimeError, TypeError, NotImplementedError, zlib.error,
          zipfile.BadZipFile, MemoryError, OverflowError)  # fmt: skip
# Number of rows that a dataset may have whatever the size of its file; more must take a byte each.
MIN_ROWS_TO_CHECK = 1_000_000
CHUNK_CACHE_BYTES = 64 << 20
EXTERNAL = "?external"  # what follows the row in a uri
NOISE = frozenset({"idx1", "idx2", "idx3", "idx4", "ubyte", "gz", "npy", "npz", "h5", "hdf5", "hdf"})
LABEL_WORDS = frozenset({"y", "label", "labels", "target", "targets", "class", "classes"})
LEAST_SIDE = 4  # pixels, of what is taken for an image by its shape
MOST_COLUMNS = 1000  # of a two-dimensional label dataset


def is_array_file(name: str) -> bool:
    """Whether a file is taken for one that holds arrays."""
    return bool(ARRAY_FILE.search(name))


class ArrayReader:
    """Reads rows of arrays as images; columns are the label datasets, and ``split`` where names say the part."""

    rank = 30

    def recognise(self, source: str, labels: str | None) -> ReaderSpec | None:
        """See `featx.images.readers.Reader`."""
        path = Path(source)
        if labels is not None or not path.exists():
            return None
        files = [path] if path.is_file() else sorted(child for child in path.iterdir() if child.is_file())
        files = [file for file in files if is_array_file(file.name)]
        try:
            shapes = {spell(file.name, name): _shape(array) for file in files for name, array in datasets(file).items()}
        except ReadError as error:
            raise DataError(str(error)) from error
        if not (pairs := paired(shapes)):
            return None
        return ReaderSpec(source=source, arrays=tuple(pairs), reader="arrays")

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """See `featx.images.readers.Reader`."""
        source = Path(source_place(data.source, folder))
        home = source if source.is_dir() else source.parent
        if not data.arrays:
            raise DataError("data.arrays: is missing; the reader 'arrays' needs '[[data.arrays]]' with 'images = …'")
        entries: list[Entry] = []
        frames = []
        for one in data.arrays:
            rows, frame = _read(one, home, alone=_is_alone(one, data.arrays), external=data.external)
            entries += rows
            frames.append(frame)
        labels = pd.concat(frames, ignore_index=True)
        named = {part.split("#")[0] for one in data.arrays for part in (one.images, *one.labels.values())}
        others = sorted(child.name for child in home.iterdir() if child.is_file() and child.name not in named)
        ignored = {name: _rule(name) for name in others} if source.is_dir() else {}
        return Listing.of(entries, labels, ignored)


def _rule(name: str) -> str:
    return "is an array file that [[data.arrays]] does not name" if is_array_file(name) else rule_against(name)


def _is_alone(one: ArraySpec, every: tuple[ArraySpec, ...]) -> bool:
    file = one.images.split("#")[0]
    return sum(other.images.split("#")[0] == file for other in every) == 1


def _read(one: ArraySpec, home: Path, alone: bool, external: bool) -> tuple[list[Entry], pd.DataFrame]:
    file, images = _dataset(one.images, home, external)
    n, shape = len(images), _shape(images)
    if not is_image_shape(shape):
        raise DataError(f"data.arrays: {one.images!r} has shape {shape}, expected (n, h, w) or (n, h, w, channels)")
    name = one.images.partition("#")[2]
    _check_rows(one.images, n, file)
    state = file_state(file)
    path = file_uri(str(file.absolute()))
    prefix = f"{file.name}#" if alone else f"{file.name}#{name}/" if name else f"{file.name}#"
    choice = EXTERNAL if external else ""
    entries = [
        Entry(f"{prefix}{row}", f"row:{path}//{name}/{row}{choice}", state[1:] if state else None) for row in range(n)
    ]
    columns: dict[str, Any] = {}
    for column, place in one.labels.items():
        labels = _dataset(place, home, external)[1]
        if labels.shape[:1] != (n,):
            raise DataError(
                f"data.arrays: {one.images!r} has {n} rows and {place!r} has shape {_shape(labels)}; expected as many "
                "labels as images"
            )
        if (n_bytes := math.prod(labels.shape) * labels.dtype.itemsize) > MOST_BYTES:
            raise DataError(f"data.arrays: {place!r} has {n_bytes} bytes, expected at most {MOST_BYTES} of labels")
        values = _values(labels)
        columns |= _as_columns(column, values)
    if one.split is not None:
        columns["split"] = np.full(n, one.split, dtype=object)
    return entries, pd.DataFrame(columns, index=range(n))


def _check_rows(place: str, n_rows: int, file: Path) -> None:
    """Check that a file is large enough for the rows that it states: HDF5 stores nothing of rows without values.

    Raises
    ------
    DataError
        it is not.
    """
    n_bytes = file.stat().st_size
    if n_rows > max(MIN_ROWS_TO_CHECK, n_bytes):
        raise DataError(f"data.arrays: {place!r} states {n_rows} rows, its file has {n_bytes} bytes; expected no more")


def _dataset(place: str, home: Path, external: bool) -> tuple[Path, Any]:
    file_name, _, name = place.partition("#")
    file = source_file(home / file_name, "data.arrays")
    try:
        found = datasets(file, external)
    except ReadError as error:
        raise DataError(str(error)) from error
    if name not in found:
        raise DataError(
            f"data.arrays: {file} has no dataset {name!r}; datasets: {', '.join(map(repr, found)) or 'none'}"
        )
    return file, found[name]


def _values(dataset: Any) -> NDArray[Any]:
    """Return a label dataset as text or numbers."""
    if isinstance(dataset, np.ndarray):
        values = dataset
    else:
        values = np.asarray(dataset.asstr()[...]) if dataset.dtype.kind == "O" else np.asarray(dataset[...])
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind in "iuf":  # of an IDX file: pandas takes the machine's byte order alone
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    return values.astype(object) if values.dtype.kind == "U" else values


def _as_columns(name: str, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return (n,), (n, 1), one-hot (n, k) or (n, t) values as columns."""
    flat = values.reshape(len(values), math.prod(values.shape[1:]))
    if flat.shape[1] == 1:
        return {name: flat[:, 0]}
    if is_one_hot(flat):
        return {name: flat.argmax(axis=1)}
    return {f"{name}_{number}": flat[:, number] for number in range(flat.shape[1])}


def is_one_hot(values: NDArray[Any]) -> bool:
    """Whether each row of (n, k) holds a single 1 and zeros."""
    return values.dtype.kind in "biuf" and bool(np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all())


# Which dataset is what


def _shape(array: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in array.shape)


def spell(file: str, dataset: str) -> str:
    """Write where a dataset lies, as ``data.arrays`` spells it."""
    return f"{file}#{dataset}" if dataset else file


def is_image_shape(shape: tuple[int, ...]) -> bool:
    """Whether (n, …) can be images: (n, h, w), or with 1, 2, 3 or 4 channels last or first."""
    if len(shape) == 3:
        return min(shape[1:]) >= LEAST_SIDE  # landmarks are (n, points, 2)
    return len(shape) == 4 and (shape[3] in {1, 2, 3, 4} or shape[1] in {1, 2, 3, 4})


def paired(shapes: Mapping[str, tuple[int, ...]]) -> list[ArraySpec]:
    """Return each dataset of images with the label datasets that have as many rows and name the same part."""
    found = []
    for place, shape in shapes.items():
        if not is_image_shape(shape):
            continue
        part = _part(place)
        labels = {
            _column(other): other
            for other, size in shapes.items()
            if other != place
            and size
            and size[0] == shape[0]
            and _is_label_shape(size)
            and _part(other) in {part, None}
        }
        found.append(ArraySpec(images=place, labels=labels, split=part))
    with_labels = _best_of_each_part([one for one in found if one.labels], shapes)
    parts = {one.split for one in with_labels}
    # A part is a part only beside a train part.
    return with_labels if "train" in parts else [one.model_copy(update={"split": None}) for one in with_labels]


def _best_of_each_part(found: Sequence[ArraySpec], shapes: Mapping[str, tuple[int, ...]]) -> list[ArraySpec]:
    """Return one of several that have the same labels, as pictures and their masks: with channels, then the largest."""
    best: dict[tuple[str | None, tuple[str, ...]], ArraySpec] = {}
    for one in sorted(found, key=lambda one: (len(shapes[one.images]), math.prod(shapes[one.images]))):
        best[one.split, tuple(one.labels.values())] = one
    return [one for one in found if one in best.values()]


def _is_label_shape(shape: tuple[int, ...]) -> bool:
    return len(shape) == 1 or (len(shape) == 2 and shape[1] <= MOST_COLUMNS)


def _part(place: str) -> str | None:
    """Return the part that a dataset's name says, or else its file's."""
    file, _, dataset = place.partition("#")
    return part_in(dataset) or part_in(file)


def _column(place: str) -> str:
    """Return the column's name for a label dataset: its words without those that say part or format."""
    file, _, dataset = place.partition("#")
    kept = [word for word in words(dataset or file) if word not in NOISE and word not in IN_NAMES]
    return "label" if set(kept) <= LABEL_WORDS else "_".join(kept)


# Files


def read_row(rest: str) -> NDArray[Any]:
    """Return one row of ``/path/to/file.h5//dataset/17``; errors are those of `featx.images.sources.read`.

    ``17?external`` allows the dataset to take its values from other files.
    """
    path, _, inside = rest.partition("//")
    name, _, row = inside.rpartition("/")
    row, _, choice = row.partition("?")
    try:
        array = datasets(Path(path), external=f"?{choice}" == EXTERNAL)[name]
        _check_row(array)
        values = np.array(array[int(row)])
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    except FileNotFoundError:
        raise
    except ReadError:
        raise
    except DataError as error:
        raise ReadError(str(error)) from error
    except (*BROKEN, IndexError) as error:
        raise ReadError(f"cannot be read from its array: {str(error) or type(error).__name__}") from error


def _check_row(array: Any) -> None:
    """Check that one row of an array, and the chunk of an HDF5 file that holds it, can be read as one image.

    Raises
    ------
    ReadError
        it holds no numbers, or too many.
    """
    if array.dtype.kind not in "biuf":
        raise ReadError(f"holds {array.dtype}, expected numbers")
    chunk = getattr(array, "chunks", None) or (1,)
    check_size(max(math.prod(array.shape[1:]), math.prod(chunk)) * array.dtype.itemsize)


def datasets(file: Path, external: bool = False) -> Mapping[str, Any]:
    """Return the arrays of a file by name; one without names has the name ``""``.

    Parameters
    ----------
    external
        Whether HDF5 datasets may take their values from other files (external storage, virtual datasets).

    Raises
    ------
    FileNotFoundError
        there is no such file.
    ReadError
        it cannot be read, or takes values from other files.
    """
    state = file_state(file)
    if state is None:
        raise FileNotFoundError(str(file))
    found = _opened(str(file), state[1:])
    if not external:
        for name, array in found.items():
            if others := [] if isinstance(array, np.ndarray) else _other_files(array):
                raise ReadError(
                    f"{file}: dataset {name!r} takes its values from other files, first {others[0]!r}; copy them into "
                    "the file, or say 'external = true' in [data] where you trust whoever made it"
                )
    return found


@lru_cache(maxsize=8)
def _opened(path: str, state: State) -> Mapping[str, Any]:
    suffix = Path(path).suffix.lower()
    try:
        if suffix in {".h5", ".hdf5", ".hdf"}:
            return _hdf5(path)
        if suffix == ".npz":
            return _npz(path)
        if suffix == ".npy":
            with Path(path).open("rb") as stream:
                return {"": map_npy(stream, state[0])}
        return {"": _idx(path)}
    except DataError:
        raise
    except BROKEN as error:
        reason = str(error) or type(error).__name__
        raise ReadError(f"{path} cannot be read as arrays, it may be cut off: {reason}") from error


def _npz(path: str) -> dict[str, Any]:
    """Return the arrays of an npz file, each unpacked into a temporary file and mapped."""
    found = {}
    with zipfile.ZipFile(path) as file:
        for info in file.infolist():
            if info.filename.endswith(".npy"):
                check_room(info.file_size, f"{path}, {info.filename}")
                with file.open(info) as member, unpack(chunks_of(member), path) as unpacked:
                    found[info.filename.removesuffix(".npy")] = map_npy(unpacked, info.file_size)
    return found


def _hdf5(path: str) -> dict[str, Any]:
    """Return the datasets of an HDF5 file; links to other files are not followed."""
    import h5py

    file = h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE_BYTES)
    found: dict[str, Any] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape:
            found[name] = item

    file.visititems(note)
    return found


def _other_files(dataset: Any) -> list[str]:
    """Return the files that an HDF5 dataset takes its values from, other than its own."""
    named = [os.fsdecode(entry[0]) for entry in dataset.external or ()]
    if dataset.is_virtual:
        named += [source.file_name for source in dataset.virtual_sources()]
    return [name for name in dict.fromkeys(named) if name not in {".", dataset.file.filename}]


def _idx(path: str) -> NDArray[Any]:
    """Return the array of an IDX file, mapped; a gzipped one is unpacked into a temporary file first."""
    with Path(path).open("rb") as stream:
        is_packed = stream.read(2) == b"\x1f\x8b"
    with unpack(UNPACKERS[".gz"](path), path) if is_packed else Path(path).open("rb") as stream:
        n_bytes = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        head = stream.read(4)
        if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in IDX_DTYPES:
            raise ValueError("it does not begin as an IDX file does")
        dtype, n_axes = np.dtype(IDX_DTYPES[head[2]]), head[3]
        shape = tuple(np.frombuffer(stream.read(4 * n_axes), ">u4", n_axes).tolist())
        expected, found = math.prod(shape) * dtype.itemsize, n_bytes - stream.tell()
        if found != expected:
            raise ValueError(f"shape {shape} needs {expected} bytes, found {found}")
        return np.memmap(stream, dtype, "r", 4 + 4 * n_axes, shape) if expected else np.zeros(shape, dtype)
