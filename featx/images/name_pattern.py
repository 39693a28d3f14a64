"""Labels in the names of images: ``26_0_1.jpg`` by the pattern ``{age:int}_{sex:int}_{origin:int}``."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from featx.errors import DataError
from featx.images.names import IMAGE_SUFFIXES, base_name, file_suffix
from featx.images.readers import Listing
from featx.images.sources import is_tree, open_tree
from featx.images.trees import Entry
from featx.locations import resolve_source
from featx.specs.base import to_normal_form
from featx.specs.data import LabelsSpec, ReaderSpec

FIELD = re.compile(r"\{(\w+)(?::(int|float|str))?\}")
FIELD_PATTERNS = {"int": r"[+-]?\d+", "float": r"[+-]?\d+(?:\.\d+)?", "str": r"[^/]+?"}
MAX_NAMED = 3
NO_MATCH_RULE = "does not match the pattern"
# Number of parts of a name from which a pattern is suggested.
MIN_PARTS, MAX_PARTS = 2, 8


class NamePatternReader:
    """Reads labels from the names of images; one column for each field of the pattern."""

    rank = 5

    def recognise(self, source: str, labels: str | None, target: str | None = None) -> ReaderSpec | None:
        """Return how to read the source if the user named a pattern instead of a table."""
        if labels is None or not FIELD.search(labels) or not is_tree(source):
            return None
        return ReaderSpec(source=source, labels=LabelsSpec(name=labels))

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """Return all images of the source with the labels of their names.

        Raises
        ------
        DataError
            no name matches the pattern. Images whose names do not match have no labels.
        """
        if data.labels is None or data.labels.name is None:
            raise DataError("data.labels: is missing; the reader 'names' needs a pattern, 'labels = { name = … }'")
        pattern = data.labels.name
        tree = open_tree(resolve_source(data.source, folder))
        images = tree.entries().images
        rows = [match_name(pattern, entry.name) for entry in images]
        unmatched_images = [entry for entry, row in zip(images, rows, strict=True) if row is None]
        if images and len(unmatched_images) == len(images):
            raise DataError(
                f"data.labels.name: none of {len(images)} names matches {pattern!r}, first {images[0].name!r}; correct "
                "the pattern"
            )
        warnings = [_describe_mismatches(pattern, images, unmatched_images)] if unmatched_images else []
        rules = {entry.name: entry.non_image_reason for entry in tree.entries().others}
        if data.drop_unlabelled:
            rules |= {entry.name: f"{NO_MATCH_RULE} {pattern!r}" for entry in unmatched_images}
            images = images.where([entry.name not in rules for entry in images])
            rows = [row for row in rows if row is not None]
        labels = pd.DataFrame([row or {} for row in rows], index=range(len(images)))
        return Listing.from_tree(tree, images, labels, rules, warnings)


def _describe_mismatches(pattern: str, images: Sequence[Entry], unmatched_images: Sequence[Entry]) -> str:
    examples = ", ".join(repr(entry.name) for entry in unmatched_images[:MAX_NAMED])
    return (
        f"{len(unmatched_images)} of {len(images)} names do not match {pattern!r}: {examples}"
        f"{', …' if len(unmatched_images) > MAX_NAMED else ''}; these images have no labels"
    )


def match_name(pattern: str, name: str) -> dict[str, object] | None:
    """Return the labels that a name holds; None if it does not match.

    Raises
    ------
    DataError
        the pattern is wrong.

    Examples
    --------
    >>> match_name("{age:int}_{sex}", "part1/26_f.jpg"), match_name("{class}/{patient}/{image}", "cat/p7/0.png")
    ({'age': 26, 'sex': 'f'}, {'class': 'cat', 'patient': 'p7'})
    """
    expression, types = _compile_pattern(to_normal_form(pattern))
    suffix = file_suffix(name)
    stem = to_normal_form(name[: -len(suffix)] if suffix in IMAGE_SUFFIXES else name)
    match = expression.fullmatch(stem if "/" in pattern else base_name(stem))
    if match is None:
        return None
    return {field: _convert(match[field], types[field]) for field in types if field != "image"}


def _convert(text: str, field_type: str) -> object:
    return int(text) if field_type == "int" else float(text) if field_type == "float" else text


def _compile_pattern(pattern: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """Return a pattern as a regular expression, and the type of each field."""
    expression, types, end = "", {}, 0
    for field in FIELD.finditer(pattern):
        name, field_type = field[1], field[2] or "str"
        if name in types:
            raise DataError(f"data.labels.name: {pattern!r} has the field {name!r} twice; expected different names")
        expression += re.escape(pattern[end : field.start()]) + f"(?P<{name}>{FIELD_PATTERNS[field_type]})"
        types[name], end = field_type, field.end()
    pattern_end = pattern[end:]
    if not types or "{" in pattern_end or "}" in pattern_end or any(not name.isidentifier() for name in types):
        raise DataError(
            f"data.labels.name: {pattern!r} is no pattern; expected fields in braces such as "
            "'{age:int}_{sex}' or '{class}/{patient}/{image}'"
        )
    return re.compile(expression + re.escape(pattern_end)), types


def suggest_pattern(names: Sequence[str]) -> str:
    """Return a pattern that fits names with the same number of parts; empty if there is none.

    Examples
    --------
    >>> suggest_pattern(["26_0_1.jpg", "3_1_0.jpg", "26_1_1.jpg", "3_0_0.jpg"])
    '{a:int}_{b:int}_{c:int}'
    """
    stems = [base_name(name).rpartition(".")[0] for name in names]
    for separator in ("_", "-"):
        parts = [stem.split(separator) for stem in stems]
        n_parts = len(parts[0]) if parts else 0
        if not MIN_PARTS <= n_parts <= MAX_PARTS or any(len(row) != n_parts for row in parts):
            continue
        columns = list(zip(*parts, strict=True))
        if not any(1 < len(set(column)) <= len(names) // 2 for column in columns):
            continue
        letters = "abcdefgh"
        return separator.join(
            f"{{{letter}:int}}" if all(value.isdigit() for value in column) else f"{{{letter}}}"
            for letter, column in zip(letters, columns, strict=False)
        )
    return ""
