"""Few large segments out of many small ones, each image once, while readers and writers go on.

The rows of all segments that take part, also those that stand in several of them, are written again and published;
only then are these segments taken away. So whoever takes a segment away has itself published every row of it, and no
two that do so at once can both leave a row to the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.progress import ProgressCallback, no_progress
from featx.storage.segments import Keys, Segment, VanishedError, encoded
from featx.storage.store import ATTEMPTS, EmbeddingStore

SEGMENT_BYTES = 16 << 20  # of the rows of a large segment: memory of that size is used again, a larger one's is not

At = NDArray[np.intp]


@dataclass(frozen=True)
class CompactionResult:
    """What became of a store.

    Attributes
    ----------
    n_before, n_after
        Segments.
    n_rows, n_removed
        Images that it holds, and rows that stood there a second time.
    """

    store: str
    n_before: int
    n_after: int
    n_rows: int
    n_removed: int


def compact(
    store: EmbeddingStore, progress: ProgressCallback = no_progress, *, most_bytes: int = SEGMENT_BYTES
) -> CompactionResult:
    """Join a store's small segments, and all that hold images of one another.

    Parameters
    ----------
    most_bytes
        Of the rows of a joined segment; those of at least half of it stay as they are.

    Raises
    ------
    CorruptError
        a row does not match its checksum; nothing was taken away.
    """
    for _ in range(ATTEMPTS):
        store.refresh()
        before = list(store.segments)
        chosen = _chosen(before, most_bytes)
        try:
            _join(store, chosen, most_bytes, progress)
        except VanishedError:  # another process is at it as well
            continue
        break
    store.refresh()
    n_rows = sum(map(len, store.segments))
    return CompactionResult(str(store), len(before), len(store.segments), len(store), sum(map(len, before)) - n_rows)


def _chosen(segments: Sequence[Segment], most_bytes: int) -> list[Segment]:
    """Return the segments to join: the small ones where there are several, and all that share images."""
    if not segments:
        return []
    shared = _sharing([segment.keys for segment in segments])
    small = [at for at, segment in enumerate(segments) if 2 * segment.n_bytes < most_bytes]
    return [segments[at] for at in sorted(shared | set(small if len(small) > 1 else []))]


def _sharing(keys: Sequence[Keys]) -> set[int]:
    """Return which of the segments hold images that stand there, or in another one, again."""
    every = np.concatenate(keys)
    owner = np.repeat(np.arange(len(keys)), [len(one) for one in keys])
    order = np.argsort(every, kind="stable")
    again = np.flatnonzero(every[order][1:] == every[order][:-1])
    return set(owner[order[again]].tolist()) | set(owner[order[again + 1]].tolist())


def _join(store: EmbeddingStore, chosen: Sequence[Segment], most_bytes: int, progress: ProgressCallback) -> None:
    n, done = len(np.unique(np.concatenate([segment.keys for segment in chosen]))) if chosen else 0, 0
    most_rows = max(1, most_bytes // (store.n_features * store.dtype.itemsize))
    for keys, x in _batches(chosen, most_rows):
        store.shelf.publish(*encoded(keys, x, {"joined": _origins(chosen)}))
        done += len(keys)
        progress("join", done, n)
    for segment in chosen:
        store.shelf.withdraw(segment.name)


def _batches(segments: Sequence[Segment], most_rows: int) -> Iterator[tuple[Keys, NDArray[np.floating]]]:
    """Yield digests and rows of some segments, each image once, at most so many at a time; checksums are compared."""
    every = np.concatenate([segment.keys for segment in segments]) if segments else np.empty(0, dtype="S16")
    ends = np.cumsum([0, *map(len, segments)])
    first = np.sort(np.unique(every, return_index=True)[1])
    for start in range(0, len(first), most_rows):
        some = first[start : start + most_rows]
        cuts = np.searchsorted(some, ends)
        parts = [
            segment.rows(some[low:high] - ends[at])
            for at, (segment, low, high) in enumerate(zip(segments, cuts[:-1], cuts[1:], strict=True))
            if high > low
        ]
        yield every[some], np.concatenate(parts)


def _origins(segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """Return by what the rows were made, each once."""
    found: list[dict[str, Any]] = []
    for segment in segments:
        own = {name: value for name, value in segment.provenance().items() if name != "made"}
        found += [one for one in own.get("joined", [own]) if one not in found]
    return found
