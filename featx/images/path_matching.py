"""Matching of the paths that a table writes with the files of a tree."""

import posixpath
import re
import unicodedata
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
    path_indices_by_end = _index_paths(paths)
    names_by_end = _index_ends(names.find(paths), {end for ends in path_indices_by_end.values() for end in ends})
    best_rule, n_best = PathRule(), 0
    for n_stripped, has_suffix in sorted(path_indices_by_end, key=lambda item: (item[0], not item[1])):
        if 2 * n_best >= len(paths) and best_rule.strip_folders < n_stripped:
            break
        matches = [
            _Match(path_indices, end, names_by_end[end])
            for end, path_indices in path_indices_by_end[n_stripped, has_suffix].items()
            if end in names_by_end
        ]
        if matches:
            rule, n_found = _make_rule(n_stripped, has_suffix, matches, rank_folder)
            if n_found > n_best:
                best_rule, n_best = rule, n_found
    return best_rule, n_best


class _Match(NamedTuple):
    """Paths that have the same end, and the names that end like them.

    Attributes
    ----------
    path_indices
        Indices of the paths.
    end
        End of the paths.
    names
        Names of images; a million images may have the same name in different folders.
    """

    path_indices: set[int]
    end: str
    names: list[str]


def _index_paths(paths: Sequence[str]) -> dict[tuple[int, bool], dict[str, set[int]]]:
    """Return {(number of folders stripped, whether the end has a suffix): {end: indices of the paths with it}}."""
    path_indices_by_end: dict[tuple[int, bool], dict[str, set[int]]] = {}
    for index, path in enumerate(paths):
        for n_stripped in range(len(normalise_path(path).split("/"))):
            for has_suffix, end in _list_keys(path, n_stripped):
                path_indices_by_end.setdefault((n_stripped, has_suffix), {}).setdefault(end, set()).add(index)
    return path_indices_by_end


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
    """Return a name without folders and suffix, and without zeros in front of its numbers."""
    stem = _drop_suffix(base_name(to_normal_form(name)))
    return re.sub(r"\d+", lambda match: match[0].lstrip("0") or "0", stem).lower()


def _list_keys(path: str, n_stripped: int) -> Iterable[tuple[bool, str]]:
    """Yield the ends of names that a path can mean: with its own suffix, and as a name without one."""
    for spelling in dict.fromkeys(_make_key(spelling) for spelling in list_spellings(path)[1:] or (path,)):
        end = "/".join(spelling.split("/")[n_stripped:])
        if end and end != ".":
            yield True, end
            yield False, f"{end}.*"


def _index_ends(names: Sequence[str], ends: Collection[str]) -> dict[str, list[str]]:
    """Return the names by those of their ends that are among `ends`, with and without the suffix of the file."""
    names_by_end: dict[str, list[str]] = {}
    for name in names:
        for end in _list_ends(_make_key(name)):
            for spelling in (end, f"{_drop_suffix(end)}.*"):
                if spelling in ends:
                    names_by_end.setdefault(spelling, []).append(name)
    return names_by_end


def _make_rule(
    n_stripped: int, has_suffix: bool, matches: Sequence[_Match], rank_folder: Callable[[str], int]
) -> tuple[PathRule, int]:
    """Return the rule of some matches, and the number of paths that it resolves."""
    suffixes = {name[len(_drop_suffix(name)) :] for match in matches for name in match.names}
    suffix = "" if has_suffix else next(iter(suffixes)) if len(suffixes) == 1 else ANY_SUFFIX
    path_indices_by_root = _group_by_root(matches)
    n_best = max(map(len, path_indices_by_root.values()))
    ranks = {root: rank_folder(root) for root, indices in path_indices_by_root.items() if len(indices) == n_best}
    best_rank = max(ranks.values())
    best_roots = [root for root, rank in ranks.items() if rank == best_rank]
    unique_path_indices = _find_unique_path_indices(matches)
    if len(unique_path_indices) > n_best:
        common_root = posixpath.commonpath(
            [root for root, indices in path_indices_by_root.items() if indices & unique_path_indices] or ["."]
        )
        return PathRule(common_root or ".", n_stripped, suffix, "end"), len(unique_path_indices)
    if len(best_roots) > 1:
        # Reading the table then reports the paths that fit several images.
        return PathRule(posixpath.commonpath(best_roots) or ".", n_stripped, suffix, "end"), n_best
    return PathRule(best_roots[0], n_stripped, suffix, "path"), n_best


def _group_by_root(matches: Sequence[_Match]) -> dict[str, frozenset[int]]:
    """Return the indices of the paths that lead to files below each root."""
    matches_by_root: dict[str, tuple[int, ...]] = {}
    for row, match in enumerate(matches):
        for name in match.names:
            root = _find_root(name, match.end)
            rows = matches_by_root.get(root, ())
            matches_by_root[root] = rows if rows[-1:] == (row,) else (*rows, row)
    # Many roots have the same matches, and share one set of indices.
    path_indices = {
        rows: frozenset[int]().union(*(matches[row].path_indices for row in rows))
        for rows in set(matches_by_root.values())
    }
    return {root: path_indices[rows] for root, rows in matches_by_root.items()}


def _find_unique_path_indices(matches: Sequence[_Match]) -> set[int]:
    """Return the indices of the paths that lead to exactly one name."""
    names_by_index: dict[int, set[str]] = {}
    for match in matches:
        for index in match.path_indices:
            # Two names show that a path is not unique.
            names_by_index.setdefault(index, set()).update(match.names[:2])
    return {index for index, names in names_by_index.items() if len(names) == 1}


def _make_key(name: str) -> str:
    """Return a name in the form in which names are compared: Unicode NFC, with the suffix in lower case."""
    name = to_normal_form(name)
    return _drop_suffix(name) + name[len(_drop_suffix(name)) :].lower()


def _drop_suffix(name: str) -> str:
    """Return a name without the suffix of an image or any other short suffix."""
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
