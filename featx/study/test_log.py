"""The log of openings of the sealed test split: appended to, never rewritten, and chained.

::

    runs/<recipe>/openings.jsonl      one JSON object a line: when, user, target, runs, and
                                      "previous": the seal of the line before, "seal": that of this line
                 /openings.last.json  the seal of the last line, sealed

A changed or removed line breaks the chain. A log that was shortened or deleted lacks a seal that
``openings.last.json`` or a file of test scores names. A process that is killed while it writes leaves half a line; the
chain goes on after it.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from featx.errors import IncompleteError
from featx.files.atomic import file_lock
from featx.files.seals import SEAL, add_seal, has_valid_seal, read_sealed, write_sealed

LOG, LAST = "openings.jsonl", "openings.last.json"
PREVIOUS = "previous"  # the field of a line that holds the seal of the line before


@dataclass(frozen=True)
class OpeningLog:
    """The log in a study's folder, as it is when its lines are first read.

    Attributes
    ----------
    folder
        The study's folder.
    """

    folder: Path

    def append(self, opening: Mapping[str, Any], known_seals: Iterable[str] = ()) -> str:
        """Write one opening to the disk and return its seal.

        Parameters
        ----------
        opening
            The fields of the line.
        known_seals
            Seals of earlier lines that files of test scores name.
        """
        with file_lock(self.folder / f".{LOG}.lock"):
            log = OpeningLog(self.folder)
            # If lines were lost, the new line refers to one of them, so that the chain stays broken.
            lost_seals = sorted(set(known_seals) - log._seals)
            line = add_seal({**opening, PREVIOUS: lost_seals[0] if lost_seals else log._last_seal})
            with (self.folder / LOG).open("ab") as file:
                ends_line = not log._content or log._content.endswith(b"\n")
                file.write(b"" if ends_line else b"\n")
                file.write(json.dumps(line).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            write_sealed(self.folder / LAST, {"last": line[SEAL]})
        return str(line[SEAL])

    @cached_property
    def openings(self) -> list[dict[str, Any]]:
        """The openings, oldest first; those on changed lines among them, where they can be read."""
        return [line for line in self._lines if line is not None]

    def problems(self, seals: Iterable[str] = ()) -> list[str]:
        """Return what is wrong with the log, one text each; empty where it is complete.

        Parameters
        ----------
        seals
            Seals of lines that files of test scores name.
        """
        problems = self._broken_lines()
        required_seals = {*seals, *([self._recorded_last] if self._recorded_last else [])}
        if required_seals and not (self.folder / LOG).is_file():
            return [f"{LOG} is missing"]
        if required_seals - self._seals:
            problems.append(f"{LOG} lacks lines at its end")
        if self._recorded_last is None:
            problems.append(f"{LAST} is missing or was changed")
        return problems

    @cached_property
    def _content(self) -> bytes:
        try:
            return (self.folder / LOG).read_bytes()
        except FileNotFoundError:
            return b""

    @cached_property
    def _lines(self) -> list[dict[str, Any] | None]:
        texts = self._content.decode("utf-8", errors="replace").split("\n")
        return [_parsed(text) for text in texts if text]

    @cached_property
    def _seals(self) -> set[str]:
        return {line[SEAL] for line in self._lines if line is not None and has_valid_seal(line)}

    @cached_property
    def _recorded_last(self) -> str | None:
        """The seal that `LAST` names; empty before the first opening, None where it is lost."""
        if not (self.folder / LAST).is_file():
            return None if self._content else ""
        try:
            return str(read_sealed(self.folder / LAST)["last"])
        except (IncompleteError, KeyError):
            return None

    @property
    def _last_seal(self) -> str:
        """The seal that the next line continues."""
        # A process that was killed between the two files has written a line that `LAST` does not name yet.
        if self._recorded_last is not None and self._recorded_last not in self._seals:
            return self._recorded_last
        return next((str(line[SEAL]) for line in reversed(self._lines) if line and has_valid_seal(line)), "")

    def _broken_lines(self) -> list[str]:
        """Name the lines that were changed or are incomplete, and the places where lines are lost."""
        problems, previous_seal = [], ""
        for number, line in enumerate(self._lines, start=1):
            if line is None or not has_valid_seal(line):
                problems.append(f"line {number} of {LOG} is incomplete or was changed")
                continue
            if line.get(PREVIOUS) != previous_seal:
                problems.append(f"line {number} of {LOG} does not continue the line before it")
            previous_seal = str(line[SEAL])
        return problems


def _parsed(text: str) -> dict[str, Any] | None:
    """Return one line's fields; None where it is not an opening."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_opening = isinstance(line, dict) and isinstance(line.get("target"), str) and isinstance(line.get("runs"), list)
    return line if is_opening else None
