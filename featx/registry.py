"""Registries of the names in a recipe: readers, kinds of URIs, backbones, heads, losses and ensemble methods.

Built-in and third-party entries are both entry points (``pyproject.toml`` lists the built-in ones), so all names are
known without importing the objects. A script or a notebook adds its own with ``register``.

Examples
--------
>>> sorted(HEADS.names())
['knn', 'lda', 'logreg', 'mlp', 'rf', 'ridge', 'svm', 'xgboost']
>>> HEADS.get("logrge")  # doctest: +NORMALIZE_WHITESPACE
Traceback (most recent call last):
    ...
featx.errors.UnknownNameError: no head is called 'logrge'; did you mean 'logreg'? known: knn, lda, logreg,
mlp, rf, ridge, svm, xgboost
"""

from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from traceback import walk_tb
from typing import Any, Generic, TypeVar, cast

from featx.errors import UnknownNameError
from featx.foreign_code import foreign_code

T = TypeVar("T")
# Package whose entry points are part of featx.
OWN_PACKAGE = "featx"


@cache
def _entry_points(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


class Registry(Generic[T]):
    """Names of one kind of object, each loaded at its first use.

    Parameters
    ----------
    kind
        Name of the kind of entry, for messages.
    group
        Name of the entry-point group.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._added: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers an object as `name` in this process."""

        def add(entry: T) -> T:
            self._added[name] = entry
            return entry

        return add

    def names(self) -> list[str]:
        """Return all names in alphabetical order, without importing any entry."""
        return sorted({*_entry_points(self.group), *self._added})

    def problem(self, name: str) -> str | None:
        """Return why there is no entry `name`, or None where there is one, without importing it."""
        names = self.names()
        if name in names:
            return None
        if not _entry_points(self.group):
            # featx has entries in every group. After 'git pull', an editable installation has those of before.
            return (
                f"{self.kind} {name!r}: the installed package has no entry points {self.group!r}, because it is of "
                "another version than its code; install featx again, as by 'pip install -e .'"
            )
        return f"no {self.kind} is called {name!r}; {suggest_names(name, names)}"

    def get(self, name: str) -> T:
        """Return the entry called `name`.

        Raises
        ------
        UnknownNameError
            there is no such entry; the message names the closest and all known names.
        """
        if problem := self.problem(name):
            raise UnknownNameError(problem)
        if name not in self._added:
            self._added[name] = self._load(_entry_points(self.group)[name])
        return self._added[name]

    def external_entries(self) -> list[tuple[str, str]]:
        """Return the package, and kind and name, of each entry that another package than featx installs."""
        points = _entry_points(self.group).values()
        packages = [(_package(point), f"{self.kind} {point.name!r}") for point in points]
        return [(package, entry) for package, entry in packages if package != OWN_PACKAGE]

    def _load(self, point: EntryPoint) -> T:
        """Return the object of an entry point.

        Raises
        ------
        DataError
            The module of another package cannot be imported.
        """
        if _package(point) == OWN_PACKAGE:
            return cast("T", point.load())
        expected = f"expected an importable object; correct or uninstall the package of this {self.kind}"
        with foreign_code(f"the {self.kind} {point.name!r} ({point.value}) cannot be imported", expected):
            return cast("T", point.load())


def _package(point: EntryPoint) -> str:
    return point.module.partition(".")[0]


def suggest_names(name: str, valid_names: list[str], limit: int = 20, title: str = "known") -> str:
    """Return a hint with the closest name, and the first `limit` of all names.

    Parameters
    ----------
    name
        The unknown name.
    valid_names
        All valid names.
    limit
        Maximum number of names in the hint.
    title
        Text before the names.

    Examples
    --------
    >>> suggest_names("rseed", ["seed", "size"])
    "did you mean 'seed'? known: seed, size"
    """
    close = get_close_matches(name, valid_names, n=1)
    n_names = len(valid_names)
    listed = ", ".join(valid_names[:limit]) + (f", … ({n_names} in all)" if n_names > limit else "")
    return (f"did you mean {close[0]!r}? " if close else "") + f"{title}: {listed}"


READERS: Registry[Any] = Registry("reader", "featx.readers")
CONTENTS: Registry[Any] = Registry("kind of uri", "featx.contents")
BACKBONES: Registry[Any] = Registry("backbone", "featx.backbones")
FAMILIES: Registry[Any] = Registry("family of backbones", "featx.backbone_families")
HEADS: Registry[Any] = Registry("head", "featx.heads")
LOSSES: Registry[Any] = Registry("loss", "featx.losses")
ENSEMBLE_METHODS: Registry[Any] = Registry("ensemble method", "featx.ensemble_methods")
ATTACKS: Registry[Any] = Registry("attack", "featx.attacks")
# Kinds of runs that only a package above `featx.predictors` can load.
RUN_KINDS: Registry[Any] = Registry("kind of run", "featx.run_kinds")
CORRUPTIONS: Registry[Any] = Registry("corruption", "featx.corruptions")
REGISTRIES = (
    READERS,
    CONTENTS,
    BACKBONES,
    FAMILIES,
    HEADS,
    LOSSES,
    ENSEMBLE_METHODS,
    ATTACKS,
    RUN_KINDS,
    CORRUPTIONS,
)


def describe_external_error(error: BaseException) -> str | None:
    """Return a message about an exception that passed through the code of another package's entry.

    Parameters
    ----------
    error
        The exception, with its traceback.

    Returns
    -------
    str or None
        Message that names the package, its entries and the function that failed; None if no such package is in the
        traceback.
    """
    entries: dict[str, list[str]] = {}
    for registry in REGISTRIES:
        for package, entry in registry.external_entries():
            entries.setdefault(package, []).append(entry)
    for frame, line in reversed(list(walk_tb(error.__traceback__))):
        module = str(frame.f_globals.get("__name__", ""))
        package = module.partition(".")[0]
        if package in entries:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            return (
                f"the package {package!r} ({', '.join(entries[package])}) failed in {frame.f_code.co_name} ({module}, "
                f"line {line}) with {type(error).__name__}: {reason}; correct the package, or leave out its entries"
            )
    return None
