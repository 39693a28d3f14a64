"""JSON files with a seal, a checksum of their own content, so that a changed file is noticed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

from featx.errors import IncompleteError
from featx.files.atomic import write_json
from featx.files.parsing import ParseError, parse_json, validate_as

T = TypeVar("T")
# The sealed file in the folder of each finished run that describes its body, with the checksums of all its files.
HEADER_FILE = "header.json"
# The field of a JSON file with a checksum of all other fields.
SEAL = "seal"


def add_seal(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a JSON file and the seal of these fields, which `has_valid_seal` compares."""
    unsealed_fields = {name: value for name, value in fields.items() if name != SEAL}
    text = json.dumps(unsealed_fields, sort_keys=True, separators=(",", ":"))
    return unsealed_fields | {SEAL: hashlib.sha256(text.encode()).hexdigest()}


def has_valid_seal(fields: Mapping[str, Any]) -> bool:
    """Return whether fields have a seal that matches them."""
    return SEAL in fields and add_seal(fields)[SEAL] == fields[SEAL]


def write_sealed(path: Path, fields: Mapping[str, Any]) -> None:
    """Write fields as indented JSON with their seal, atomically."""
    # The seal must match the values that are read back, where keys are text and tuples are lists.
    write_json(path, add_seal(json.loads(json.dumps(fields))))


@overload
def read_sealed(path: Path, next_step: str = "") -> dict[str, Any]: ...


@overload
def read_sealed(path: Path, next_step: str, kind: type[T]) -> T: ...


def read_sealed(path: Path, next_step: str = "", kind: type[Any] = dict[str, Any]) -> Any:
    """Return the fields of a JSON file that `write_sealed` wrote, without their seal.

    Parameters
    ----------
    path
        The file.
    next_step
        The next step for the user, which ends the message of an error.
    kind
        The type of the fields, one that `featx.files.parsing.validate_as` supports.

    Raises
    ------
    IncompleteError
        the file cannot be read, has no seal, was changed after it was written, or has another type than `kind`.
    """
    ending = f"; {next_step}" if next_step else ""
    try:
        fields = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise IncompleteError(f"{path} cannot be read ({error}){ending}") from error
    if not isinstance(fields, dict) or SEAL not in fields:
        raise IncompleteError(f"{path} has no seal: it was changed, or another version of featx wrote it{ending}")
    if not has_valid_seal(fields):
        raise IncompleteError(f"{path} was changed after it was written{ending}")
    del fields[SEAL]
    try:
        return validate_as(fields, kind)
    except ParseError as error:
        raise IncompleteError(f"{path} has unexpected content ({error}){ending}") from error
