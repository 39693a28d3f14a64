"""Digests of images, cached as long as their files are unchanged: 128 bits of SHA-256 over the content."""

import json
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from featx.errors import ReadError
from featx.images.contents import FileState, digest
from featx.images.sources import read_content
from featx.images.sqlite_cache import SqliteCache
from featx.text.masking import mask_cell

# Reading waits for the disk or the network more than it computes.
N_READER_THREADS = 4
# Number of uris in one query and in one write of the cache.
URIS_PER_BATCH = 4096
# Number of uris in one task of a thread: larger tasks make threads wait for each other less often.
URIS_PER_TASK = 64
# Age of a file when it is read: a younger one may be changed again with the same time of change.
MIN_SETTLED_NS = 100_000_000
TABLE_COLUMNS = "(uri TEXT PRIMARY KEY, size INTEGER, changed_ns INTEGER, digest TEXT)"
# Resolution of times on file systems that store whole seconds.
COARSE_TICK_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ImageIdentity:
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


def identify_image(uri: str) -> ImageIdentity:
    """Return the digest of one image, or the reason why it cannot be read."""
    try:
        return ImageIdentity(digest(read_content(uri)))
    except FileNotFoundError:
        if Path(uri).is_symlink():
            return ImageIdentity(outcome="unreadable", reason="is a broken link")
        return ImageIdentity(outcome="missing", reason="there is no such file")
    except ReadError as error:
        return ImageIdentity(outcome="unreadable", reason=str(error))
    except (MemoryError, OverflowError) as error:
        return ImageIdentity(
            outcome="unreadable", reason=f"needs more memory than is available ({type(error).__name__})"
        )


def identify_images(uris: Sequence[str]) -> Iterator[ImageIdentity]:
    """Yield the identity of each image, in order; a few threads read the images."""
    with ThreadPoolExecutor(N_READER_THREADS) as pool:
        for start in range(0, len(uris), URIS_PER_BATCH):
            batch = uris[start : start + URIS_PER_BATCH]
            tasks = [
                batch[task_start : task_start + URIS_PER_TASK] for task_start in range(0, len(batch), URIS_PER_TASK)
            ]
            yield from chain.from_iterable(pool.map(lambda task: [identify_image(uri) for uri in task], tasks))


class DigestCache(SqliteCache):
    """A SQLite cache of digests by uri and state of the file: a second run opens no unchanged image.

    Parameters
    ----------
    path
        Path of the database, which is created if there is none.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, f"file_digests {TABLE_COLUMNS} WITHOUT ROWID")

    def known(self, uris: Sequence[str], states: Sequence[FileState | None]) -> Iterator[str]:
        """Yield the digest of each image whose file has the cached state, otherwise ``""``."""
        query = "SELECT uri, size, changed_ns, digest FROM json_each(?) CROSS JOIN file_digests ON uri = value"
        for start in range(0, len(uris), URIS_PER_BATCH):
            batch = list(map(mask_cell, uris[start : start + URIS_PER_BATCH]))
            digests = {row[:3]: row[3] for row in self._database.execute(query, [json.dumps(batch)])}
            for uri, state in zip(batch, states[start : start + URIS_PER_BATCH], strict=True):
                yield digests.get((uri, *state), "") if state else ""

    def remember(self, rows: Sequence[tuple[str, FileState, str]]) -> None:
        """Write (uri, state, digest) of images that were read when `has_settled` was true."""
        values = [(mask_cell(uri), *state, digest_text) for uri, state, digest_text in rows]
        self._write("INSERT OR REPLACE INTO file_digests VALUES (?, ?, ?, ?)", values)


def has_settled(state: FileState, before_ns: int) -> bool:
    """Whether a file that is written again will have another time of change.

    Parameters
    ----------
    state
        State of the file before it is read.
    before_ns
        Time at which reading starts, in ns since the epoch.
    """
    tick = COARSE_TICK_NS if state[1] % COARSE_TICK_NS == 0 else 0
    return state[1] + tick + MIN_SETTLED_NS < before_ns


def identify_with_cache(
    uris: Sequence[str], states: Sequence[FileState | None], cache: DigestCache
) -> Generator[tuple[ImageIdentity, bool]]:
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
    cached_digests = list(cache.known(uris, states))
    read_identities = identify_images(
        [uri for uri, cached_digest in zip(uris, cached_digests, strict=True) if not cached_digest]
    )
    new_entries: list[tuple[str, FileState, str]] = []
    started_ns = time.time_ns()
    try:
        for uri, state, cached_digest in zip(uris, states, cached_digests, strict=True):
            identity = ImageIdentity(cached_digest) if cached_digest else next(read_identities)
            if not cached_digest and identity.digest and state and has_settled(state, started_ns):
                new_entries.append((uri, state, identity.digest))
            yield identity, not cached_digest
            if len(new_entries) >= URIS_PER_BATCH:
                cache.remember(new_entries)
                new_entries.clear()
    finally:
        cache.remember(new_entries)
