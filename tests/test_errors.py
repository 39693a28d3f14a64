"""Tree of errors: its documentation, and the behaviour of single errors."""

import inspect
import pickle
import re

import pytest
from tblib import pickling_support

from featx import errors
from featx.errors import FeatxError, RecipeError, UnknownNameError

ALL_ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, FeatxError)]


def documented_tree() -> dict[str, set[str]]:
    """Return the tree in the docstring: name of an error → names of its bases."""
    assert errors.__doc__ is not None
    bases: dict[str, set[str]] = {}
    ancestors: list[str] = []
    for line in errors.__doc__.splitlines():
        if match := re.match(r"    ([│├└─ ]*)(\w+Error)(?:\((\w+)\))?", line):
            depth = len(match[1]) // 4
            ancestors = [*ancestors[:depth], match[2]]
            bases[match[2]] = {name for name in (*ancestors[-2:-1], match[3]) if name}
    return bases


def test_the_documented_tree_of_errors_is_the_real_one() -> None:
    real = {kind.__name__: {base.__name__ for base in kind.__bases__} for kind in ALL_ERRORS}
    assert len(real) > 10
    assert documented_tree() == real | {"FeatxError": set()}


@pytest.mark.parametrize("kind", [kind for kind in ALL_ERRORS if kind is not RecipeError])
def test_an_error_prints_its_message_and_can_be_pickled(kind: type[FeatxError]) -> None:
    error = kind("3 of 7 ids, first 'a'")
    assert str(error) == "3 of 7 ids, first 'a'"
    # Dask workers install this, and errors are pickled in another way afterwards.
    pickling_support.install()
    restored_error = pickle.loads(pickle.dumps(error))
    assert (type(restored_error), str(restored_error)) == (kind, str(error))


def test_an_unknown_name_can_be_caught_as_a_key_error() -> None:
    with pytest.raises(KeyError, match=r"^no head is called 'x'$"):
        raise UnknownNameError("no head is called 'x'")


def test_a_recipe_error_keeps_every_problem() -> None:
    error = RecipeError("featx.toml", ["a: is missing", "b: no such key"])
    assert error.problems == ("a: is missing", "b: no such key")
    assert str(error) == "featx.toml: a: is missing; b: no such key"
    assert isinstance(error, ValueError)
