"""Images in array files: each image is one row of a dataset, and other datasets hold the labels."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError, ReadError
from featx.files.atomic import file_state
from featx.images.array_files import ARRAY_ERRORS, is_array_file, open_datasets
from featx.images.contents import MAX_IMAGE_BYTES, check_size, file_uri
from featx.images.names import PART_WORDS, find_part, non_image_rule, split_words
from featx.images.readers import Listing
from featx.images.trees import Entry
from featx.locations import existing_file, resolve_source
from featx.specs.data import ArraySpec, ReaderSpec

# Number of rows that a dataset may have whatever the size of its file; more must take a byte each.
MIN_ROWS_TO_CHECK = 1_000_000
# Text after the row in a uri: the dataset may take its values from other files.
EXTERNAL_OPTION = "?external"
FORMAT_WORDS = frozenset({"idx1", "idx2", "idx3", "idx4", "ubyte", "gz", "npy", "npz", "h5", "hdf5", "hdf"})
LABEL_WORDS = frozenset({"y", "label", "labels", "target", "targets", "class", "classes"})
# Side of an image in pixels; smaller arrays are landmarks, (n, points, 2).
MIN_SIDE_PX = 4
USUAL_CHANNELS = {1, 2, 3, 4}
# Number of columns of a two-dimensional label dataset.
MAX_LABEL_COLUMNS = 1000


class ArrayReader:
    """Reads rows of arrays as images; columns are the label datasets, and ``split`` if names tell the part."""

    rank = 30

    def recognise(self, source: str, labels: str | None, target: str | None = None) -> ReaderSpec | None:
        """Return how to read the source if it has datasets of images with labels, otherwise None."""
        path = Path(source)
        if labels is not None or not path.exists():
            return None
        files = [path] if path.is_file() else sorted(child for child in path.iterdir() if child.is_file())
        try:
            shapes = {
                f"{file.name}#{name}" if name else file.name: _shape(array)
                for file in files
                if is_array_file(file.name)
                for name, array in open_datasets(file).items()
            }
        except ReadError as error:
            raise DataError(str(error)) from error
        specs = _pair_datasets(shapes)
        return ReaderSpec(source=source, arrays=tuple(specs), reader="arrays") if specs else None

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """Return all rows of the image datasets with their labels."""
        source = Path(resolve_source(data.source, folder))
        home = source if source.is_dir() else source.parent
        if not data.arrays:
            raise DataError("data.arrays: is missing; the reader 'arrays' needs '[[data.arrays]]' with 'images = …'")
        image_files = [_file_name(spec.images) for spec in data.arrays]
        entries: list[Entry] = []
        frames = []
        for spec in data.arrays:
            is_only_spec = image_files.count(_file_name(spec.images)) == 1
            rows, frame = _list_rows(spec, home, is_only_spec, data.external)
            entries += rows
            frames.append(frame)
        labels = pd.concat(frames, ignore_index=True)
        used_files = {_file_name(place) for spec in data.arrays for place in (spec.images, *spec.labels.values())}
        unused_files = sorted(
            child.name for child in home.iterdir() if child.is_file() and child.name not in used_files
        )
        ignored = {name: _ignore_rule(name) for name in unused_files} if source.is_dir() else {}
        return Listing.from_entries(entries, labels, ignored)


def read_row(location: str) -> NDArray[Any]:
    """Return one row of ``/path/to/file.h5//dataset/17``; errors are those of `featx.images.sources.read_content`.

    ``17?external`` allows the dataset to take its values from other files.
    """
    path, _, inside = location.partition("//")
    name, _, row = inside.rpartition("/")
    row, _, option = row.partition("?")
    try:
        array = open_datasets(Path(path), external=f"?{option}" == EXTERNAL_OPTION)[name]
        _check_row_size(array)
        values = np.array(array[int(row)])
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    except (FileNotFoundError, ReadError):
        raise
    except DataError as error:
        raise ReadError(str(error)) from error
    except (*ARRAY_ERRORS, IndexError) as error:
        raise ReadError(f"cannot be read from its array: {str(error) or type(error).__name__}") from error


def _check_row_size(array: Any) -> None:
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


def _ignore_rule(name: str) -> str:
    return "is an array file that [[data.arrays]] does not name" if is_array_file(name) else non_image_rule(name)


def _file_name(place: str) -> str:
    """Return the file of a dataset that is written as in ``data.arrays``: ``file.h5#dataset``."""
    return place.partition("#")[0]


def _dataset_name(place: str) -> str:
    return place.partition("#")[2]


def _list_rows(spec: ArraySpec, home: Path, is_only_spec: bool, external: bool) -> tuple[list[Entry], pd.DataFrame]:
    """Return the rows of one dataset of images, and their labels.

    Parameters
    ----------
    spec
        The dataset of images and the datasets of labels.
    home
        Folder of the files.
    is_only_spec
        Whether no other dataset of the file holds images: ids do not name the dataset then.
    external
        Whether datasets may take their values from other files.
    """
    file, images = _open_dataset(spec.images, home, external)
    n, shape = len(images), _shape(images)
    if not is_image_shape(shape):
        raise DataError(f"data.arrays: {spec.images!r} has shape {shape}, expected (n, h, w) or (n, h, w, channels)")
    _check_row_count(spec.images, n, file)
    name = _dataset_name(spec.images)
    state = file_state(file)
    uri = f"row:{file_uri(str(file.absolute()))}//{name}/"
    prefix = f"{file.name}#{name}/" if name and not is_only_spec else f"{file.name}#"
    option = EXTERNAL_OPTION if external else ""
    entries = [Entry(f"{prefix}{row}", f"{uri}{row}{option}", state[1:] if state else None) for row in range(n)]
    columns: dict[str, Any] = {}
    for column, place in spec.labels.items():
        labels = _open_dataset(place, home, external)[1]
        _check_labels(labels, place, spec.images, n)
        columns |= _split_columns(column, _load_labels(labels))
    if spec.split is not None:
        columns["split"] = np.full(n, spec.split, dtype=object)
    return entries, pd.DataFrame(columns, index=range(n))


def _check_row_count(place: str, n_rows: int, file: Path) -> None:
    """Check that a file is large enough for the rows that it states: HDF5 stores nothing for rows without values.

    Raises
    ------
    DataError
        it is not.
    """
    n_bytes = file.stat().st_size
    if n_rows > max(MIN_ROWS_TO_CHECK, n_bytes):
        raise DataError(f"data.arrays: {place!r} states {n_rows} rows, its file has {n_bytes} bytes; expected no more")


def _check_labels(labels: Any, place: str, images: str, n_images: int) -> None:
    """Check that a label dataset has one row per image and fits into memory.

    Raises
    ------
    DataError
        it has not, or it does not.
    """
    if labels.shape[:1] != (n_images,):
        raise DataError(
            f"data.arrays: {images!r} has {n_images} rows and {place!r} has shape {_shape(labels)}; expected as many "
            "labels as images"
        )
    if (n_bytes := math.prod(labels.shape) * labels.dtype.itemsize) > MAX_IMAGE_BYTES:
        raise DataError(f"data.arrays: {place!r} has {n_bytes} bytes, expected at most {MAX_IMAGE_BYTES} of labels")


def _open_dataset(place: str, home: Path, external: bool) -> tuple[Path, Any]:
    file = existing_file(home / _file_name(place), "data.arrays")
    try:
        arrays = open_datasets(file, external)
    except ReadError as error:
        raise DataError(str(error)) from error
    name = _dataset_name(place)
    if name not in arrays:
        raise DataError(
            f"data.arrays: {file} has no dataset {name!r}; datasets: {', '.join(map(repr, arrays)) or 'none'}"
        )
    return file, arrays[name]


def _load_labels(dataset: Any) -> NDArray[Any]:
    """Return the values of a label dataset as text or numbers."""
    if isinstance(dataset, np.ndarray):
        values = dataset
    else:
        values = np.asarray(dataset.asstr()[...]) if dataset.dtype.kind == "O" else np.asarray(dataset[...])
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    # IDX files are big-endian, but pandas takes only the byte order of the machine.
    if values.dtype.kind in "iuf":
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    return values.astype(object) if values.dtype.kind == "U" else values


def _split_columns(name: str, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return (n,), (n, 1), one-hot (n, k) or (n, t) values as columns."""
    flat = values.reshape(len(values), math.prod(values.shape[1:]))
    if flat.shape[1] == 1:
        return {name: flat[:, 0]}
    if _is_one_hot(flat):
        return {name: flat.argmax(axis=1)}
    return {f"{name}_{number}": flat[:, number] for number in range(flat.shape[1])}


def _is_one_hot(values: NDArray[Any]) -> bool:
    """Whether each row of (n, k) holds a single 1 and zeros."""
    return values.dtype.kind in "biuf" and bool(np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all())


# Which dataset holds images, and which one their labels


def _shape(array: Any) -> tuple[int, ...]:
    return tuple(int(n) for n in array.shape)


def is_image_shape(shape: tuple[int, ...]) -> bool:
    """Whether (n, …) can be images: (n, h, w), or with channels last or first, 1 to 4 or fewer than either side.

    Parameters
    ----------
    shape
        Shape of a dataset.
    """
    if len(shape) == 3:
        return min(shape[1:]) >= MIN_SIDE_PX
    if len(shape) != 4:
        return False
    first, middle, last = shape[1:]
    has_usual_channels = last in USUAL_CHANNELS or first in USUAL_CHANNELS
    return has_usual_channels or last < min(first, middle) or first < min(middle, last)


def _pair_datasets(shapes: Mapping[str, tuple[int, ...]]) -> list[ArraySpec]:
    """Return each dataset of images with the label datasets that have as many rows and name the same part.

    Parameters
    ----------
    shapes
        Shape by place of all datasets of a source.
    """
    specs = []
    for images, shape in shapes.items():
        if not is_image_shape(shape):
            continue
        part = _find_dataset_part(images)
        labels = {
            _column_name(place): place
            for place, label_shape in shapes.items()
            if place != images
            and label_shape
            and label_shape[0] == shape[0]
            and _is_label_shape(label_shape)
            and _find_dataset_part(place) in {part, None}
        }
        if labels:
            specs.append(ArraySpec(images=images, labels=labels, split=part))
    specs = _drop_masks(specs, shapes)
    # The words "val" and "test" stand for parts only beside a train part.
    has_parts = "train" in {spec.split for spec in specs}
    return specs if has_parts else [spec.model_copy(update={"split": None}) for spec in specs]


def _drop_masks(specs: Sequence[ArraySpec], shapes: Mapping[str, tuple[int, ...]]) -> list[ArraySpec]:
    """Return one of the datasets with the same labels, as pictures and their masks: with channels, then the largest."""
    best: dict[tuple[str | None, tuple[str, ...]], ArraySpec] = {}
    for spec in sorted(specs, key=lambda spec: (len(shapes[spec.images]), math.prod(shapes[spec.images]))):
        best[spec.split, tuple(spec.labels.values())] = spec
    return [spec for spec in specs if spec in best.values()]


def _is_label_shape(shape: tuple[int, ...]) -> bool:
    return len(shape) == 1 or (len(shape) == 2 and shape[1] <= MAX_LABEL_COLUMNS)


def _find_dataset_part(place: str) -> str | None:
    """Return the part that a dataset's name stands for, or else its file's."""
    return find_part(_dataset_name(place)) or find_part(_file_name(place))


def _column_name(place: str) -> str:
    """Return the name of a label dataset's column: its words without those for the part or the format."""
    words = split_words(_dataset_name(place) or _file_name(place))
    words = [word for word in words if word not in FORMAT_WORDS and word not in PART_WORDS]
    return "label" if set(words) <= LABEL_WORDS else "_".join(words)
