"""Results as one JSON object on standard output."""

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from featx.errors import FeatxError
from featx.text.escaping import escape_json
from featx.text.masking import mask_secrets_in_value

_OUTPUT: ContextVar[TextIO | None] = ContextVar("featx JSON output", default=None)


@contextmanager
def json_alone() -> Iterator[None]:
    """Print only JSON on standard output until the block ends; all else that is printed goes to standard error."""
    token = _OUTPUT.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _OUTPUT.reset(token)


def _write(text: str) -> None:
    (_OUTPUT.get() or sys.stdout).write(text)


def as_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object; nan and infinity become null."""
    _write(_json_text(value, indent=2) + "\n")


def _json_text(value: Any, indent: int | None = None) -> str:
    values = mask_secrets_in_value(_finite(value))
    return escape_json(json.dumps(values, ensure_ascii=False, indent=indent, allow_nan=False))


class JsonList:
    """Prints one JSON object whose first field is a list of records that come in batches.

    As a context, it ends the object when its block ends. If an error ends the block after the first record, ``error``
    is one of the fields, so that what was printed can be parsed; before the first record nothing is printed.

    Parameters
    ----------
    name
        Name of the field with the list.
    describe
        Function that returns the other fields of the object at the end.
    """

    def __init__(self, name: str, describe: Callable[[], Mapping[str, Any]]) -> None:
        self._name, self._describe = name, describe
        self._n_records = 0

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Print some records, one in a line."""
        for record in records:
            start = ",\n" if self._n_records else f"{{\n{_json_text(self._name)}: [\n"
            _write(start + _json_text(record))
            self._n_records += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._close(self._describe())
        elif self._n_records:
            # The error may be that standard output is closed.
            with suppress(OSError):
                self._close({**self._describe(), "error": _describe_error(error)})

    def _close(self, fields: Mapping[str, Any]) -> None:
        start = "" if self._n_records else f"{{\n{_json_text(self._name)}: ["
        end = _json_text(fields, indent=2).removeprefix("{")
        _write(f"{start}\n],{end}\n")


def _describe_error(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return str(error) if isinstance(error, FeatxError | OSError) else f"{type(error).__name__}: {error}"


def plain(result: Any) -> Any:
    """Return the result of a stage as JSON values; dataclasses and pydantic models become objects."""
    # pydantic is slow to import, and this module is imported for `--help` too.
    from pydantic import BaseModel

    if isinstance(result, BaseModel):
        return plain(result.model_dump())
    if dataclasses.is_dataclass(result):
        return {field.name: plain(getattr(result, field.name)) for field in dataclasses.fields(result)}
    if isinstance(result, Mapping):
        return {key: plain(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return [plain(item) for item in result]
    return str(result) if isinstance(result, Path) else result


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
