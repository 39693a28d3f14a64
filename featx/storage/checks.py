"""Whether a store is what was written, row by row, and how it is mended."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import CorruptError, StoreError, UnreachableError
from featx.progress import ProgressCallback, no_progress
from featx.specs.embedding import EmbeddingSpec, ResolvedEmbedding
from featx.storage.segments import Segment, encoded
from featx.storage.store import EmbeddingStore, encoded_header, header_of, segment_store_at


@dataclass(frozen=True)
class Damage:
    """What is wrong with one segment.

    Attributes
    ----------
    problems
        In words.
    lost
        Digests of the rows that are broken, as far as they can be read.
    n_lost, n_good
        Rows that are broken, and the others.
    """

    segment: str
    problems: list[str]
    lost: list[str]
    n_lost: int
    n_good: int


@dataclass(frozen=True)
class StoreCheck:
    """A store after all its checksums were compared.

    Attributes
    ----------
    store
        Where it lies.
    n_segments, n_rows
        What it holds.
    problem
        Why it cannot be opened; empty where it can.
    damages
        Of its segments; none where it is whole.
    """

    store: str
    n_segments: int = 0
    n_rows: int = 0
    problem: str = ""
    damages: list[Damage] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether every row is what was written."""
        return not self.problem and not self.damages


def open_store(place: Path | str) -> EmbeddingStore:
    """Open a store by what its own header says.

    Raises
    ------
    CorruptError
        it is no store, or its header was changed.
    StoreError
        a newer featx wrote it.
    """
    content = segment_store_at(place).header()
    found, _ = header_of(b"" if content is None else content, str(place))
    try:
        return EmbeddingStore(place, EmbeddingSpec.model_validate(found["spec"]), int(found["n_features"]))
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"{place} is no embedding store of featx ({error}); move it away") from error


def check(place: Path | str, progress: ProgressCallback = no_progress) -> StoreCheck:
    """Compare all checksums of a store."""
    try:
        found = _unread(place)
    except UnreachableError:  # nothing is known, and so nothing is to be mended
        raise
    except StoreError as error:
        return StoreCheck(str(place), problem=str(error))
    damages, n_rows = [], 0
    for number, segment in enumerate(found, start=1):
        examined = segment.examined()
        n_rows += len(examined.keys)
        if examined.problems:
            n_good = int(examined.good.sum())
            damages.append(Damage(segment.name, examined.problems, examined.lost, len(examined.keys) - n_good, n_good))
        progress("verify", number, len(found))
    return StoreCheck(str(place), len(found), n_rows, "", damages)


def mend(place: Path | str) -> int:
    """Write damaged segments anew without their broken rows; return the number of rows that are lost.

    The rows that are good are published before what held them is taken away.
    """
    n_lost = 0
    for segment in _unread(place):
        examined = segment.examined()
        if examined.problems:
            good = np.flatnonzero(examined.good)
            if len(good):
                kept = {**segment.provenance(), "mended": segment.name}
                segment.shelf.publish(*encoded(examined.keys[good], examined.x[good], kept))
            segment.shelf.withdraw(segment.name)
            n_lost += len(examined.good) - len(good)
    return n_lost


def restore_header(place: Path | str, known: ResolvedEmbedding) -> None:
    """Write the header of a store anew, from what it is known to hold; its segments know the rows of its batches.

    Raises
    ------
    StoreError
        no segment can say that.
    """
    shelf = segment_store_at(place)
    dtype = np.dtype(known.spec.dtype).newbyteorder("<")
    segments = [Segment(shelf, name, known.n_features, dtype) for name in shelf.segments()]
    found = {rows for segment in segments for rows in device_rows(segment.provenance())}
    if len(found) != 1:
        raise StoreError(
            f"{place} has lost its header, and its segments cannot tell it; move it away and extract again"
        )
    header = {"spec": known.spec.identity(), "n_features": known.n_features, "device_rows": found.pop()}
    shelf.replace_header(encoded_header(header))


def device_rows(provenance: Mapping[str, Any]) -> Iterator[int]:
    """Yield the rows of the batches that a segment's rows come from, as far as it tells."""
    for one in provenance.get("joined", [provenance]):
        if "device_rows" in one:
            yield int(one["device_rows"])


def _unread(place: Path | str) -> list[Segment]:
    """Return a store's segments without reading them: they may be damaged."""
    shelf = segment_store_at(place)
    content = shelf.header()
    found, _ = header_of(b"" if content is None else content, shelf.place)
    spec = EmbeddingSpec.model_validate(found["spec"])
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    return [Segment(shelf, name, int(found["n_features"]), dtype) for name in shelf.segments()]
