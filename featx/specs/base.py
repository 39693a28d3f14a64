"""Base class of all specs: frozen, with a fingerprint of its fields."""

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from functools import partial
from numbers import Integral, Real
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema

from featx.registry import Registry

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
# Seeds that every library takes: scikit-learn's are numbers of 32 bits without sign.
N_SEEDS = 2**32
Seed = Annotated[int, Field(ge=0, lt=N_SEEDS)]
# Types of a schema that pydantic makes from texts too, unless they are strict.
NUMBER_TYPES = {"int", "float", "bool"}
to_normal_form = partial(unicodedata.normalize, "NFC")
# Name of a label column or one of its values, in Unicode normal form C as those of label tables are.
LabelText = Annotated[str, AfterValidator(to_normal_form)]


def _make_numbers_strict(schema: Any) -> None:
    """Change a schema and all schemas in it, so that numbers and truth values are taken only as such."""
    parts = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list | tuple) else ()
    if isinstance(schema, dict) and schema.get("type") in NUMBER_TYPES:
        schema["strict"] = True
    for part in parts:
        _make_numbers_strict(part)


class Spec(BaseModel):
    """A frozen set of named choices with a fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    # Fields that are not keys of a recipe: they follow from the file itself.
    set_by_loader: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return pydantic's schema, which takes neither a text nor a truth value for a number."""
        schema = handler(source)
        _make_numbers_strict(schema)
        return schema

    @model_validator(mode="before")
    @classmethod
    def _normalise_keys(cls, content: Any) -> Any:
        """Return the content with the keys of its tables in Unicode normal form C, as names in label tables are.

        Numbers of NumPy that are values of fields become those of Python.
        """
        if not isinstance(content, Mapping):
            return content
        return {
            name: _normalise_table_keys(name, value) if isinstance(value, Mapping) else _to_python_number(value)
            for name, value in content.items()
        }

    def fingerprint(self) -> str:
        """Return 16 hex digits that change whenever any field changes."""
        return fingerprint(self.identity())

    def identity(self) -> dict[str, Any]:
        """Return the fields that the fingerprint is computed from, nested specs included, as JSON values."""
        fields = self.model_dump(mode="json")
        for name in type(self).model_fields:
            if isinstance(nested := getattr(self, name), Spec):
                fields[name] = nested.identity()
        return fields


def _to_python_number(value: Any) -> Any:
    if isinstance(value, Integral) and not isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, Real) and not isinstance(value, int | float) else value


def _normalise_table_keys(name: str, table: Mapping[Any, Any]) -> dict[Any, Any]:
    texts = {key: to_normal_form(key) if isinstance(key, str) else key for key in table}
    if len(set(texts.values())) < len(texts):
        keys = list(texts.values())
        repeated_key = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{name} has the key {repeated_key!r} twice, in two Unicode forms; expected different keys")
    return {texts[key]: value for key, value in table.items()}


def fingerprint(value: object) -> str:
    """Return the first 16 hex digits of SHA-256 over `value` written as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_registered(registry: Registry[object], name: str) -> str:
    """Return `name` if it is registered.

    Raises
    ------
    ValueError
        The name is not registered; pydantic reports the message for the key that holds the name.
    """
    if problem := registry.problem(name):
        raise ValueError(problem)
    return name
