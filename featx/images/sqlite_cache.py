"""SQLite databases of values that can be computed again: damaged ones are deleted, read-only ones stay unchanged."""

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from featx.errors import StoreError
from featx.files.atomic import file_lock

# Number of digests in one query.
DIGESTS_PER_QUERY = 4096
# Number of times that a database is opened which is damaged, or which other processes replace meanwhile.
MAX_OPENINGS = 20


class SqliteCache:
    """A database with one table, which several processes may write at the same time.

    A damaged database is deleted and created again. If there is none and its folder is read-only, it is in memory.

    Parameters
    ----------
    path
        Path of the database, which is created if there is none.
    table
        Name and columns of the table, as in ``CREATE TABLE``.

    Raises
    ------
    StoreError
        the database cannot be opened.
    """

    def __init__(self, path: Path, table: str) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = self._open(table)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def _open(self, table: str) -> sqlite3.Connection:
        is_on_disk = self._path.exists() or os.access(self._path.parent, os.W_OK)
        for number in range(MAX_OPENINGS):
            state = self._state()
            database = sqlite3.connect(self._path if is_on_disk else ":memory:", timeout=60)
            try:
                database.execute(f"CREATE TABLE IF NOT EXISTS {table}")
                is_intact = database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
            # The database is busy or may not be written, or another process has just replaced it.
            except sqlite3.OperationalError as error:
                database.close()
                is_busy = _primary_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
                if is_busy or self._state() == state or number == MAX_OPENINGS - 1:
                    raise self._error("opened", error) from error
                continue
            except sqlite3.DatabaseError:
                is_intact = False
            if is_intact:
                return database
            database.close()
            self._remove(state)
        raise StoreError(f"{self._path} is damaged again and again; remove it, and check its disk")

    def _state(self) -> tuple[int, int] | None:
        """Return a state of the file that another file of its name does not have; None where there is none."""
        try:
            state = self._path.stat()
        except FileNotFoundError:
            return None
        return state.st_ino, state.st_ctime_ns

    def _remove(self, state: tuple[int, int] | None) -> None:
        """Remove the damaged file with a state, unless another process has replaced it."""
        with file_lock(self._path.with_name(f".{self._path.name}.lock")):
            if self._state() == state:
                self._path.unlink(missing_ok=True)

    def _rows_by_digest(self, query: str, digests: Sequence[str], *parameters: str) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query whose first parameter is a JSON list of digests, a batch of digests at a time."""
        for start in range(0, len(digests), DIGESTS_PER_QUERY):
            batch = json.dumps(list(digests[start : start + DIGESTS_PER_QUERY]))
            yield from self._database.execute(query, [batch, *parameters])

    def _write(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Execute a statement for all rows in one transaction; a read-only database stays unchanged.

        Raises
        ------
        StoreError
            the database cannot be written, for example because the disk is full.
        """
        try:
            with self._database:
                self._database.executemany(statement, rows)
        except sqlite3.OperationalError as error:
            if _primary_code(error) != sqlite3.SQLITE_READONLY:
                raise self._error("written", error) from error

    def _error(self, action: str, error: sqlite3.OperationalError) -> StoreError:
        is_full = _primary_code(error) in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
        next_step = "make room, and run again" if is_full else "check its permissions and who else uses it"
        return StoreError(f"{self._path} cannot be {action}: {error}; {next_step}")


def _primary_code(error: sqlite3.OperationalError) -> int:
    # The upper bits distinguish variants of the error.
    return error.sqlite_errorcode & 0xFF
