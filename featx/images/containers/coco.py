"""COCO annotations: JSON files that list images, categories and annotations; an element at a time is parsed."""

import json
import re
from collections.abc import Iterator
from typing import Any

from featx.errors import DataError
from featx.images.containers.categories import Categories, CategoryReader, find_path_part, read_annotation
from featx.images.names import base_name
from featx.images.trees import Entry, Tree

COCO_NAME = re.compile(r"instances|coco|annotations?\.json$|^(train|val|valid|test)", re.IGNORECASE)
# Number of JSON files that are searched whatever their names; label files beside images are more.
MAX_SEARCHED_FILES = 20
COCO_KEYS = ("images", "annotations", "categories")
WHITESPACE = re.compile(r"[ \t\r\n]*")


class CocoReader(CategoryReader):
    """Reads the categories of each image from COCO files."""

    name = "coco"
    rank = 6

    def has_annotations(self, tree: Tree) -> bool:
        """Whether a JSON file of the tree has COCO's keys and names images."""
        return any(_CocoFile.find(entry) for entry in _list_candidates(tree))

    def read_categories(self, tree: Tree) -> Categories:
        """Return the categories of all images that COCO files name."""
        files = [file for entry in _list_candidates(tree) if (file := _CocoFile.find(entry))]
        # Files of keypoints name the same images as those of instances, with fewer categories.
        files.sort(key=lambda file: ("instances" not in file.entry.name, -len(file.category_names)))
        categories = Categories()
        finder = _ImageFinder(tree)
        for file in files:
            entries = {number: finder.find(name, file.entry.name) for number, name in file.image_names.items()}
            new_images = {number: entry for number, entry in entries.items() if entry not in categories.by_image}
            if not new_images:
                categories.annotations[file.entry.name] = "names the same images as another COCO file"
                continue
            categories.annotations[file.entry.name] = "is an annotation"
            for number, entry in new_images.items():
                names = {file.category_name(category) for category in file.categories.get(number, ())}
                categories.by_image[entry] = names
                categories.parts[entry.name] = find_path_part(file.entry.name)
        return categories


class _CocoFile:
    """The images, categories and annotations of one COCO file.

    Attributes
    ----------
    entry
        The file.
    image_names, category_names
        Name of each image and of each category by its number in the file.
    categories
        Numbers of the categories of each image that has annotations.
    """

    def __init__(self, entry: Entry, text: str) -> None:
        self.entry = entry
        self.image_names: dict[Any, str] = {}
        self.category_names: dict[Any, str] = {}
        self.categories: dict[Any, set[Any]] = {}
        try:
            for key, element in iterate_lists(text, COCO_KEYS):
                if key == "images":
                    self.image_names[element["id"]] = str(element["file_name"])
                elif key == "categories":
                    self.category_names[element["id"]] = str(element["name"])
                else:
                    self.categories.setdefault(element["image_id"], set()).add(element["category_id"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise DataError(
                f"annotation {entry.name!r} cannot be read as COCO: {reason}; correct or remove it"
            ) from error

    @classmethod
    def find(cls, entry: Entry) -> "_CocoFile | None":
        """Return the content of a file if it has COCO's keys, categories and images, otherwise None."""
        try:
            content = read_annotation(entry)
        except DataError:
            # Other JSON files may be too large or damaged.
            if COCO_NAME.search(base_name(entry.name)):
                raise
            return None
        if not all(f'"{key}"'.encode() in content for key in (*COCO_KEYS, "file_name", "category_id")):
            return None
        file = cls(entry, content.decode("utf-8-sig", "backslashreplace"))
        return file if file.image_names and file.category_names else None

    def category_name(self, number: Any) -> str:
        """Return the name of a category.

        Raises
        ------
        DataError
            the file does not define it.
        """
        if number not in self.category_names:
            raise DataError(f"annotation {self.entry.name!r} uses category {number!r}, which it does not define")
        return self.category_names[number]


class _ImageFinder:
    """Finds the file of an image that a COCO file names."""

    def __init__(self, tree: Tree) -> None:
        self._by_base_name: dict[str, list[Entry]] = {}
        for entry in tree.entries().images:
            self._by_base_name.setdefault(base_name(entry.name), []).append(entry)

    def find(self, name: str, annotation: str) -> Entry:
        """Return the file with a name, from the folder of the annotation file or any other folder.

        Raises
        ------
        DataError
            several files fit equally well.
        """
        path = name.replace("\\", "/").removeprefix("./")
        same_name = self._by_base_name.get(base_name(path), [])
        exact_entries = [entry for entry in same_name if f"/{entry.name}".endswith(f"/{path}")]
        candidates = exact_entries or same_name
        home = annotation.rpartition("/")[0]
        folders = [f"{home}/" if home else "", f"{home}/images/" if home else "images/"]
        nearest_entries = [entry for folder in folders for entry in candidates if entry.name == folder + path]
        part = find_path_part(annotation)
        same_part = [entry for entry in candidates if part and find_path_part(entry.name.rpartition("/")[0]) == part]
        if not candidates:
            return Entry(folders[0] + path, "", None, "missing", "there is no such file")
        if nearest_entries or len(candidates) == 1:
            return (nearest_entries or candidates)[0]
        if len(same_part) == 1:
            return same_part[0]
        raise DataError(
            f"annotation {annotation!r} names {name!r}, which {len(candidates)} files are called, first "
            f"{candidates[0].name!r} and {candidates[1].name!r}; write the folder into the annotation"
        )


def _list_candidates(tree: Tree) -> list[Entry]:
    json_files = tree.entries().readable(".json")
    if len(json_files) <= MAX_SEARCHED_FILES:
        return json_files
    return [entry for entry in json_files if COCO_NAME.search(base_name(entry.name))]


def iterate_lists(text: str, keys: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the elements of some lists of a JSON object, one by one, with the key of their list.

    Parameters
    ----------
    text
        The JSON document.
    keys
        Keys of the lists; the values of other keys are parsed and dropped.

    Raises
    ------
    ValueError
        it is not a JSON object, or a key holds no list.

    Examples
    --------
    >>> list(iterate_lists('{"a": [1, {"b": 2}], "c": 3}', ("a",)))
    [('a', 1), ('a', {'b': 2})]
    """
    decoder = json.JSONDecoder()
    position = _expect(text, 0, "{")
    while _peek(text, position) != "}":
        key, position = decoder.raw_decode(text, _skip(text, position))
        position = _skip(text, _expect(text, position, ":"))
        if key in keys:
            position = _expect(text, position, "[")
            while _peek(text, position) != "]":
                element, position = decoder.raw_decode(text, _skip(text, position))
                yield key, element
                position = position if _peek(text, position) == "]" else _expect(text, position, ",")
            position = _expect(text, position, "]")
        else:
            _, position = decoder.raw_decode(text, position)
        position = position if _peek(text, position) == "}" else _expect(text, position, ",")


def _skip(text: str, position: int) -> int:
    match = WHITESPACE.match(text, position)
    return match.end() if match else position


def _peek(text: str, position: int) -> str:
    position = _skip(text, position)
    return text[position : position + 1]


def _expect(text: str, position: int, character: str) -> int:
    """Return the position after a character.

    Raises
    ------
    ValueError
        another character is there.
    """
    position = _skip(text, position)
    if text[position : position + 1] != character:
        raise ValueError(f"expected {character!r} at character {position}")
    return position + 1
