"""What every spec is: frozen, and named by the hash of what it says."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from featx.registry import Registry

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Spec(BaseModel):
    """A frozen set of named choices with a fingerprint.

    Attributes
    ----------
    added_later
        Fields that came after the first release, each with the value that keeps its old meaning: while a field
        has that value it is left out of the fingerprint, so that caches outlive releases.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    added_later: ClassVar[Mapping[str, object]] = {}

    def fingerprint(self) -> str:
        """16 hex digits that change whenever any field does."""
        return fingerprint(self.identity())

    def identity(self) -> dict[str, Any]:
        """Return the fields that make it what it is, specs inside included, as JSON knows them."""
        fields = self.model_dump(mode="json")
        for name in type(self).model_fields:
            if isinstance(inside := getattr(self, name), Spec):
                fields[name] = inside.identity()
        return {name: value for name, value in fields.items() if self.added_later.get(name, ...) != value}


def fingerprint(value: object) -> str:
    """16 hex digits of SHA-256 over `value` written as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def known_name(registry: Registry[object], name: str) -> str:
    """Return `name`, or raise the ValueError that pydantic turns into a problem of its key."""
    if problem := registry.problem(name):
        raise ValueError(problem)
    return name
