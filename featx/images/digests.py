"""Digests of images, cached as long as their files are unchanged: 128 bits of SHA-256 over the content."""

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

# Reading waits for the disk or the network more than it computes.
N_READER_THREADS = 4
# Number of uris in one query and in one write of the cache.
URIS_PER_BATCH = 4096
# Number of uris in one task of a thread: larger tasks make threads wait for each other less often.
URIS_PER_TASK = 64
# Age of a file when it is read: a younger one may be written again with the same mtime.
MIN_SETTLED_NS = 100_000_000
TABLE_COLUMNS = "(uri TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, digest TEXT)"
# Resolution of mtime on file systems that store whole seconds.
COARSE_TICK_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Identity:
    """The digest of one image, or the reason why it has none.

    Attributes
    ----------
    digest
        32 hex digits; empty if the image could not be read.
    outcome, reason
        ``missing`` or ``unreadable``, and the reason; both are empty if the image was read.
    """

    digest: str = ""
    outcome: str = ""
    reason: str = ""


def identify(uri: str) -> Identity:
    """Return the digest of one image, or the reason why it cannot be read."""
    try:
        return Identity(digest(read(uri)))
    except FileNotFoundError:
        if Path(uri).is_symlink():
            return Identity(outcome="unreadable", reason="is a broken link")
        return Identity(outcome="missing", reason="there is no such file")
    except ReadError as error:
        return Identity(outcome="unreadable", reason=str(error))
    except (MemoryError, OverflowError) as error:
        return Identity(outcome="unreadable", reason=f"needs more memory than is available ({type(error).__name__})")


def identify_all(uris: Sequence[str]) -> Iterator[Identity]:
    """Yield the identity of each image, in order; a few threads read the images."""
    with ThreadPoolExecutor(N_READER_THREADS) as pool:
        for start in range(0, len(uris), URIS_PER_BATCH):
            batch = uris[start : start + URIS_PER_BATCH]
            tasks = [batch[first : first + URIS_PER_TASK] for first in range(0, len(batch), URIS_PER_TASK)]
            yield from chain.from_iterable(pool.map(lambda task: [identify(uri) for uri in task], tasks))


class DigestCache:
    """A SQLite cache of digests by uri and state of the file: a second run opens no unchanged image.

    Parameters
    ----------
    path
        Path of the database, which is created if there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = open_cache_database(path, f"digests {TABLE_COLUMNS} WITHOUT ROWID")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def known(self, uris: Sequence[str], states: Sequence[State | None]) -> Iterator[str]:
        """Yield the digest of each image whose file has the cached state, otherwise ``""``."""
        query = "SELECT uri, size, mtime_ns, digest FROM json_each(?) CROSS JOIN digests ON uri = value"
        for start in range(0, len(uris), URIS_PER_BATCH):
            batch = list(map(masked, uris[start : start + URIS_PER_BATCH]))
            digests = {row[:3]: row[3] for row in self._database.execute(query, [json.dumps(batch)])}
            for uri, state in zip(batch, states[start : start + URIS_PER_BATCH], strict=True):
                yield digests.get((uri, *state), "") if state else ""

    def remember(self, rows: Sequence[tuple[str, State, str]]) -> None:
        """Write (uri, state, digest) of images that were read when `has_settled` was true."""
        values = [(masked(uri), *state, digest_text) for uri, state, digest_text in rows]
        with cache_transaction(self._path, self._database):
            self._database.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)", values)


def open_cache_database(path: Path, table: str) -> sqlite3.Connection:
    """Open a cache database; a damaged one is deleted and created again.

    If there is none and its folder is read-only, the database is in memory.

    Parameters
    ----------
    path
        Path of the database.
    table
        Name and columns of its table, as in ``CREATE TABLE``.

    Raises
    ------
    StoreError
        it cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    is_on_disk = path.exists() or os.access(path.parent, os.W_OK)
    for _ in range(2):
        database = sqlite3.connect(path if is_on_disk else ":memory:", timeout=60)
        try:
            database.execute(f"CREATE TABLE IF NOT EXISTS {table}")
            is_intact = database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
        # The database is busy or may not be written: the file itself is not damaged.
        except sqlite3.OperationalError as error:
            database.close()
            raise _database_error(path, "opened", error) from error
        except sqlite3.DatabaseError:
            is_intact = False
        if is_intact:
            return database
        database.close()
        path.unlink()
    raise AssertionError("a new database is never damaged")


@contextmanager
def cache_transaction(path: Path, database: sqlite3.Connection) -> Iterator[None]:
    """Commit what the block writes; a read-only database ignores it.

    Parameters
    ----------
    path
        Path of the database, for errors.
    database
        The open database.

    Raises
    ------
    StoreError
        the database cannot be written, for example because the disk is full.
    """
    try:
        with database:
            yield
    except sqlite3.OperationalError as error:
        if _primary_error_code(error) != sqlite3.SQLITE_READONLY:
            raise _database_error(path, "written", error) from error


def _database_error(path: Path, action: str, error: sqlite3.OperationalError) -> StoreError:
    is_full = _primary_error_code(error) in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
    next_step = "free some disk space and run again" if is_full else "check its permissions and which process uses it"
    return StoreError(f"{path} cannot be {action}: {error}; {next_step}")


def _primary_error_code(error: sqlite3.OperationalError) -> int:
    # The upper bits distinguish variants of the error.
    return error.sqlite_errorcode & 0xFF


def has_settled(state: State, before_ns: int) -> bool:
    """Whether a file that is written again will have another mtime.

    Parameters
    ----------
    state
        State of the file before it is read.
    before_ns
        Time at which reading starts, in ns since the epoch.
    """
    tick = COARSE_TICK_NS if state[1] % COARSE_TICK_NS == 0 else 0
    return state[1] + tick + MIN_SETTLED_NS < before_ns


def identified(
    uris: Sequence[str], states: Sequence[State | None], cache: DigestCache
) -> Generator[tuple[Identity, bool]]:
    """Yield the identity of each image in order, and whether it had to be read.

    Parameters
    ----------
    uris
        n uris.
    states
        n states of the files; None for files without a state, which are always read.
    cache
        Cache of digests; new ones are written to it, also if the generator is closed early.
    """
    cached = list(cache.known(uris, states))
    read_identities = identify_all([uri for uri, cached_digest in zip(uris, cached, strict=True) if not cached_digest])
    fresh: list[tuple[str, State, str]] = []
    started_ns = time.time_ns()
    try:
        for uri, state, cached_digest in zip(uris, states, cached, strict=True):
            identity = Identity(cached_digest) if cached_digest else next(read_identities)
            if not cached_digest and identity.digest and state and has_settled(state, started_ns):
                fresh.append((uri, state, identity.digest))
            yield identity, not cached_digest
            if len(fresh) >= URIS_PER_BATCH:
                cache.remember(fresh)
                fresh.clear()
    finally:
        cache.remember(fresh)
