"""YOLO annotations: one text file per image with lines ``class x y width height``; names of classes in another file."""

import re
from typing import Any

from featx.errors import DataError
from featx.images.containers.categories import (
    Categories,
    CategoryReader,
    find_twins,
    list_first_annotations,
    read_annotation,
)
from featx.images.names import base_name, file_suffix
from featx.images.trees import Entry, Tree

YAML_SUFFIXES = (".yaml", ".yml")
NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels")
MAX_YAML_BYTES = 1 << 20
# A class and the coordinates of a box; polygons and rotated boxes have more.
LABEL_LINE = re.compile(r"\d{1,9}( [+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?){4,}")
# Number of label files that are inspected.
MAX_INSPECTED_FILES = 20


class YoloReader(CategoryReader):
    """Reads the categories of each image from YOLO label files."""

    name = "yolo"
    rank = 13

    def has_annotations(self, tree: Tree) -> bool:
        """Whether most images have label files, and the first ones have YOLO's lines."""
        try:
            classes = [_read_numbers(file) for file in list_first_annotations(tree, ".txt", MAX_INSPECTED_FILES)]
        except DataError:
            return False
        return any(classes)

    def read_categories(self, tree: Tree) -> Categories:
        """Return the categories of all images that have a label file; without names they are numbers."""
        images, files = find_twins(tree, ".txt")
        names, name_files = _read_names(tree)
        categories = Categories(annotations=dict.fromkeys(name_files, "names the classes"))
        for key, image in images.items():
            if key in files:
                numbers = _read_numbers(files[key])
                if names and (unknown_numbers := [number for number in numbers if number not in names]):
                    raise DataError(
                        f"annotation {files[key].name!r} uses class {unknown_numbers[0]}, but {name_files[0]!r} names "
                        f"{len(names)} classes"
                    )
                categories.by_image[image] = {names.get(number, str(number)) for number in numbers}
                categories.annotations[files[key].name] = "is an annotation"
        return categories


def _read_numbers(file: Entry) -> set[int]:
    """Return the numbers of the classes in a label file.

    Raises
    ------
    DataError
        a line is not a class and coordinates.
    """
    numbers: set[int] = set()
    for row, line in enumerate(read_annotation(file).decode("utf-8-sig", "replace").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if not LABEL_LINE.fullmatch(" ".join(words)) or not all(-1 <= float(word) <= 2 for word in words[1:]):
            raise DataError(
                f"annotation {file.name!r}: line {row} is {line[:60]!r}, expected 'class x y width height' with "
                "coordinates from 0 to 1"
            )
        numbers.add(int(words[0]))
    return numbers


def _read_names(tree: Tree) -> tuple[dict[int, str], list[str]]:
    """Return the names of the classes by number, and the files that hold them; both are empty if there are none.

    Raises
    ------
    DataError
        a file of names cannot be read, or two files disagree.
    """
    names: dict[int, str] = {}
    files: list[str] = []
    for entry in tree.entries().others:
        if entry.outcome:
            continue
        if file_suffix(entry.name) in YAML_SUFFIXES:
            file_names = _read_yaml_names(entry)
        elif base_name(entry.name).lower() in NAME_FILES:
            lines = read_annotation(entry).decode("utf-8-sig", "backslashreplace").splitlines()
            file_names = dict(enumerate(line.strip() for line in lines if line.strip()))
        else:
            continue
        if file_names and names and file_names != names:
            raise DataError(f"{files[0]!r} and {entry.name!r} name different classes; remove one of them")
        names = file_names or names
        files += [entry.name] if file_names else []
    return names, files


def _read_yaml_names(entry: Entry) -> dict[int, str]:
    """Return the names that a YAML file lists under ``names``; empty if there is no such key.

    Raises
    ------
    DataError
        it is no plain YAML, or the names are neither a list nor a mapping of numbers.
    """
    content = read_annotation(entry)
    if len(content) > MAX_YAML_BYTES:
        raise DataError(f"{entry.name!r} has {len(content)} bytes, expected at most {MAX_YAML_BYTES} of YAML")
    try:
        value = _load_plain_yaml(content)
    # Broken YAML raises errors of many kinds.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{entry.name!r} cannot be read as plain YAML: {reason}") from error
    names = value.get("names") if isinstance(value, dict) else None
    if names is None:
        return {}
    names_by_number = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(names_by_number, dict) or not all(
        isinstance(number, int) and isinstance(name, str | int | float) for number, name in names_by_number.items()
    ):
        raise DataError(f"{entry.name!r}: 'names' is {names!r:.60}; expected a list, or numbers with names")
    return {number: str(name) for number, name in names_by_number.items()}


def _load_plain_yaml(content: bytes) -> Any:
    """Return the value of a YAML document without aliases, which can state a value that is much larger."""
    import yaml

    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, yaml.SafeLoader)):
        raise yaml.YAMLError("it uses aliases")
    return yaml.safe_load(content)
