"""Base of readers of categories of objects in images: one class per image, or one column of 0 and 1 per category."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from featx.errors import DataError, ReadError
from featx.images.names import find_part, make_twin_key
from featx.images.readers import Listing
from featx.images.sources import is_tree, open_tree, read_content
from featx.images.trees import Entry, Tree
from featx.locations import resolve_source
from featx.specs.data import ReaderSpec

# Rules of files that readers of categories use, although the images are not listed in them one row each.
ANNOTATION_RULES = frozenset(
    {"is an annotation", "is the label table", "names the classes", "names the same images as another COCO file"}
    | {"lists the images of a part"}
)


@dataclass
class Categories:
    """The categories of the images of a source.

    Attributes
    ----------
    by_image
        Names of the categories by entry of the image, in the order of the listing.
    parts
        Part by name of the image; otherwise the folders of an image state its part.
    annotations
        Rule by name of each file that holds annotations, or is no annotation that is used.
    """

    by_image: dict[Entry, set[str]] = field(default_factory=dict)
    parts: dict[str, str | None] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


class CategoryReader(ABC):
    """Base of readers whose annotations name categories: column ``class``, or one column of 0 and 1 per category.

    Attributes
    ----------
    name
        Name in the registry of readers.
    rank
        Position among the readers that try to recognise a source.
    """

    name: str
    rank: int

    @abstractmethod
    def has_annotations(self, tree: Tree) -> bool:
        """Whether most images of a tree have annotations of this format."""

    @abstractmethod
    def read_categories(self, tree: Tree) -> Categories:
        """Return the categories of all images.

        Raises
        ------
        DataError
            an annotation cannot be read.
        """

    def recognise(self, source: str, labels: str | None, target: str | None = None) -> ReaderSpec | None:
        """Return how to read the source if its images have annotations of this format, otherwise None."""
        if labels is not None or not is_tree(source) or not self.has_annotations(open_tree(source)):
            return None
        return ReaderSpec(source=source, reader=self.name)

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """Return all annotated images with the categories of their objects."""
        tree = open_tree(resolve_source(data.source, folder))
        categories = self.read_categories(tree)
        images = list(categories.by_image)
        parts = [categories.parts.get(image.name) or find_folder_part(image.name) for image in images]
        frame = make_category_columns(list(categories.by_image.values()))
        if any(parts):
            if "split" in frame.columns:
                raise DataError("a category is called 'split', as the column of parts; rename the category")
            frame["split"] = parts
        names = {image.name for image in images}
        rules = {
            entry.name: categories.annotations.get(entry.name) or _find_rule(entry)
            for entry in tree.entries()
            if entry.name not in names
        }
        return Listing.from_tree(tree, images, frame, rules).with_complete_split()


def _find_rule(entry: Entry) -> str:
    return "has no annotation" if entry.is_image else entry.non_image_reason


def make_category_columns(categories: Sequence[set[str]]) -> pd.DataFrame:
    """Return one column ``class`` if each of n images has one category, otherwise a column of 0 and 1 per category.

    Examples
    --------
    >>> make_category_columns([{"cat"}, {"dog"}]).to_dict("list")
    {'class': ['cat', 'dog']}
    >>> make_category_columns([{"cat"}, {"dog", "cat"}, set()]).to_dict("list")
    {'cat': [1, 1, 0], 'dog': [0, 1, 0]}
    """
    if all(len(names) == 1 for names in categories):
        return pd.DataFrame({"class": [next(iter(names)) for names in categories]}, dtype=object)
    columns = {
        name: np.array([name in names for names in categories], dtype=np.int64)
        for name in sorted(set().union(*categories))
    }
    return pd.DataFrame(columns, index=range(len(categories)))


def find_folder_part(name: str) -> str | None:
    """Return the part that the innermost folder of a file stands for.

    Examples
    --------
    >>> find_folder_part("train2017/a.jpg"), find_folder_part("valid/images/a.jpg"), find_folder_part("test.jpg")
    ('train', 'val', None)
    """
    return find_path_part(name.rpartition("/")[0])


def find_path_part(path: str) -> str | None:
    """Return the part that the last folder or file of a path stands for; years at the end of a word are left out."""
    parts = (find_part(re.sub(r"\d+", " ", name)) for name in reversed(path.split("/")))
    return next((part for part in parts if part is not None), None)


def find_twins(tree: Tree, suffix: str) -> tuple[dict[str, Entry], dict[str, Entry]]:
    """Return the images and the annotation files of a tree by the key that an image shares with its annotation."""
    files = tree.entries().readable(suffix)
    # Most sources have no such files, and some have a million images.
    images = {make_twin_key(entry.name): entry for entry in tree.entries().images} if files else {}
    return images, {make_twin_key(entry.name): entry for entry in files}


def list_first_annotations(tree: Tree, suffix: str, limit: int) -> list[Entry]:
    """Return the first annotation files of images; empty unless more than half of the images have one.

    Parameters
    ----------
    tree
        The tree of images and annotations.
    suffix
        Suffix of annotation files.
    limit
        Number of files.
    """
    images, files = find_twins(tree, suffix)
    keys = sorted(images.keys() & files.keys())
    return [files[key] for key in keys[:limit]] if 2 * len(keys) > len(images) else []


def read_annotation(entry: Entry) -> bytes:
    """Return the content of an annotation file.

    Raises
    ------
    DataError
        it cannot be read.
    """
    try:
        content = read_content(entry.uri)
    except ReadError as error:
        # An empty annotation names no category.
        if str(error) == "is empty":
            return b""
        raise DataError(f"annotation {entry.name!r} {error}; correct or remove it") from error
    except OSError as error:
        raise DataError(f"annotation {entry.name!r} cannot be read: {error}; correct or remove it") from error
    assert isinstance(content, bytes)
    return content
