"""What an image is: 128 bits of SHA-256 over its content, remembered while its file stays as it is."""

import json
import os
import sqlite3
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Self

from featx.errors import ReadError, StoreError
from featx.images.contents import State, digest
from featx.images.sources import read
from featx.text.masking import masked

READERS = 4  # threads: files are waited for more than they are worked on
AHEAD = 4096
CHUNK = 64
SETTLED_NS = 100_000_000  # a file written later than this before it was read may be written again in one tick
COLUMNS = "(uri TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, digest TEXT)"
COARSE_NS = 1_000_000_000  # ticks of file systems that count whole seconds


@dataclass(frozen=True, slots=True)
class Identity:
    """What was learnt of one image by reading it.

    Attributes
    ----------
    digest
        32 hex digits; empty where it could not be read.
    outcome
        ``missing`` or ``unreadable`` then, and why; both empty otherwise.
    """

    digest: str = ""
    outcome: str = ""
    reason: str = ""


def identify(uri: str) -> Identity:
    """Read one image and say what it is, or why it cannot be read."""
    try:
        return Identity(digest(read(uri)))
    except FileNotFoundError:
        if Path(uri).is_symlink():
            return Identity(outcome="unreadable", reason="is a link to nothing")
        return Identity(outcome="missing", reason="there is no such file")
    except ReadError as error:
        return Identity(outcome="unreadable", reason=str(error))
    except (MemoryError, OverflowError) as error:
        return Identity(outcome="unreadable", reason=f"needs more memory than there is ({type(error).__name__})")


def identify_all(uris: Sequence[str]) -> Iterator[Identity]:
    """Yield the identity of each image, in order; they are read by a few threads."""
    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(uris), AHEAD):
            some = uris[start : start + AHEAD]
            chunks = [some[at : at + CHUNK] for at in range(0, len(some), CHUNK)]  # threads wait for each other less
            yield from chain.from_iterable(pool.map(lambda chunk: [identify(uri) for uri in chunk], chunks))


class DigestCache:
    """Digests of images by uri and state, kept in SQLite: a warm run opens no image.

    Parameters
    ----------
    path
        The database; made when it is first written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = connected(path, f"digests {COLUMNS} WITHOUT ROWID")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def known(self, uris: Sequence[str], states: Sequence[State | None]) -> Iterator[str]:
        """Yield the digest of each image whose file is as it was when it was last read; ``""`` for the others."""
        find = "SELECT uri, size, mtime_ns, digest FROM json_each(?) CROSS JOIN digests ON uri = value"
        for start in range(0, len(uris), AHEAD):
            asked = list(map(masked, uris[start : start + AHEAD]))
            held = {row[:3]: row[3] for row in self._database.execute(find, [json.dumps(asked)])}
            for uri, state in zip(asked, states[start : start + AHEAD], strict=True):
                yield held.get((uri, *state), "") if state else ""

    def remember(self, rows: Sequence[tuple[str, State, str]]) -> None:
        """Keep (uri, state, digest) of images that were read after their files had settled."""
        values = [(masked(uri), *state, text) for uri, state, text in rows]
        with kept(self._path, self._database):
            self._database.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", values)


def connected(path: Path, table: str) -> sqlite3.Connection:
    """Open a database with a table of this name and columns; one that is damaged is only a cache, and is begun anew.

    In a folder that may only be read and has none, there is nothing to remember: it is in memory then.

    Raises
    ------
    StoreError
        it cannot be opened; says why.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    is_possible = path.exists() or os.access(path.parent, os.W_OK)
    for _ in range(2):
        database = sqlite3.connect(path if is_possible else ":memory:", timeout=60)
        try:
            database.execute(f"CREATE TABLE IF NOT EXISTS {table}")
            is_whole = database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
        except sqlite3.OperationalError as error:  # busy, or a folder that may not be written: not the file's fault
            database.close()
            raise _unusable(path, "opened", error) from error
        except sqlite3.DatabaseError:
            is_whole = False
        if is_whole:
            return database
        database.close()
        path.unlink()
    raise AssertionError("a new database is never damaged")


@contextmanager
def kept(path: Path, database: sqlite3.Connection) -> Iterator[None]:
    """Keep what the block writes; not where the database may only be read: it is learnt anew the next time.

    Raises
    ------
    StoreError
        there is no room for it.
    """
    try:
        with database:
            yield
    except sqlite3.OperationalError as error:
        if _kind(error) != sqlite3.SQLITE_READONLY:
            raise _unusable(path, "written", error) from error


def _unusable(path: Path, what: str, error: sqlite3.OperationalError) -> StoreError:
    is_full = _kind(error) in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
    remedy = "make room, and run again" if is_full else "check who else uses it and its permissions"
    return StoreError(f"{path} cannot be {what}: {error}; {remedy}")


def _kind(error: sqlite3.OperationalError) -> int:
    return error.sqlite_errorcode & 0xFF  # the rest tells variants of it


def has_settled(state: State, before_ns: int) -> bool:
    """Whether a file with this state, read after `before_ns`, would show a later writing by another mtime."""
    tick = COARSE_NS if state[1] % COARSE_NS == 0 else 0
    return state[1] + tick + SETTLED_NS < before_ns


def identified(
    uris: Sequence[str], states: Sequence[State | None], cache: DigestCache
) -> Generator[tuple[Identity, bool]]:
    """Yield the identity of each image in order, and whether it had to be read."""
    known = list(cache.known(uris, states))
    unknown = iter(identify_all([uri for uri, text in zip(uris, known, strict=True) if not text]))
    fresh: list[tuple[str, State, str]] = []
    started_ns = time.time_ns()
    try:
        for uri, state, text in zip(uris, states, known, strict=True):
            found = Identity(text) if text else next(unknown)
            if not text and found.digest and state and has_settled(state, started_ns):
                fresh.append((uri, state, found.digest))
            yield found, not text
            if len(fresh) >= AHEAD:
                cache.remember(fresh)
                fresh.clear()
    finally:
        cache.remember(fresh)
