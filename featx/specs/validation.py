"""Messages for invalid specs: what was found at which key, and what was expected."""

from collections.abc import Iterator
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from featx.errors import RecipeError
from featx.registry import suggest_names
from featx.specs.base import Spec
from featx.specs.finetuning import FinetuneSpec
from featx.specs.sections import SECTION_KEYS, FinetuneSection

S = TypeVar("S", bound=Spec)
# Keys of recipes for older versions, with their present names.
RENAMED_KEYS = {"learns": "trainable", "least_cosine": "min_cosine", "warm": "warm_start"}


def build_spec(kind: type[S], source: str, **fields: Any) -> S:
    """Return a spec made of values from a caller or a command.

    Parameters
    ----------
    kind
        Class of the spec.
    source
        Origin of the values, for the error's message.

    Raises
    ------
    RecipeError
        Values are invalid; the error lists all of them.
    """
    try:
        return kind(**fields)
    except ValidationError as error:
        raise RecipeError(source, describe_problems(error, kind)) from error


def describe_problems(error: ValidationError, kind: type[Spec]) -> list[str]:
    """Return pydantic's errors as messages, one per key: of the alternatives of a union the first is reported."""
    problems: dict[str, str] = {}
    details = error.errors()
    for detail in details:
        # Pydantic reports a list with invalid items as too short as well, which is not a second problem.
        depth = len(detail["loc"])
        is_of_items = any(item["loc"][:depth] == detail["loc"] and len(item["loc"]) > depth for item in details)
        if detail["type"] != "too_short" or not is_of_items:
            location = _recipe_keys(detail["loc"])
            key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
            message = _describe_problem(detail, location, kind)
            problems.setdefault(key, f"{key}: {message}" if key else message)
    return list(problems.values())


def _describe_problem(detail: Any, location: list[Any], kind: type[Spec]) -> str:
    """Return one of pydantic's errors as a message that says what was found and what was expected."""
    name, value = detail["type"], detail["input"]
    if name == "extra_forbidden":
        key, fields = str(location[-1]), _fields_at(location[:-1], kind)
        if (new_name := RENAMED_KEYS.get(key)) in fields:
            return f"no such key; it was renamed to {new_name!r}"
        return f"no such key; {suggest_names(key, sorted(fields))}"
    if name == "missing":
        return "is missing"
    if name == "value_error":
        return str(detail["ctx"]["error"])
    if name == "tuple_type" and isinstance(value, dict) and len(location) == 1:
        return f"found one table, expected a list of them ([[{location[-1]}]])"
    if name == "tuple_type":
        return f"found {value!r}, expected a list"
    if name in {"model_type", "dict_type"}:
        return f"found {value!r}, expected a table"
    message = detail["msg"][0].lower() + detail["msg"][1:]
    return f"found {value!r}, {message.replace('input should', 'expected to')}"


def _recipe_keys(location: tuple[Any, ...]) -> list[Any]:
    """Return a location without the parts that name a branch of a union (``str``, ``literal[…]``, ``tuple[…]``)."""
    keys: list[Any] = []
    for part in location:
        is_free_name = bool(keys) and keys[-1] in {"targets", "groups"}
        # The keys of a run of the grid are those of its section.
        if keys[:1] == ["finetune"] and (part == "runs" or (len(keys) == 2 and isinstance(part, int))):
            continue
        is_branch = isinstance(part, str) and (
            part in {"str", "float", "int"} or "[" in part or part.startswith(("constrained-", "function-"))
        )
        if is_free_name or not is_branch:
            keys.append(part)
    return keys


def _fields_at(location: list[Any], section: type[Spec]) -> set[str]:
    """Return the keys of the section at `location`."""
    for part in location:
        # A section of networks is a grid of specs, whose keys are its own.
        fields = section.model_fields | (FinetuneSpec.model_fields if section is FinetuneSection else {})
        if isinstance(part, str) and part in fields:
            section = next(_specs_in(fields[part].annotation), section)
    if section is FinetuneSection:
        return {*FinetuneSpec.model_fields, *SECTION_KEYS}
    return set(section.model_fields) - section.set_by_loader


def _specs_in(annotation: Any) -> Iterator[type[Spec]]:
    """Yield the specs in a type, those in its arguments included."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        yield annotation
    for argument in get_args(annotation):
        yield from _specs_in(argument)
