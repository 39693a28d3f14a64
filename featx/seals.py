"""JSON files that hold a checksum of their own content: a changed file is never taken for what was written."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featx.disk import write_json
from featx.errors import IncompleteError

SEAL = "seal"  # the field of a JSON file that holds a checksum of the others


def sealed(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a JSON file with their own checksum among them, which `has_valid_seal` compares."""
    others = {name: value for name, value in fields.items() if name != SEAL}
    text = json.dumps(others, sort_keys=True, separators=(",", ":"))
    return others | {SEAL: hashlib.sha256(text.encode()).hexdigest()}


def has_valid_seal(fields: Mapping[str, Any]) -> bool:
    """Whether fields are those that were sealed; fields without a seal are not."""
    return SEAL in fields and sealed(fields)[SEAL] == fields[SEAL]


def write_sealed(path: Path, fields: Mapping[str, Any]) -> None:
    """Write fields as indented JSON with their seal, whole."""
    # The seal is that of the values as they are read back: keys become text, tuples lists.
    write_json(path, sealed(json.loads(json.dumps(fields))))


def read_sealed(path: Path, remedy: str = "") -> dict[str, Any]:
    """Return the fields of a JSON file that `write_sealed` wrote, without their seal.

    Parameters
    ----------
    path
        The file.
    remedy
        What the reader of an error should do.

    Raises
    ------
    IncompleteError
        The file cannot be read, has no seal, or was changed after it was written.
    """
    ending = f"; {remedy}" if remedy else ""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise IncompleteError(f"{path} cannot be read ({error}){ending}") from error
    if not isinstance(fields, dict) or SEAL not in fields:
        raise IncompleteError(f"{path} has no seal: it was changed, or another version of featx wrote it{ending}")
    if not has_valid_seal(fields):
        raise IncompleteError(f"{path} was changed after it was written{ending}")
    del fields[SEAL]
    return fields
