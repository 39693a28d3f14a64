"""Properties of images that could give a label away, as codes: bins of numbers, folders, words of names, cameras."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.exploration.explored_images import ExploredImages
from featx.files.column_types import category_text
from featx.images.names import base_name, part_of, split_words
from featx.parallel.threads import single_threaded

Codes = NDArray[np.int64]
Numbers = NDArray[np.float64]
# Number of bins of a number, and of values of a text; rarer values are one value.
MAX_BINS = 32
# Number of images with a value or a word, below which it is too rare to be used.
MIN_IMAGES_PER_VALUE = 5
MAX_WORDS = 400
RARE_VALUES, NO_VALUE = "rare values", "none"
# Share of images whose folder has the name of their label, from which on the folder is the label itself.
MIN_SHARE_NAMED = 0.95
# Readers whose labels are names of folders.
FOLDER_READERS = frozenset({"folder", "npy_folders"})
PICTURE_NUMBERS = {
    "brightness": "brightness",
    "contrast": "contrast",
    "sharpness": "sharpness",
    "colourfulness": "colourfulness",
    "entropy": "entropy_bits",
}
FILE_NUMBERS = {"width": "width_px", "height": "height_px", "aspect ratio": "aspect_ratio"}
FILE_TEXTS = {"file type": "file_type", "colour mode": "mode", "camera": "camera"}
FRAME, FILE_SIZE, FOLDER, WORDS = "border on all sides", "file size", "folder", "words of file names"
# What determines the size of a file beside its encoding.
CONTENT_COLUMNS = ("entropy_bits", "contrast", "sharpness", "colourfulness", "border_share", "brightness", "is_grey")
FOLDS = 5
SEED = 0


@dataclass(frozen=True, eq=False)
class CodedProperty:
    """A property with one value of a few for each image.

    Attributes
    ----------
    name
        Name of the property.
    values
        (n,) numbers or texts.
    codes
        (n,) codes of the values: bins of numbers, or frequent texts.
    is_of_picture
        Whether the property follows from what a picture shows, as its brightness does, so that classes may differ in it
        without a fault.
    unit
        Unit of the numbers, with the space before it; empty for numbers without one and for texts.
    """

    name: str
    values: NDArray[Any]
    codes: Codes
    is_of_picture: bool = False
    unit: str = ""

    @classmethod
    def of_numbers(cls, name: str, values: Numbers, is_of_picture: bool = False, unit: str = "") -> "CodedProperty":
        """Return a property of numbers, nan where one is unknown."""
        return cls(name, values, code_numbers(values), is_of_picture, unit)

    @classmethod
    def of_texts(cls, name: str, values: Sequence[str]) -> "CodedProperty":
        """Return a property of texts."""
        return cls(name, np.asarray(values, dtype=object), code_texts(values))

    @property
    def is_constant(self) -> bool:
        """Whether all images have the same value."""
        return len(self.codes) == 0 or bool((self.codes == self.codes[0]).all())


@dataclass(frozen=True, eq=False)
class NameWords:
    """Words in the names of files.

    Attributes
    ----------
    words
        (w,) words.
    has_word
        (w, n) whether the name of each image has each word.
    """

    words: tuple[str, ...]
    has_word: NDArray[np.bool_]


def coded_properties(images: ExploredImages, labels: Sequence[str]) -> Iterator[CodedProperty]:
    """Yield the properties of images that are not the same for all of them.

    Parameters
    ----------
    images
        Measured images.
    labels
        (n,) labels as texts. A folder that has the name of the label is the label itself, and no property.
    """
    properties = images.properties
    for name, column in FILE_TEXTS.items():
        yield CodedProperty.of_texts(name, properties[column].fillna("").tolist())
    for name, column in FILE_NUMBERS.items():
        unit = " px" if column.endswith("_px") else ""
        yield CodedProperty.of_numbers(name, properties[column].to_numpy(np.float64), unit=unit)
    yield CodedProperty.of_numbers(FRAME, properties["frame_share"].to_numpy(np.float64), unit=" of the side")
    yield CodedProperty.of_numbers(FILE_SIZE, unexplained_size(properties), unit=" times the expected size")
    if not _names_give_labels(images):
        yield CodedProperty.of_texts(FOLDER, property_folders(images, labels))
    for grouping, values in images.groups.items():
        texts = [NO_VALUE if pd.isna(value) else category_text(value) for value in values]
        yield CodedProperty.of_texts(f"group {grouping}", texts)
    for name, column in PICTURE_NUMBERS.items():
        unit = " bits" if column.endswith("_bits") else ""
        yield CodedProperty.of_numbers(name, properties[column].to_numpy(np.float64), is_of_picture=True, unit=unit)


def _names_give_labels(images: ExploredImages) -> bool:
    """Return whether the labels are read from the names of the images."""
    labels = images.recipe.data.labels
    return labels is not None and labels.name is not None


def code_numbers(values: Numbers) -> Codes:
    """Return the bin of each number: each value is one if there are few, otherwise bins have equal numbers of images.

    Examples
    --------
    >>> code_numbers(np.array([3.0, 1.0, 3.0, np.nan])).tolist()
    [1, 0, 1, -1]
    """
    finite_values = values[~np.isnan(values)]
    lower_edges = np.unique(finite_values)
    if len(lower_edges) > MAX_BINS:
        lower_edges = np.unique(np.quantile(finite_values, np.linspace(0, 1, MAX_BINS + 1)[:-1]))
    codes = np.searchsorted(lower_edges, values, side="right") - 1
    return np.where(np.isnan(values), -1, codes).astype(np.int64)


def code_texts(texts: Sequence[str]) -> Codes:
    """Return the code of each text: the most frequent ones have their own, those of a few images share one."""
    counts = Counter(texts)
    frequent_texts = [text for text, n in counts.most_common(MAX_BINS) if n >= MIN_IMAGES_PER_VALUE]
    codes_by_text = {text: code for code, text in enumerate(frequent_texts)}
    return np.array([codes_by_text.get(text, len(frequent_texts)) for text in texts], dtype=np.int64)


@single_threaded()
def unexplained_size(properties: pd.DataFrame) -> Numbers:
    """Return each file's size divided by what the size, type and detail of its picture let expect.

    Files of pictures with more detail are larger, whatever their class; this part is removed by a regression that is
    fitted on other images (5 folds).
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.model_selection import KFold, cross_val_predict

    size = np.log2(properties["file_bytes"].to_numpy(np.float64))
    is_known = ~np.isnan(size)
    if is_known.sum() < 2 * FOLDS or np.ptp(size[is_known]) == 0:
        return np.ones(len(size))
    x = np.column_stack(
        [
            np.log2(properties["width_px"] * properties["height_px"]),
            code_texts(properties["file_type"].fillna("").tolist()),
            *(properties[name] for name in CONTENT_COLUMNS),
        ]
    )
    model = HistGradientBoostingRegressor(max_iter=80, random_state=SEED)
    folds = KFold(FOLDS, shuffle=True, random_state=SEED)
    ratio = np.full(len(size), math.nan)
    ratio[is_known] = np.exp2(size[is_known] - cross_val_predict(model, x[is_known], size[is_known], cv=folds))
    return ratio


def property_folders(images: ExploredImages, labels: Sequence[str]) -> list[str]:
    """Return the folder of each image without the folders that are its label or its part of the split."""
    paths = [image_id.split("/")[:-1] for image_id in images.ids]
    depth = max(map(len, paths), default=0)
    levels = [[path[level] if level < len(path) else "" for path in paths] for level in range(depth)]
    kept_levels = [
        level for level in levels if not _is_label(level, labels) and not all(part_of(name) for name in set(level))
    ]
    if images.recipe.data.reader_name in FOLDER_READERS and len(kept_levels) == sum(
        _is_no_part(level) for level in levels
    ):
        # Classes that the recipe renames: the folder with one class in each of its values is the label.
        label_levels = [level for level in kept_levels if _determines(level, labels)]
        if label_levels:
            kept_levels.remove(min(label_levels, key=lambda level: len(set(level))))
    return ["/".join(names) for names in zip(*kept_levels, strict=True)] if kept_levels else [""] * len(paths)


def _is_no_part(level: Sequence[str]) -> bool:
    return not all(part_of(name) for name in set(level))


def _is_label(level: Sequence[str], labels: Sequence[str]) -> bool:
    pairs = zip(level, labels, strict=True)
    n_named = sum(_normalise(name) == _normalise(label) for name, label in pairs)
    return n_named >= MIN_SHARE_NAMED * len(labels)


def _determines(level: Sequence[str], labels: Sequence[str]) -> bool:
    n_labels = pd.Series(list(labels)).groupby(list(level)).nunique()
    return bool((n_labels == 1).all())


def _normalise(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def name_words(images: ExploredImages, labels: Sequence[str]) -> NameWords | None:
    """Return the frequent words of file names that are no names of labels; None if names give the labels."""
    if _names_give_labels(images):
        return None
    label_words = {_normalise(label) for label in labels}
    stems = [base_name(image_id).rpartition(".")[0] or base_name(image_id) for image_id in images.ids]
    # A word and its letters without digits: ``cam1`` and ``cam``.
    words_by_image = [
        {part for word in split_words(stem) for part in (word, word.strip("0123456789"))} for stem in stems
    ]
    counts = Counter(word for words in words_by_image for word in words)
    n_images = len(stems)
    frequent_words = [
        word
        for word, n in counts.most_common()
        if MIN_IMAGES_PER_VALUE <= n <= n_images - MIN_IMAGES_PER_VALUE and word and word not in label_words
    ][:MAX_WORDS]
    rows: list[Any] = [[word in words for words in words_by_image] for word in frequent_words]
    return NameWords(tuple(frequent_words), np.array(rows, dtype=bool).reshape(len(frequent_words), n_images))
