"""Compaction of a store: few large segments replace many small ones, each image once, while others read and write.

The rows of all chosen segments, also those that several of them hold, are written again and published; only then are
these segments removed. So a process that removes a segment has itself published every row of it, and no two processes
that do so at the same time can both leave a row to the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.progress import ProgressCallback, no_progress
from featx.storage.segments import Keys, Segment, VanishedError, encode_segment
from featx.storage.store import MAX_ATTEMPTS, EmbeddingStore

# Size of the rows of a large segment. Memory of this size is used again for the next segment; larger blocks are not.
MAX_SEGMENT_BYTES = 16 << 20


@dataclass(frozen=True)
class CompactionResult:
    """The counts of a store before and after its compaction.

    Attributes
    ----------
    store
        Path or URL of the store.
    n_before, n_after
        Number of segments.
    n_rows
        Number of images that the store holds.
    n_removed
        Number of duplicate rows that were removed.
    """

    store: str
    n_before: int
    n_after: int
    n_rows: int
    n_removed: int


def compact(
    store: EmbeddingStore, progress: ProgressCallback = no_progress, *, max_segment_bytes: int = MAX_SEGMENT_BYTES
) -> CompactionResult:
    """Join a store's small segments, and all segments that hold the same images.

    Parameters
    ----------
    store
        The store.
    progress
        Called after each new segment with stage ``join`` and the number of rows.
    max_segment_bytes
        Size of the rows of a joined segment in bytes. Segments of at least half of it stay unchanged.

    Raises
    ------
    CorruptError
        a row does not match its checksum; no segment was removed.
    """
    for _ in range(MAX_ATTEMPTS):
        store.refresh()
        segments = list(store.segments)
        try:
            _join(store, _choose_segments(segments, max_segment_bytes), max_segment_bytes, progress)
        # Another process joins segments at the same time.
        except VanishedError:
            continue
        break
    store.refresh()
    n_rows = sum(map(len, store.segments))
    return CompactionResult(
        str(store), len(segments), len(store.segments), len(store), sum(map(len, segments)) - n_rows
    )


def _choose_segments(segments: Sequence[Segment], max_segment_bytes: int) -> list[Segment]:
    """Return the segments to join: the small ones where there are several, and all that share images."""
    if not segments:
        return []
    overlapping_indices = _overlapping_segments([segment.keys for segment in segments])
    small_indices = [index for index, segment in enumerate(segments) if 2 * segment.n_bytes < max_segment_bytes]
    return [
        segments[index] for index in sorted(overlapping_indices | set(small_indices if len(small_indices) > 1 else []))
    ]


def _overlapping_segments(keys: Sequence[Keys]) -> set[int]:
    """Return the indices of the segments with images that are stored more than once."""
    all_keys = np.concatenate(keys)
    owners = np.repeat(np.arange(len(keys)), [len(segment_keys) for segment_keys in keys])
    order = np.argsort(all_keys, kind="stable")
    repeat_positions = np.flatnonzero(all_keys[order][1:] == all_keys[order][:-1])
    return set(owners[order[repeat_positions]].tolist()) | set(owners[order[repeat_positions + 1]].tolist())


def _join(
    store: EmbeddingStore, segments: Sequence[Segment], max_segment_bytes: int, progress: ProgressCallback
) -> None:
    n_total = len(np.unique(np.concatenate([segment.keys for segment in segments]))) if segments else 0
    n_joined = 0
    max_rows = max(1, max_segment_bytes // (store.n_features * store.dtype.itemsize))
    for keys, x in _joined_blocks(segments, max_rows):
        store.segment_store.publish(*encode_segment(keys, x, {"joined": _unique_provenances(segments)}))
        n_joined += len(keys)
        progress("join", n_joined, n_total)
    for segment in segments:
        store.segment_store.remove_segment(segment.name)


def _joined_blocks(segments: Sequence[Segment], max_rows: int) -> Iterator[tuple[Keys, NDArray[np.floating]]]:
    """Yield digests and rows of segments, each image once, at most `max_rows` at a time; checksums are compared."""
    all_keys = np.concatenate([segment.keys for segment in segments]) if segments else np.empty(0, dtype="S16")
    ends = np.cumsum([0, *map(len, segments)])
    first_rows = np.sort(np.unique(all_keys, return_index=True)[1])
    for start in range(0, len(first_rows), max_rows):
        block_rows = first_rows[start : start + max_rows]
        cuts = np.searchsorted(block_rows, ends)
        parts = [
            segment.read_rows(block_rows[low:high] - ends[index])
            for index, (segment, low, high) in enumerate(zip(segments, cuts[:-1], cuts[1:], strict=True))
            if high > low
        ]
        yield all_keys[block_rows], np.concatenate(parts)


def _unique_provenances(segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """Return the provenances of all rows, each once."""
    provenances: list[dict[str, Any]] = []
    for segment in segments:
        segment_provenance = {name: value for name, value in segment.provenance().items() if name != "created"}
        provenances += [
            origin for origin in segment_provenance.get("joined", [segment_provenance]) if origin not in provenances
        ]
    return provenances
