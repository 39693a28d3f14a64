"""What can be named in a recipe: readers and what their uris lead to, backbones, heads, losses, votes.

Built-ins and third parties' additions are both entry points (``pyproject.toml`` lists ours), so all names are
known without importing anything that they name. A script or a notebook adds its own with ``register``.

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
from typing import Any, Generic, TypeVar

from featx.errors import UnknownNameError

T = TypeVar("T")


@cache
def _entry_points(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


class Registry(Generic[T]):
    """Names of one kind of thing, loaded when first asked for.

    Parameters
    ----------
    kind
        What one entry is, for messages.
    group
        The entry-point group.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._added: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate something to be found under `name` in this process."""

        def add(entry: T) -> T:
            self._added[name] = entry
            return entry

        return add

    def names(self) -> list[str]:
        """List all names in alphabetical order; nothing is imported."""
        return sorted({*_entry_points(self.group), *self._added})

    def problem(self, name: str) -> str | None:
        """Say why `name` cannot be had, or None where it can; nothing is imported."""
        names = self.names()
        return None if name in names else f"no {self.kind} is called {name!r}; {suggestion(name, names)}"

    def get(self, name: str) -> T:
        """Return the entry called `name`.

        Raises
        ------
        UnknownNameError
            there is none; names the closest and all that are known.
        """
        if problem := self.problem(name):
            raise UnknownNameError(problem)
        if name not in self._added:
            self._added[name] = _entry_points(self.group)[name].load()
        return self._added[name]


def suggestion(name: str, known: list[str], limit: int = 20) -> str:
    """Word a hint: the closest of `known`, and the list itself (its first `limit`).

    Examples
    --------
    >>> suggestion("rseed", ["seed", "size"])
    "did you mean 'seed'? known: seed, size"
    """
    close = get_close_matches(name, known, n=1)
    listed = ", ".join(known[:limit]) + (f", … ({len(known)} in all)" if len(known) > limit else "")
    return (f"did you mean {close[0]!r}? " if close else "") + f"known: {listed}"


READERS: Registry[Any] = Registry("reader", "featx.readers")
CONTENTS: Registry[Any] = Registry("kind of uri", "featx.contents")
BACKBONES: Registry[Any] = Registry("backbone", "featx.backbones")
FAMILIES: Registry[Any] = Registry("family of backbones", "featx.backbone_families")
HEADS: Registry[Any] = Registry("head", "featx.heads")
LOSSES: Registry[Any] = Registry("loss", "featx.losses")
VOTES: Registry[Any] = Registry("vote", "featx.votes")
