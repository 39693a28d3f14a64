"""Label datasets as columns: numbers, text, one-hot rows, enumerations, and tables of several fields."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import DataError
from featx.images.contents import MAX_IMAGE_BYTES

# Number of columns of a two-dimensional label dataset.
MAX_LABEL_COLUMNS = 1000
EXPECTED_TYPES = "expected numbers, text, booleans, enumerations or a table of them"


def array_shape(array: Any) -> tuple[int, ...]:
    """Return the shape of an array as Python numbers."""
    return tuple(int(n) for n in array.shape)


def is_label_shape(shape: tuple[int, ...], n_images: int) -> bool:
    """Whether an array holds one row of labels for each of n images.

    Examples
    --------
    >>> [is_label_shape(shape, 8) for shape in ((8,), (8, 1, 1, 1), (8, 14), (1, 8), (8, 32, 32), (9,))]
    [True, True, True, True, False, False]
    """
    if len(shape) == 2 and shape == (1, n_images):
        return True
    long_axes = [n for n in shape[1:] if n != 1]
    return shape[:1] == (n_images,) and len(long_axes) <= 1 and math.prod(long_axes) <= MAX_LABEL_COLUMNS


def label_type_problem(array: Any) -> str:
    """Return why the values of a dataset cannot be labels, judged by its dtype; empty if they can."""
    return "" if array.dtype.names or _is_text_or_number(array.dtype) else f"holds {array.dtype}, {EXPECTED_TYPES}"


def _is_text_or_number(dtype: np.dtype[Any]) -> bool:
    if dtype.kind != "O":
        return dtype.kind in "biufSU"
    import h5py

    return h5py.check_string_dtype(dtype) is not None


def check_label_rows(place: str, array: Any, images: str, n_images: int) -> None:
    """Check that a label dataset has one row per image.

    Parameters
    ----------
    place, images
        File and name of the label dataset, and of the images, for errors.
    array
        The label dataset.
    n_images
        Number of images.

    Raises
    ------
    DataError
        it has not.
    """
    shape = array_shape(array)
    if not is_label_shape(shape, n_images) and shape[:1] != (n_images,):
        raise DataError(
            f"data.arrays: {images!r} has {n_images} rows and {place!r} has shape {shape}; expected as many labels as "
            "images"
        )


def read_label_columns(name: str, place: str, array: Any, n_images: int) -> dict[str, NDArray[Any]]:
    """Return the columns of a label dataset.

    Parameters
    ----------
    name
        Name of the column, if there is one; several are numbered ``name_0``, ``name_1``, …, and the fields of a table
        keep their own names.
    place
        File and name of the dataset, for errors.
    array
        The dataset.
    n_images
        Number of images; the dataset has as many rows.

    Raises
    ------
    DataError
        it does not fit into memory, or its values are no labels.
    """
    shape = array_shape(array)
    if (n_bytes := math.prod(shape) * array.dtype.itemsize) > MAX_IMAGE_BYTES:
        raise DataError(f"data.arrays: {place!r} has {n_bytes} bytes, expected at most {MAX_IMAGE_BYTES} of labels")
    if array.dtype.names:
        return _read_fields(place, array, n_images)
    if problem := label_type_problem(array):
        raise DataError(f"data.arrays: {place!r} {problem}")
    values = _to_plain(_load(array, place), array.dtype).reshape(n_images, -1 if n_images else 1)
    if values.shape[1] > MAX_LABEL_COLUMNS:
        raise DataError(
            f"data.arrays: {place!r} has shape {shape}, expected at most {MAX_LABEL_COLUMNS} labels per image"
        )
    if values.shape[1] == 1:
        return {name: values[:, 0]}
    if _is_one_hot(values):
        return {name: values.argmax(axis=1)}
    return {f"{name}_{number}": values[:, number] for number in range(values.shape[1])}


def _read_fields(place: str, array: Any, n_images: int) -> dict[str, NDArray[Any]]:
    """Return the fields of a table as columns; those of several values are numbered."""
    if array_shape(array) not in {(n_images,), (n_images, 1), (1, n_images)}:
        raise DataError(f"data.arrays: {place!r} has shape {array_shape(array)}, expected one row per image")
    rows = _load(array, place).reshape(n_images)
    columns: dict[str, NDArray[Any]] = {}
    for field in array.dtype.names:
        dtype = array.dtype[field]
        base = dtype.base
        if base.names or not _is_text_or_number(base):
            raise DataError(f"data.arrays: field {field!r} of {place!r} holds {base}, {EXPECTED_TYPES}")
        values = _to_plain(rows[field], base).reshape(n_images, -1 if n_images else 1)
        if values.shape[1] == 1:
            columns[field] = values[:, 0]
        else:
            columns |= {f"{field}_{number}": values[:, number] for number in range(values.shape[1])}
    return columns


def _load(array: Any, place: str) -> NDArray[Any]:
    try:
        return np.asarray(array[...])
    except (OSError, ValueError, RuntimeError, TypeError, MemoryError) as error:
        raise DataError(f"data.arrays: {place!r} cannot be read: {str(error) or type(error).__name__}") from error


def _to_plain(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return values as numbers of the machine's byte order, booleans, or objects of text."""
    import h5py

    if names := h5py.check_enum_dtype(dtype):
        name_by_code = {code: name for name, code in names.items()}
        flat_values = [name_by_code.get(code, str(code)) for code in values.ravel().tolist()]
        return np.array(flat_values, dtype=object).reshape(values.shape)
    if dtype.kind == "O":
        return np.array([_decode(value) for value in values.ravel()], dtype=object).reshape(values.shape)
    if dtype.kind == "S":
        return np.char.decode(values, "utf-8", "backslashreplace").astype(object)
    # IDX files are big-endian, but pandas takes only the byte order of the machine.
    if dtype.kind in "iuf":
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    return values.astype(object) if dtype.kind == "U" else values


def _decode(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _is_one_hot(values: NDArray[Any]) -> bool:
    """Whether each row of (n, k) holds a single 1 and zeros."""
    return values.dtype.kind in "biuf" and bool(np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all())
