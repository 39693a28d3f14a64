import inspect
import pickle
import re

import pytest
from tblib import pickling_support

from featx import errors
from featx.errors import FeatxError, RecipeError, UnknownNameError

EVERY = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, FeatxError)]


def drawn() -> dict[str, set[str]]:
    """Read the docstring's tree: each error's name with the names of its bases."""
    assert errors.__doc__ is not None
    bases: dict[str, set[str]] = {}
    above: list[str] = []
    for line in errors.__doc__.splitlines():
        if found := re.match(r"    ([│├└─ ]*)(\w+Error)(?:\((\w+)\))?", line):
            depth = len(found[1]) // 4
            above = [*above[:depth], found[2]]
            bases[found[2]] = {name for name in (*above[-2:-1], found[3]) if name}
    return bases


def test_the_tree_in_the_docstring_is_the_real_one() -> None:
    real = {kind.__name__: {base.__name__ for base in kind.__bases__} for kind in EVERY}
    assert len(real) > 10
    assert drawn() == real | {"FeatxError": set()}


@pytest.mark.parametrize("kind", [kind for kind in EVERY if kind is not RecipeError])
def test_an_error_prints_as_its_message_and_survives_another_process(kind: type[FeatxError]) -> None:
    error = kind("3 of 7 ids, first 'a'")
    assert str(error) == "3 of 7 ids, first 'a'"
    pickling_support.install()  # as Dask's workers do, and then errors are pickled in another way
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (kind, str(error))


def test_an_unknown_name_can_be_caught_as_a_key_error() -> None:
    with pytest.raises(KeyError, match=r"^no head is called 'x'$"):
        raise UnknownNameError("no head is called 'x'")


def test_a_recipe_error_keeps_every_problem() -> None:
    error = RecipeError("featx.toml", ["a: is missing", "b: no such key"])
    assert error.problems == ("a: is missing", "b: no such key")
    assert str(error) == "featx.toml: a: is missing; b: no such key"
    assert isinstance(error, ValueError)
