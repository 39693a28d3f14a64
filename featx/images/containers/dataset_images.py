"""HDF5 files with one dataset per image; labels are the groups, attributes, or other datasets."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from featx.errors import DataError, ReadError
from featx.files.atomic import file_state
from featx.images.array_files import ARRAY_ERRORS, open_datasets
from featx.images.containers.array_labels import array_shape, label_type_problem, read_label_columns
from featx.images.containers.array_pairing import CHANNELS, IMAGE_MAGICS, LABEL_WORDS, MIN_SIDE_PX, row_bytes
from featx.images.containers.hdf5 import Hdf5Datasets, check_filters, check_values_inside
from featx.images.contents import Content, check_size, file_uri
from featx.images.names import base_name, find_part
from featx.images.readers import Listing, list_files, list_other_files
from featx.images.split_columns import join_labels
from featx.images.trees import Entry
from featx.locations import HDF5_SUFFIXES, resolve_source
from featx.specs.data import ReaderSpec

# Groups that hold all images or all labels, and so name no class.
IMAGE_GROUPS = frozenset({"images", "image", "imgs", "img", "x", "data", "pixels"})
# Attributes that HDF5's own conventions for images and dimensions define.
STANDARD_ATTRIBUTES = ("CLASS", "IMAGE_", "PALETTE", "INTERLACE_MODE", "DISPLAY_ORIGIN", "DIMENSION_", "REFERENCE_")
MIN_IMAGES = 2
# Two arrays without labels may be anything.
MIN_UNLABELLED_IMAGES = 3


class DatasetReader:
    """Reads each dataset of an HDF5 file as one image; groups, attributes and label datasets become columns."""

    rank = 31

    def recognise(self, source: str, labels: str | None, target: str | None = None) -> ReaderSpec | None:
        """Return how to read the source if its HDF5 files hold one dataset per image, with labels, otherwise None."""
        if labels is not None:
            return None
        for file in list_files(Path(source), HDF5_SUFFIXES):
            images, frame, _, _ = _list_file(file)
            if len(images) >= MIN_IMAGES and len(frame.columns):
                return ReaderSpec(source=source, reader="datasets")
        return None

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """Return all datasets that are images, with their labels."""
        source = Path(resolve_source(data.source, folder))
        if not source.exists():
            raise DataError(f"data.source: {data.source!r} does not exist; expected an HDF5 file or a folder of them")
        entries: list[Entry] = []
        frames: list[pd.DataFrame] = []
        rules: dict[str, str] = {}
        for file in list_files(source, HDF5_SUFFIXES):
            images, labels, label_names, unused_names = _list_file(file)
            state = file_state(file)
            uri = f"dataset:{file_uri(str(file.absolute()))}//"
            entries += [Entry(f"{file.name}#{name}", uri + name, state[1:] if state else None) for name in images]
            frames.append(_add_parts(labels, images, file.name))
            rules |= {
                f"{file.name}#{name}": "holds labels" if name in label_names else "is a dataset that is not an image"
                for name in sorted(unused_names)
            }
        rules |= list_other_files(source, HDF5_SUFFIXES)
        return Listing.from_entries(entries, join_labels(frames), rules).with_complete_split()


def recognise_unlabelled_datasets(source: str) -> ReaderSpec | None:
    """Return how to read a source if all datasets of its HDF5 files are images without labels, otherwise None.

    Raises
    ------
    DataError
        a file cannot be read.
    """
    file_contents = [_list_file(file) for file in list_files(Path(source), HDF5_SUFFIXES)]
    n_images = sum(len(images) for images, *_ in file_contents)
    if n_images < MIN_UNLABELLED_IMAGES or any(unused_names for *_, unused_names in file_contents):
        return None
    return ReaderSpec(source=source, reader="datasets")


def read_dataset(location: str) -> Content:
    """Return a whole dataset ``/path/to/file.h5//images/0001``, as bytes if it is the content of an image file.

    Errors are those of `featx.images.sources.read_content`.
    """
    path, _, name = location.partition("//")
    try:
        dataset = open_datasets(Path(path))[name]
        check_values_inside(f"{path}: dataset {name!r}", dataset)
        check_filters(f"{path}: dataset {name!r}", dataset)
        check_size(max(math.prod(dataset.shape), math.prod(dataset.chunks or (1,))) * dataset.dtype.itemsize)
        values = np.asarray(dataset[...])
    except (FileNotFoundError, ReadError):
        raise
    except DataError as error:
        raise ReadError(str(error)) from error
    except ARRAY_ERRORS as error:
        raise ReadError(f"cannot be read from its file: {str(error) or type(error).__name__}") from error
    content = row_bytes(values) if values.ndim == 1 else None
    return content if content is not None else values.astype(values.dtype.newbyteorder("="), copy=False)


def _list_file(file: Path) -> tuple[list[str], pd.DataFrame, set[str], set[str]]:
    """Return the datasets of a file that are images, their labels, the datasets that hold labels, and all others.

    Raises
    ------
    DataError
        it cannot be read.
    """
    try:
        datasets = open_datasets(file)
        images = _list_images(datasets)
        labels, label_names = _read_labels(datasets, images)
        return images, labels, label_names, set(datasets) - set(images)
    except DataError as error:
        raise DataError(str(error)) from error
    except ARRAY_ERRORS as error:
        reason = str(error) or type(error).__name__
        raise DataError(f"{file} cannot be read as arrays, it may be truncated: {reason}") from error


def _list_images(datasets: Mapping[str, Any]) -> list[str]:
    return [name for name in datasets if _is_image(datasets[name])]


def _is_image(dataset: Any) -> bool:
    """Whether a dataset is one image: (h, w), (h, w, channels), (channels, h, w), or bytes of an image file."""
    shape = array_shape(dataset)
    if len(shape) == 1 and dataset.dtype.str[1:] == "u1" and shape[0] > len(IMAGE_MAGICS[0]):
        return bytes(dataset[:4].tobytes()).startswith(IMAGE_MAGICS)
    if dataset.dtype.kind not in "biuf":
        return False
    if len(shape) == 2:
        return min(shape) >= MIN_SIDE_PX
    is_last, is_first = len(shape) == 3 and shape[2] in CHANNELS, len(shape) == 3 and shape[0] in CHANNELS
    return (is_last and min(shape[:2]) >= MIN_SIDE_PX) or (is_first and min(shape[1:]) >= MIN_SIDE_PX)


def _read_labels(datasets: Mapping[str, Any], images: Sequence[str]) -> tuple[pd.DataFrame, set[str]]:
    """Return the label columns of n images, and the names of the datasets that hold labels."""
    columns: dict[str, Any] = {}
    if (classes := _find_group_classes(images)) is not None:
        columns["class"] = classes
    for name in sorted({name for image in images for name in datasets[image].attrs}):
        if not name.startswith(STANDARD_ATTRIBUTES):
            values = [_to_plain_value(datasets[image].attrs.get(name)) for image in images]
            if any(value is not None for value in values):
                _add_column(columns, (name, f"attribute_{name}"), values)
    twin_columns = dict(_read_twin_columns(datasets, images))
    table_columns = {
        name: new_columns
        for name in sorted(set(datasets) - set(images))
        if (new_columns := _read_table_columns(datasets[name], name, images))
    }
    n_usual_names = sum(base_name(place).lower() in LABEL_WORDS for place in (*twin_columns, *table_columns))
    for place, values in twin_columns.items():
        _add_column(columns, ("label", place, f"group_{place}")[n_usual_names > 1 :], values)
    for place, new_columns in table_columns.items():
        is_label = n_usual_names == 1 and base_name(place).lower() in LABEL_WORDS
        for name, values in new_columns.items():
            short_name = "label" if is_label and name == base_name(place) else name
            _add_column(columns, (short_name, place, f"{place}/{name}"), values)
    return pd.DataFrame(columns, index=range(len(images)), dtype=None if columns else object), set(table_columns)


def _add_column(columns: dict[str, Any], names: Sequence[str], values: Sequence[Any]) -> None:
    """Add a column under the first free name; values that a column of one of these names holds already are left out."""
    for name in names:
        if name not in columns:
            columns[name] = values
            return
        if list(columns[name]) == list(values):
            return


def _find_group_classes(images: Sequence[str]) -> list[str] | None:
    """Return the class of each image from its group; None if all images are in one group besides parts."""
    groups = [
        [group for group in name.split("/")[:-1] if find_part(group) is None and group.lower() not in IMAGE_GROUPS]
        for name in images
    ]
    classes = [group[-1] if group else "" for group in groups]
    return classes if all(classes) and len(set(classes)) > 1 else None


def _read_twin_columns(datasets: Mapping[str, Any], images: Sequence[str]) -> Iterator[tuple[str, list[Any]]]:
    """Yield each group of labels with one dataset per image, ``labels/0001`` beside ``images/0001``, and its column."""
    if not isinstance(datasets, Hdf5Datasets):
        return
    for group in sorted(LABEL_WORDS):
        values = []
        for image in images:
            parts = [group if part.lower() in IMAGE_GROUPS else part for part in image.split("/")[:-1]]
            values.append(
                _to_plain_value(datasets.value("/".join([*parts, base_name(image)]))) if group in parts else None
            )
        if any(value is not None for value in values):
            yield group, values


def _read_table_columns(dataset: Any, name: str, images: Sequence[str]) -> dict[str, Any]:
    """Return the columns of a label dataset: a table with a field of names, or numbers if images are numbered."""
    n_images = len(images)
    if array_shape(dataset)[:1] != (n_images,):
        return {}
    if not dataset.dtype.names:
        is_column = not label_type_problem(dataset) and math.prod(array_shape(dataset)) == n_images
        order = _find_number_order(images) if is_column else None
        if order is None:
            return {}
        new_columns = read_label_columns(base_name(name), name, dataset, n_images)
        return {column: values[order] for column, values in new_columns.items()}
    columns = read_label_columns("label", name, dataset, n_images)
    for key in columns:
        rows = {str(value): row for row, value in enumerate(columns[key])}
        for spelling in (list(images), [base_name(image) for image in images]):
            if len(rows) == n_images and set(rows) == set(spelling):
                order = np.array([rows[image] for image in spelling])
                return {column: values[order] for column, values in columns.items() if column != key}
    return {}


def _find_number_order(images: Sequence[str]) -> np.ndarray[Any, np.dtype[np.intp]] | None:
    """Return the row of each image if all are in one group and numbered without gaps from 0 or 1, otherwise None."""
    names = [base_name(image) for image in images]
    if len({image.rpartition("/")[0] for image in images}) != 1 or not all(name.isdecimal() for name in names):
        return None
    numbers = np.array([int(name) for name in names], dtype=np.intp)
    order = numbers - numbers.min()
    is_complete = numbers.min() <= 1 and sorted(order.tolist()) == list(range(len(images)))
    return order if is_complete else None


def _to_plain_value(value: Any) -> Any:
    """Return a label of HDF5 as text or a number; None if it is no single value."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, np.ndarray | np.generic):
        value = value.item() if value.size == 1 else None
        return _to_plain_value(value) if isinstance(value, bytes) else value
    return value if isinstance(value, str | int | float | bool) else None


def _add_parts(labels: pd.DataFrame, images: Sequence[str], file: str) -> pd.DataFrame:
    parts = [find_part(image.rpartition("/")[0].replace("/", " ")) or find_part(file) for image in images]
    return labels.assign(split=np.array(parts, dtype=object)) if any(parts) and "split" not in labels else labels
