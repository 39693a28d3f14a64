"""Compare all checksums of a store, row by row, and repair the store."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import CorruptError, StoreError, UnreachableError
from featx.progress import ProgressCallback, no_progress
from featx.specs.embedding import EmbeddingSpec, ResolvedEmbedding
from featx.storage.segment_store import SegmentStore
from featx.storage.segments import Segment, encode_segment
from featx.storage.store import EmbeddingStore, encode_header, parse_header, segment_store_at, stored_dtype


@dataclass(frozen=True)
class SegmentDamage:
    """The damage of one segment.

    Attributes
    ----------
    segment
        Name of the segment.
    problems
        One text for each problem.
    damaged_digests
        Digests of the damaged rows, as far as they can be read.
    n_damaged_rows, n_intact_rows
        Number of damaged rows and of all others.
    is_complete
        Whether `damaged_digests` names all damaged rows.
    """

    segment: str
    problems: list[str]
    damaged_digests: list[str]
    n_damaged_rows: int
    n_intact_rows: int
    is_complete: bool


@dataclass(frozen=True)
class StoreCheck:
    """A store after all its checksums were compared.

    Attributes
    ----------
    store
        Path or URL of the store.
    n_segments, n_rows
        Number of its segments and rows.
    problem
        The reason why the store cannot be opened; empty where it can.
    damaged_segments
        The damaged segments; empty where there are none.
    """

    store: str
    n_segments: int = 0
    n_rows: int = 0
    problem: str = ""
    damaged_segments: list[SegmentDamage] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether the store can be opened and every row matches its checksum."""
        return not self.problem and not self.damaged_segments


def open_store(place: Path | str) -> EmbeddingStore:
    """Open a store with the spec in its own header.

    Raises
    ------
    CorruptError
        it is no store, or its header was changed.
    StoreError
        a newer featx wrote it.
    """
    header = _read_header(segment_store_at(place))
    try:
        return EmbeddingStore(place, EmbeddingSpec.model_validate(header["spec"]), int(header["n_features"]))
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{place} is no embedding store of featx ({error}); move it away") from error


def check_store(place: Path | str, progress: ProgressCallback = no_progress) -> StoreCheck:
    """Compare all checksums of a store."""
    try:
        segments = _unread_segments(place)
    # Nothing is known about a store that does not answer, so there is nothing to repair.
    except UnreachableError:
        raise
    except StoreError as error:
        return StoreCheck(str(place), problem=str(error))
    damaged_segments, n_rows = [], 0
    for number, segment in enumerate(segments, start=1):
        result = segment.check()
        n_rows += len(result.keys)
        if result.problems:
            n_intact_rows = int(result.is_good.sum())
            n_damaged_rows = len(result.keys) - n_intact_rows
            damaged_segments.append(
                SegmentDamage(
                    segment.name,
                    result.problems,
                    result.damaged_digests,
                    n_damaged_rows,
                    n_intact_rows,
                    result.has_all_keys,
                )
            )
        progress("verify", number, len(segments))
    return StoreCheck(str(place), len(segments), n_rows, "", damaged_segments)


def repair_store(place: Path | str) -> int:
    """Write damaged segments again without their damaged rows; return the number of these rows.

    Good rows are published before the segment that held them is removed.
    """
    n_damaged_rows = 0
    for segment in _unread_segments(place):
        result = segment.check()
        if result.problems:
            good_rows = np.flatnonzero(result.is_good)
            if len(good_rows):
                provenance = {**segment.provenance(), "repaired_from": segment.name}
                segment.store.publish(*encode_segment(result.keys[good_rows], result.x[good_rows], provenance))
            segment.store.remove_segment(segment.name)
            n_damaged_rows += len(result.is_good) - len(good_rows)
    return n_damaged_rows


def restore_header(place: Path | str, embedding: ResolvedEmbedding) -> None:
    """Write the header of a store again; its batch size is read from its segments.

    Parameters
    ----------
    place
        Path or URL of the store.
    embedding
        The embedding that the store is known to hold.

    Raises
    ------
    StoreError
        the segments state no batch size, or several.
    """
    store = segment_store_at(place)
    segments = _segments(store, embedding.spec, embedding.n_features)
    batch_sizes = {n_images for segment in segments for n_images in device_rows(segment.provenance())}
    if len(batch_sizes) != 1:
        raise StoreError(
            f"{place} has no valid header, and its segments do not state one batch size; move it away and extract again"
        )
    header = {
        "spec": embedding.spec.identity(),
        "n_features": embedding.n_features,
        "device_rows": batch_sizes.pop(),
    }
    store.replace_header(encode_header(header))


def has_valid_header(store: SegmentStore) -> bool:
    """Return whether a store has the header of an embedding store that this version of featx reads."""
    try:
        _read_header(store)
    except UnreachableError:
        raise
    except StoreError:
        return False
    return True


def device_rows(provenance: Mapping[str, Any]) -> Iterator[int]:
    """Yield the sizes of the batches that a segment's rows come from, as far as its provenance states them."""
    for origin in provenance.get("joined", [provenance]):
        if "device_rows" in origin:
            yield int(origin["device_rows"])


def _read_header(store: SegmentStore) -> dict[str, Any]:
    content = store.read_header()
    return parse_header(b"" if content is None else content, store.place)[0]


def _unread_segments(place: Path | str) -> list[Segment]:
    """Return a store's segments without reading them, because they may be damaged."""
    store = segment_store_at(place)
    header = _read_header(store)
    return _segments(store, EmbeddingSpec.model_validate(header["spec"]), int(header["n_features"]))


def _segments(store: SegmentStore, spec: EmbeddingSpec, n_features: int) -> list[Segment]:
    return [Segment(store, name, n_features, stored_dtype(spec)) for name in store.segment_names()]
