"""Arguments of functions that are one value or a sequence of values."""

from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any, TypeVar, overload

from pydantic import BaseModel

T = TypeVar("T")
Single = TypeVar("Single", bound=PurePath | BaseModel | float)


@overload
def as_tuple(values: str) -> tuple[str, ...]: ...


@overload
def as_tuple(values: Sequence[T]) -> tuple[T, ...]: ...


@overload
def as_tuple(values: Single) -> tuple[Single, ...]: ...


def as_tuple(values: Any) -> tuple[Any, ...]:
    """Return a sequence of values, or a single text, path, number or spec, as a tuple.

    Python would take a text for a sequence of letters, and a spec for a sequence of fields.

    Examples
    --------
    >>> as_tuple("svm"), as_tuple(["svm", "knn"]), as_tuple(0.001), as_tuple(())
    (('svm',), ('svm', 'knn'), (0.001,), ())
    """
    if isinstance(values, str | PurePath | BaseModel) or not isinstance(values, Iterable):
        return (values,)
    return tuple(values)
