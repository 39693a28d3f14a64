"""Base class of all specs: frozen, with a fingerprint of its fields."""

import hashlib
import json
import unicodedata
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from featx.registry import Registry

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
# Seeds that every library takes: scikit-learn's are numbers of 32 bits without sign.
N_SEEDS = 2**32
Seed = Annotated[int, Field(ge=0, lt=N_SEEDS)]
# Name of a label column or one of its values, in Unicode normal form C as those of label tables are.
LabelText = Annotated[str, AfterValidator(partial(unicodedata.normalize, "NFC"))]


class Spec(BaseModel):
    """A frozen set of named choices with a fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    # Fields that are not keys of a recipe: they follow from the file itself.
    set_by_loader: ClassVar[frozenset[str]] = frozenset()

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
