"""Datasets of images among the arrays of a source, and the label datasets that belong to them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from featx.images.containers.array_labels import array_shape, is_label_shape, label_type_problem
from featx.images.names import PART_WORDS, base_name, find_part, split_words
from featx.specs.data import ArraySpec

FORMAT_WORDS = frozenset({"idx1", "idx2", "idx3", "idx4", "ubyte", "gz", "npy", "npz", "h5", "hdf5", "hdf", "mat"})
LABEL_WORDS = frozenset({"y", "label", "labels", "target", "targets", "class", "classes"})
MASK_WORDS = frozenset({"mask", "masks", "seg", "segmentation", "segmentations", "gt", "annotation", "annotations"})
# Side of an image in pixels; smaller arrays are landmarks, (n, points, 2).
MIN_SIDE_PX = 4
CHANNELS = frozenset({1, 2, 3, 4})
# First bytes of the image formats that people store in rows: JPEG, PNG, GIF, BMP, WebP, TIFF.
IMAGE_MAGICS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*")


def get_dataset_file(place: str) -> str:
    """Return the file of a dataset that is written as in ``data.arrays``: ``file.h5#dataset``."""
    return place.partition("#")[0]


def get_dataset_name(place: str) -> str:
    """Return the name of a dataset in its file; empty if the file holds one array without a name."""
    return place.partition("#")[2]


def is_image_shape(shape: tuple[int, ...]) -> bool:
    """Whether (n, …) can be images: (n, h, w), or with channels last or first, 1 to 4 or fewer than either side.

    Examples
    --------
    >>> [is_image_shape(shape) for shape in ((9, 28, 28), (9, 8, 8, 3), (9, 3, 8, 8), (9, 1, 1, 1), (32, 32, 3, 9))]
    [True, True, True, False, False]
    """
    if len(shape) == 3:
        return min(shape[1:]) >= MIN_SIDE_PX
    if len(shape) != 4:
        return False
    first, middle, last = shape[1:]
    is_last = last in CHANNELS or last < min(first, middle)
    is_first = first in CHANNELS or first < min(middle, last)
    return (is_last and min(first, middle) >= MIN_SIDE_PX) or (is_first and min(middle, last) >= MIN_SIDE_PX)


def is_last_axis_shape(shape: tuple[int, ...]) -> bool:
    """Whether (…, n) can be images as MATLAB stores them: (h, w, n), or (h, w, c, n)."""
    has_sides = len(shape) in {3, 4} and min(shape[:2]) >= MIN_SIDE_PX
    return has_sides and (len(shape) == 3 or shape[2] in CHANNELS)


def has_encoded_images(array: Any) -> bool:
    """Whether the first row of a dataset is the content of an image file: bytes or a sequence of uint8."""
    if array.ndim != 1 or not len(array) or array.dtype.names:
        return False
    if array.dtype.kind not in "OSV" or (array.dtype.kind != "O" and array.dtype.itemsize <= MIN_SIDE_PX):
        return False
    try:
        content = row_bytes(array[0])
    except (OSError, ValueError, TypeError, RuntimeError, MemoryError):
        return False
    return content is not None and content.startswith(IMAGE_MAGICS)


def row_bytes(value: Any) -> bytes | None:
    """Return one row of a dataset of encoded images as bytes; None if it holds neither bytes nor uint8."""
    if isinstance(value, bytes):
        return bytes(value)
    kind = getattr(getattr(value, "dtype", None), "str", "")
    return bytes(value.tobytes()) if kind[1:] == "u1" or kind[1:2] in {"V", "S"} else None


def pair_datasets(arrays: Mapping[str, Any]) -> list[ArraySpec]:
    """Return each dataset of images with the label datasets that have as many rows and name the same part.

    Parameters
    ----------
    arrays
        All arrays of a source by place.
    """
    specs = []
    for images, array in arrays.items():
        shape = array_shape(array)
        is_numeric = array.dtype.kind in "biuf"
        if (is_numeric and is_image_shape(shape)) or has_encoded_images(array):
            labels = _find_labels(images, shape[0], arrays)
            specs += [ArraySpec(images=images, labels=labels, split=_find_dataset_part(images))] if labels else []
    for images, array in arrays.items():
        shape = array_shape(array)
        if array.dtype.kind in "biuf" and is_last_axis_shape(shape) and images not in {spec.images for spec in specs}:
            labels = _find_labels(images, shape[-1], arrays)
            part = _find_dataset_part(images)
            specs += [ArraySpec(images=images, labels=labels, split=part, row_axis="last")] if labels else []
    specs = _share_column_names(_drop_masks(specs, lambda place: array_shape(arrays[place])))
    # The words "val" and "test" stand for parts only beside a train part.
    has_parts = "train" in {spec.split for spec in specs}
    return specs if has_parts else [spec.model_copy(update={"split": None}) for spec in specs]


def list_unlabelled_images(arrays: Mapping[str, Any]) -> list[ArraySpec]:
    """Return the datasets of images of a source without labels, without masks; empty if a dataset is named like labels.

    Parameters
    ----------
    arrays
        All arrays of a source by place.
    """
    shapes = {place: array_shape(array) for place, array in arrays.items()}
    numeric_places = [place for place, array in arrays.items() if array.dtype.kind in "biuf"]
    last_axis_places = [place for place in numeric_places if _counts_on_last_axis(shapes[place])]
    first_axis_places = [
        place for place in numeric_places if place not in last_axis_places and is_image_shape(shapes[place])
    ]
    first_axis_places += [place for place, array in arrays.items() if has_encoded_images(array)]
    words = {place: set(split_words(get_dataset_name(place) or base_name(place))) for place in arrays}
    if any(words[place] & LABEL_WORDS for place in arrays if place not in {*first_axis_places, *last_axis_places}):
        return []
    images = [place for place in arrays if place in {*first_axis_places, *last_axis_places}]
    pictures = [place for place in images if not words[place] & (MASK_WORDS | LABEL_WORDS)]
    return [
        ArraySpec(images=place, row_axis="last" if place in last_axis_places else "first")
        for place in pictures or images
    ]


def _counts_on_last_axis(shape: tuple[int, ...]) -> bool:
    """Whether the last axis counts the images of a dataset: (h, w, channels, n), or (side, side, n).

    Examples
    --------
    >>> [_counts_on_last_axis(shape) for shape in ((32, 32, 3, 9), (64, 64, 9), (9, 64, 64), (64, 64, 3), (9, 8, 8, 3))]
    [True, True, False, False, False]
    """
    if not is_last_axis_shape(shape) or (len(shape) == 4 and is_image_shape(shape)):
        return False
    return len(shape) == 4 or (shape[0] == shape[1] != shape[2] and shape[2] not in CHANNELS)


def _find_labels(images: str, n_images: int, arrays: Mapping[str, Any]) -> dict[str, str]:
    """Return the place of each label dataset by the name of its column."""
    part = _find_dataset_part(images)
    places = [
        place
        for place, array in arrays.items()
        if place != images
        and is_label_shape(array_shape(array), n_images)
        and not label_type_problem(array)
        and _find_dataset_part(place) in {part, None}
        and not has_encoded_images(array)
    ]
    # A dataset that names the same part fits better than one that names none.
    shared_columns = _name_columns([place for place in places if _find_dataset_part(place) != part])
    columns = shared_columns | _name_columns([place for place in places if _find_dataset_part(place) == part])
    return {name: place for place in arrays for name, column_place in columns.items() if column_place == place}


def _drop_masks(specs: Sequence[ArraySpec], get_shape: Callable[[str], tuple[int, ...]]) -> list[ArraySpec]:
    """Return one of the datasets with the same labels, as pictures and their masks: with channels, then the largest."""
    best: dict[tuple[str | None, tuple[str, ...]], ArraySpec] = {}
    for spec in sorted(specs, key=lambda spec: (len(get_shape(spec.images)), math.prod(get_shape(spec.images)))):
        best[spec.split, tuple(spec.labels.values())] = spec
    return [spec for spec in specs if spec in best.values()]


def _find_dataset_part(place: str) -> str | None:
    """Return the part that a dataset's name stands for, or else its file's, or else that of the file's folder."""
    file = get_dataset_file(place)
    return find_part(get_dataset_name(place)) or find_part(base_name(file)) or find_part(file.rpartition("/")[0])


def _name_columns(places: Sequence[str]) -> dict[str, str]:
    """Return the place of each label dataset by the name of its column: its words without the part and the format.

    The only one whose words all mean a label is called ``label``.
    """
    names = {place: _name_column(place) for place in places}
    usual_places = [place for place, name in names.items() if _is_usual_name(name)]
    names |= dict.fromkeys(usual_places, "label") if len(usual_places) == 1 else {}
    return {name or "label": place for place, name in names.items()}


def _name_column(place: str) -> str:
    """Return the words of a label dataset's name without the part and the format; empty if there are no others."""
    words = split_words(get_dataset_name(place) or base_name(get_dataset_file(place)))
    return "_".join(word for word in words if word not in FORMAT_WORDS and word not in PART_WORDS)


def _is_usual_name(name: str) -> bool:
    """Whether all words of a column's name mean a label."""
    return set(filter(None, name.split("_"))) <= LABEL_WORDS


def _share_column_names(specs: list[ArraySpec]) -> list[ArraySpec]:
    """Return the specs with the same names in all parts: no column is called ``label`` if a part has several labels."""
    if not any(name != "label" and _is_usual_name(name) for spec in specs for name in spec.labels):
        return specs
    return [
        spec.model_copy(
            update={
                "labels": {
                    _name_column(place) or name if name == "label" else name: place
                    for name, place in spec.labels.items()
                }
            }
        )
        for spec in specs
    ]
