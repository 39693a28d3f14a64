"""Base class of all specs: frozen, with a fingerprint of its fields."""

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from featx.registry import Registry

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
# Seeds that every library takes: scikit-learn's are numbers of 32 bits without sign.
N_SEEDS = 2**32
Seed = Annotated[int, Field(ge=0, lt=N_SEEDS)]
to_normal_form = partial(unicodedata.normalize, "NFC")
# Name of a label column or one of its values, in Unicode normal form C as those of label tables are.
LabelText = Annotated[str, AfterValidator(to_normal_form)]


class Spec(BaseModel):
    """A frozen set of named choices with a fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    # Fields that are not keys of a recipe: they follow from the file itself.
    set_by_loader: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _normalise_keys(cls, content: Any) -> Any:
        """Return the content with the keys of its tables in Unicode normal form C, as names in label tables are."""
        if not isinstance(content, Mapping):
            return content
        return {
            name: _normalise_table_keys(name, value) if isinstance(value, Mapping) else value
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
