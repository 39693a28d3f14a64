"""Matching of the paths that a table writes with the files of a tree."""

import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np
import pandas as pd

from featx.images.names import IMAGE_SUFFIXES, base_name, file_suffix
from featx.specs.base import to_normal_form

DRIVE = re.compile(r"^[A-Za-z]:(?=/)")
FILE_URL = re.compile(r"^file://(localhost)?(?=/)")
# Suffix of a rule for paths that lack the endings of images of several formats.
ANY_SUFFIX = "*"


@dataclass(frozen=True)
class PathRule:
    """The way from the paths of a table to the images of a tree.

    Attributes
    ----------
    root
        Folder of the tree that the paths start from.
    strip_folders
        Number of folders at the beginning of each path that are left out.
    suffix
        Ending that the paths lack; ``*`` for any ending of an image.
    match
        ``path``: a path leads from `root` to its image. ``end``: it is the end of its image's path. ``number``: it is
        the end, apart from zeros in front of numbers, or the only number of the image's name.
    """

    root: str = "."
    strip_folders: int = 0
    suffix: str = ""
    match: str = "path"


def normalise_path(path: str) -> str:
    r"""Return a path as a tree names its files: ``/`` for ``\``, Unicode NFC, without a drive, ``.`` and ``..``.

    Examples
    --------
    >>> normalise_path("C:\\photos\\cat\\0.png"), normalise_path("./a/../b.png"), normalise_path("file:///data/0.png")
    ('photos/cat/0.png', 'b.png', 'data/0.png')
    """
    slash_path = FILE_URL.sub("", to_normal_form(path.strip()).replace("\\", "/"))
    normal_path = posixpath.normpath(DRIVE.sub("", slash_path)).lstrip("/") if slash_path else ""
    return normal_path.removeprefix("../" * normal_path.count("../"))


def list_spellings(path: str) -> tuple[str, ...]:
    """Return a path of a table as a tree may write it: as it is, plain, and with percent-encoded characters decoded."""
    plain_path = normalise_path(path)
    decoded_path = normalise_path(unquote(plain_path)) if "%" in plain_path else plain_path
    return tuple(dict.fromkeys((path, plain_path, decoded_path)))


class NameIndex:
    """Names of images, found by their last part without its ending.

    Parameters
    ----------
    names
        Names of all images of a tree.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    @cached_property
    def _stems(self) -> "pd.Index[str]":
        return pd.Index([name[name.rfind("/") + 1 : name.rfind(".")].lower() for name in self.names], dtype=object)

    def find(self, paths: Sequence[str]) -> list[str]:
        """Return the names whose last part is that of a path, apart from its ending, case and Unicode form."""
        stems = {base_name(spelling).lower() for path in paths for spelling in list_spellings(path)}
        stems |= {stem for name in stems if (stem := name.rpartition(".")[0])}
        stems |= {unicodedata.normalize("NFD", name) for name in stems}
        return [self.names[row] for row in np.flatnonzero(self._stems.isin(list(stems))).tolist()]


def find_rule(
    paths: Sequence[str], names: NameIndex, rank_folder: Callable[[str], int] = lambda _: 0
) -> tuple[PathRule, int]:
    """Return the rule by which `paths` lead to files, and how many of them do.

    The rule that strips fewest folders is returned if it leads on half of them: a path whose image is missing must not
    lead to an image of the same name in another folder. No path leads to two files.

    Parameters
    ----------
    paths
        Sample of a table's column.
    names
        Names of all images of the tree.
    rank_folder
        Rank of a folder among those from which as many paths lead to files; the highest one is taken.
    """
    candidates = names.find(paths)
    counts: Counter[tuple[int, bool]] = Counter()
    roots: dict[tuple[int, bool], list[tuple[str, str, int]]] = {}
    ends = _index_ends(candidates)
    for number, path in enumerate(paths):
        folders = normalise_path(path).split("/")
        for n_stripped in range(len(folders)):
            for has_suffix, key in _list_keys(path, n_stripped):
                matching_names = ends.get(key, [])
                for name in matching_names:
                    roots.setdefault((n_stripped, has_suffix), []).append((_find_root(name, key), name, number))
                if matching_names:
                    counts[n_stripped, has_suffix] += 1
    best_rule, n_best = PathRule(), 0
    for (n_stripped, has_suffix), _ in sorted(counts.items(), key=lambda item: (item[0][0], not item[0][1])):
        if 2 * n_best >= len(paths) and best_rule.strip_folders < n_stripped:
            break
        rule, n_found = _make_rule(n_stripped, has_suffix, roots[n_stripped, has_suffix], rank_folder)
        if n_found > n_best:
            best_rule, n_best = rule, n_found
    return best_rule, n_best


def find_number_rule(paths: Sequence[str], names: Iterable[str]) -> tuple[PathRule, int]:
    """Return the rule by which numbers without zeros in front lead to files, and how many of them do.

    Parameters
    ----------
    paths
        Sample of a table's column.
    names
        Names of all images of the tree.

    Examples
    --------
    >>> find_number_rule(["1", "2"], ["a/001.png", "a/002.png", "a/003.png"])
    (PathRule(root='.', strip_folders=0, suffix='*', match='number'), 2)
    """
    if not all(any(character.isdigit() for character in path) for path in paths):
        return PathRule(), 0
    rule = PathRule(match="number", suffix=ANY_SUFFIX)
    matches = ImageIndex(set(names), rule).find_all(paths)
    return rule, sum(
        bool(name) and path not in matches.unclear for path, name in zip(paths, matches.names, strict=True)
    )


def _make_number_key(name: str) -> str:
    """Return a name without folders and ending, and without zeros in front of its numbers."""
    stem = _drop_suffix(base_name(to_normal_form(name)))
    return re.sub(r"\d+", lambda match: match[0].lstrip("0") or "0", stem).lower()


def _list_keys(path: str, n_stripped: int) -> Iterable[tuple[bool, str]]:
    """Yield the ends of names that a path can mean: with its own ending, and as a name without an ending."""
    for spelling in dict.fromkeys(_make_key(spelling) for spelling in list_spellings(path)[1:] or (path,)):
        end = "/".join(spelling.split("/")[n_stripped:])
        if end and end != ".":
            yield True, end
            yield False, f"{end}.*"


def _index_ends(names: Sequence[str]) -> dict[str, list[str]]:
    """Return the names by each of their ends, written with and without the ending of the file."""
    ends: dict[str, list[str]] = {}
    for name in names:
        folders = _make_key(name).split("/")
        for start in range(len(folders)):
            end = "/".join(folders[start:])
            ends.setdefault(end, []).append(name)
            ends.setdefault(f"{_drop_suffix(end)}.*", []).append(name)
    return ends


def _make_rule(
    n_stripped: int, has_suffix: bool, matches: Sequence[tuple[str, str, int]], rank_folder: Callable[[str], int]
) -> tuple[PathRule, int]:
    """Return the rule of some matches (root, name, number of the path), and the number of paths that it leads on."""
    suffixes = Counter(name[len(_drop_suffix(name)) :] for _, name, _ in matches)
    suffix = "" if has_suffix else next(iter(suffixes)) if len(suffixes) == 1 else ANY_SUFFIX
    numbers_by_root: dict[str, set[int]] = {}
    for root, _, number in matches:
        numbers_by_root.setdefault(root, set()).add(number)
    ranks = {root: (len(numbers), rank_folder(root)) for root, numbers in numbers_by_root.items()}
    best_roots = [root for root in numbers_by_root if ranks[root] == max(ranks.values())]
    root = best_roots[0]
    n_texts = Counter(number for number, _ in {(number, name) for _, name, number in matches})
    unique_numbers = {number for number, n in n_texts.items() if n == 1}
    if len(unique_numbers) > len(numbers_by_root[root]):
        common_root = posixpath.commonpath(
            [root for root, numbers in numbers_by_root.items() if numbers & unique_numbers] or ["."]
        )
        return PathRule(common_root or ".", n_stripped, suffix, "end"), len(unique_numbers)
    if len(best_roots) > 1:
        # Reading the table then reports the paths that fit several images.
        return PathRule(posixpath.commonpath(best_roots) or ".", n_stripped, suffix, "end"), len(numbers_by_root[root])
    return PathRule(root, n_stripped, suffix, "path"), len(numbers_by_root[root])


def _make_key(name: str) -> str:
    """Return a name in the form in which names are compared: Unicode NFC, with the ending in lower case."""
    name = to_normal_form(name)
    return _drop_suffix(name) + name[len(_drop_suffix(name)) :].lower()


def _drop_suffix(name: str) -> str:
    """Return a name without the ending of an image or any other short ending."""
    suffix = file_suffix(name)
    return name[: -len(suffix)] if suffix in IMAGE_SUFFIXES else name


def _find_root(name: str, key: str) -> str:
    n_folders = len(name.split("/")) - key.count("/") - 1
    return "/".join(name.split("/")[:n_folders]) or "."


class PathMatches(NamedTuple):
    """The images that paths of a table name.

    Attributes
    ----------
    names
        (n,) name of the image of each path, the first one if several fit; empty if there is none.
    unclear
        Names of the images that fit, by each path that several fit.
    """

    names: list[str]
    unclear: dict[str, list[str]]


class ImageIndex:
    """The images of a tree, found by the paths that a table writes.

    Parameters
    ----------
    names
        Names of the tree's files, relative to the root of the paths: a set, or the keys of a mapping.
    rule
        The way from paths to names.
    """

    def __init__(self, names: Collection[str], rule: PathRule) -> None:
        self.rule = rule
        self._names = names

    @cached_property
    def _by_key(self) -> dict[str, list[str]]:
        """Names by the keys under which they are found, where a path is not written exactly as its name."""
        names_by_key: dict[str, list[str]] = {}
        for name in sorted(self._names):
            key = _make_key(name)
            if self.rule.suffix == ANY_SUFFIX and file_suffix(name) in IMAGE_SUFFIXES:
                key = _drop_suffix(key)
            for end in _list_ends(key) if self.rule.match == "end" else (key,):
                names_by_key.setdefault(end, []).append(name)
        return names_by_key

    @cached_property
    def _by_number(self) -> dict[str, list[str]]:
        """Names of images by their stems without zeros in front of numbers, and by the only number of a stem."""
        names_by_number: dict[str, list[str]] = {}
        for name in sorted(self._names):
            if file_suffix(name) in IMAGE_SUFFIXES:
                key = _make_number_key(name)
                numbers = re.findall(r"\d+", key)
                for end in dict.fromkeys((key, *(numbers if len(numbers) == 1 else ()))):
                    names_by_number.setdefault(end, []).append(name)
        return names_by_number

    def find_all(self, paths: Sequence[str]) -> PathMatches:
        """Return what `find` finds for each path; paths that are written as the names are found at once."""
        are_names = not self.rule.strip_folders and not self.rule.suffix and self.rule.match != "number"
        names = [path if path in self._names else "" for path in paths] if are_names else [""] * len(paths)
        unclear_names = {}
        for row in [row for row, name in enumerate(names) if not name]:
            names[row], *other_names = self.find(paths[row]) or [""]
            if other_names:
                unclear_names[paths[row]] = [names[row], *other_names]
        return PathMatches(names, unclear_names)

    def find(self, path: str) -> list[str]:
        """Return the names of the images that a path of the table can mean: one if it is found, several if unclear."""
        rule = self.rule
        if rule.match == "number":
            return self._by_number.get(_make_number_key(normalise_path(path)), [])
        if path in self._names and not rule.strip_folders and not rule.suffix:
            return [path]
        suffix = "" if rule.suffix == ANY_SUFFIX else rule.suffix
        for spelling in list_spellings(path):
            stripped_path = "/".join(spelling.split("/")[rule.strip_folders :]) + suffix
            if stripped_path in self._names:
                return [stripped_path]
            if names := self._by_key.get(_make_key(stripped_path)):
                return names
        return []


def _list_ends(key: str) -> list[str]:
    folders = key.split("/")
    return ["/".join(folders[start:]) for start in range(len(folders))]
