"""Images in array files: each image is one row of a dataset, and other datasets hold the labels."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from featx.errors import DataError, ReadError
from featx.files.atomic import file_state
from featx.images.array_files import ARRAY_ERRORS, is_array_file, open_datasets, skipped_datasets
from featx.images.containers.array_labels import array_shape, check_label_rows, read_label_columns
from featx.images.containers.array_pairing import (
    get_dataset_file,
    get_dataset_name,
    has_encoded_images,
    is_image_shape,
    is_last_axis_shape,
    list_unlabelled_images,
    pair_datasets,
    row_bytes,
)
from featx.images.containers.hdf5 import check_filters, check_values_inside, find_external_files
from featx.images.contents import Content, check_size, file_uri
from featx.images.names import find_part, non_image_rule
from featx.images.readers import Listing
from featx.images.trees import Entry
from featx.locations import existing_file, resolve_source
from featx.specs.data import ArraySpec, ReaderSpec

# Number of rows that a dataset may have whatever the size of its file; more must take a byte each.
MIN_ROWS_TO_CHECK = 1_000_000
# Options in a uri, after the row: the dataset may take its values from other files; its last axis counts the images.
EXTERNAL_OPTION, LAST_AXIS_OPTION = "external", "last"
# Number of array files in one folder; more are one image each.
MAX_ARRAY_FILES = 64
# Number of datasets of one file; more are one image each.
MAX_DATASETS = 1000


class ArrayReader:
    """Reads rows of arrays as images; columns are the label datasets, and ``split`` if names state the part."""

    rank = 30

    def recognise(self, source: str, labels: str | None, target: str | None = None) -> ReaderSpec | None:
        """Return how to read the source if it has datasets of images with labels, otherwise None."""
        return None if labels is not None else _recognise_datasets(source, pair_datasets)

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """Return all rows of the image datasets with their labels."""
        source = Path(resolve_source(data.source, folder))
        home = source if source.is_dir() else source.parent
        if not data.arrays:
            raise DataError("data.arrays: is missing; the reader 'arrays' needs '[[data.arrays]]' with 'images = …'")
        image_files = [get_dataset_file(spec.images) for spec in data.arrays]
        entries: list[Entry] = []
        frames = []
        for spec in data.arrays:
            is_only_spec = image_files.count(get_dataset_file(spec.images)) == 1
            rows, frame = _list_rows(spec, home, is_only_spec, data.external)
            entries += rows
            frames.append(frame)
        labels = pd.concat(frames, ignore_index=True)
        used_places = {place for spec in data.arrays for place in (spec.images, *spec.labels.values())}
        listing = Listing.from_entries(entries, labels, _ignored(source, home, used_places))
        # Parts that a recipe states for all datasets stay as they are.
        return listing.with_complete_split() if any(spec.split is None for spec in data.arrays) else listing


def recognise_unlabelled_arrays(source: str) -> ReaderSpec | None:
    """Return how to read a source that has datasets of images and no labels, otherwise None.

    Raises
    ------
    DataError
        a file cannot be read.
    """
    return _recognise_datasets(source, list_unlabelled_images)


def _recognise_datasets(
    source: str, choose_datasets: Callable[[Mapping[str, Any]], list[ArraySpec]]
) -> ReaderSpec | None:
    """Return how to read a source whose datasets of images and labels a function chooses; None if there are none."""
    path = Path(source)
    if not path.exists():
        return None
    home = path.parent if path.is_file() else path
    files = [path] if path.is_file() else _array_files(path)
    arrays: dict[str, Any] = {}
    try:
        for file in files:
            datasets = open_datasets(file) if is_array_file(file.name) else {}
            place = file.relative_to(home).as_posix()
            if len(datasets) <= MAX_DATASETS:
                arrays |= {f"{place}#{name}" if name else place: array for name, array in datasets.items()}
        for place, array in arrays.items():
            check_values_inside(_dataset_text(home, place), array)
        specs = choose_datasets(arrays)
        for place in sorted({place for spec in specs for place in (spec.images, *spec.labels.values())}):
            check_filters(_dataset_text(home, place), arrays[place])
    except DataError as error:
        raise DataError(str(error)) from error
    except ARRAY_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{source} cannot be read as arrays, it may be truncated: {reason}") from error
    return ReaderSpec(source=source, arrays=tuple(specs), reader="arrays") if specs else None


def _dataset_text(home: Path, place: str) -> str:
    return f"{home / get_dataset_file(place)}: dataset {get_dataset_name(place)!r}"


def _array_files(folder: Path) -> list[Path]:
    """Return the array files of a folder and of its part folders; many npy files are one image each."""
    children = sorted(folder.iterdir())
    parts = [child for child in children if child.is_dir() and find_part(child.name) is not None]
    part_files = sorted(file for part in parts for file in part.iterdir())
    files = [file for file in [*children, *part_files] if file.is_file() and is_array_file(file.name)]
    npy_files = [file for file in files if file.suffix.lower() == ".npy"]
    return [file for file in files if file not in npy_files] if len(npy_files) > MAX_ARRAY_FILES else files


def read_row(location: str) -> Content:
    """Return one row of ``/path/to/file.h5//dataset/17``; errors are those of `featx.images.sources.read_content`.

    ``17?external`` allows the dataset to take its values from other files; the last axis counts the images in
    ``17?last``. A row of encoded images is the bytes of an image file.
    """
    path, _, row_path = location.partition("//")
    name, _, row = row_path.rpartition("/")
    row, _, options = row.partition("?")
    try:
        array = open_datasets(Path(path))[name]
        if EXTERNAL_OPTION not in options.split("&"):
            check_values_inside(f"{path}: dataset {name!r}", array)
        return _take_row(array, int(row), LAST_AXIS_OPTION in options.split("&"))
    except (FileNotFoundError, ReadError):
        raise
    except DataError as error:
        raise ReadError(str(error)) from error
    except (*ARRAY_ERRORS, IndexError) as error:
        raise ReadError(f"cannot be read from its array: {str(error) or type(error).__name__}") from error


def _take_row(array: Any, row: int, is_last: bool) -> Content:
    if array.ndim == 1:
        content = row_bytes(array[row])
        if content is None:
            raise ReadError(f"holds {array.dtype}, expected the bytes of an image file")
        check_size(len(content))
        return content
    _check_row_size(array, is_last)
    values = np.array(array[..., row] if is_last else array[row])
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _check_row_size(array: Any, is_last: bool) -> None:
    """Check that one row of an array, and the chunk of an HDF5 file that holds it, can be read as one image.

    Raises
    ------
    ReadError
        it holds no numbers, or too many.
    """
    if array.dtype.kind not in "biuf":
        raise ReadError(f"holds {array.dtype}, expected numbers")
    chunk = getattr(array, "chunks", None) or (1,)
    row_shape = array.shape[:-1] if is_last else array.shape[1:]
    check_size(max(math.prod(row_shape), math.prod(chunk)) * array.dtype.itemsize)


def _ignored(source: Path, home: Path, used_places: set[str]) -> dict[str, str]:
    """Return the rule of each file beside the arrays, and of each dataset of a used file that is not read."""
    used_files = {get_dataset_file(place) for place in used_places}
    rules: dict[str, str] = {}
    if source.is_dir():
        folders = sorted({(home / file).parent for file in used_files} | {home})
        names = [child.relative_to(home).as_posix() for folder in folders for child in folder.iterdir()]
        rules = {name: _ignore_rule(name) for name in sorted(names) if (home / name).is_file()}
    for file in used_files:
        rules.pop(file, None)
        unused_datasets = [name for name in open_datasets(home / file) if name and f"{file}#{name}" not in used_places]
        rules |= {f"{file}#{name}": "is a dataset that [[data.arrays]] does not name" for name in unused_datasets}
        rules |= {f"{file}#{name}": reason for name, reason in skipped_datasets(home / file).items()}
    return rules


def _ignore_rule(name: str) -> str:
    return "is an array file that [[data.arrays]] does not name" if is_array_file(name) else non_image_rule(name)


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
    shape, is_last = array_shape(images), spec.row_axis == "last"
    if not (has_encoded_images(images) or (is_last_axis_shape if is_last else is_image_shape)(shape)):
        expected_shapes = "(h, w, n) or (h, w, channels, n)" if is_last else "(n, h, w) or (n, h, w, channels)"
        raise DataError(f"data.arrays: {spec.images!r} has shape {shape}, expected {expected_shapes}")
    n = shape[-1 if is_last else 0]
    _check_row_count(spec.images, n, file)
    name, file_name = get_dataset_name(spec.images), get_dataset_file(spec.images)
    # The state of its own file does not show whether values in other files have changed: such rows are always read.
    state = None if find_external_files(images) else file_state(file)
    uri = f"row:{file_uri(str(file.absolute()))}//{name}/"
    prefix = f"{file_name}#{name}/" if name and not is_only_spec else f"{file_name}#"
    options = [EXTERNAL_OPTION] * external + [LAST_AXIS_OPTION] * is_last
    suffix = f"?{'&'.join(options)}" if options else ""
    entries = [Entry(f"{prefix}{row}", f"{uri}{row}{suffix}", state[1:] if state else None) for row in range(n)]
    columns: dict[str, Any] = {}
    for column, place in spec.labels.items():
        labels = _open_dataset(place, home, external)[1]
        check_label_rows(place, labels, spec.images, n)
        columns |= _without_repeats(read_label_columns(column, place, labels, n), columns, place)
    if spec.split is not None:
        columns["split"] = np.full(n, spec.split, dtype=object)
    return entries, pd.DataFrame(columns, index=range(n))


def external_label_files(data: ReaderSpec, folder: Path) -> list[Path]:
    """Return the files from which the label datasets of a source take their values, other than their own.

    Parameters
    ----------
    data
        The source; without ``data.external`` there are no such files.
    folder
        Folder of the recipe.
    """
    source = Path(resolve_source(data.source, folder))
    home = source if source.is_dir() else source.parent
    files: list[Path] = []
    for place in dict.fromkeys(place for spec in data.arrays if data.external for place in spec.labels.values()):
        # A dataset that is missing now has no state either.
        with suppress(DataError):
            file, dataset = _open_dataset(place, home, external=True)
            # HDF5 looks for a relative path in the folder of the file and in the working directory.
            paths = (folder / name for name in find_external_files(dataset) for folder in (file.parent, Path.cwd()))
            files += filter(Path.is_file, paths)
    return list(dict.fromkeys(files))


def _without_repeats(new_columns: Mapping[str, Any], columns: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """Return the added columns, once it is known that none of them exists."""
    if repeated_columns := new_columns.keys() & columns.keys():
        raise DataError(
            f"data.arrays: {place!r} has the column {min(repeated_columns)!r}, which another label dataset has too; "
            "leave one of them out of 'labels'"
        )
    return new_columns


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


def _open_dataset(place: str, home: Path, external: bool) -> tuple[Path, Any]:
    file = existing_file(home / get_dataset_file(place), "data.arrays")
    name = get_dataset_name(place)
    try:
        arrays = open_datasets(file)
        if name in arrays:
            if not external:
                check_values_inside(_dataset_text(home, place), arrays[name])
            check_filters(_dataset_text(home, place), arrays[name])
    except DataError as error:
        raise DataError(str(error)) from error
    except ARRAY_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{file} cannot be read as arrays, it may be truncated: {reason}") from error
    if name not in arrays:
        raise DataError(
            f"data.arrays: {file} has no dataset {name!r}; datasets: {', '.join(map(repr, arrays)) or 'none'}"
        )
    return file, arrays[name]
