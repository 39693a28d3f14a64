"""One network, one pass over the images that its stores lack."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.batches import Failure, batched, finite
from featx.embeddings.store import DEVICE_ROWS, EmbeddingStore
from featx.embeddings.workers import CHUNK, Decoder, Todo, decoded
from featx.progress import Watch
from featx.specs import EmbeddingRequest, EmbeddingSpec
from featx.workspace import LockedEmbedding, Study

if TYPE_CHECKING:
    from featx.networks.features import Resolved

WORKERS = 4  # processes that decode, at most; no more than there are cores
SEGMENT_ROWS = 1024
SEGMENT_S = 30.0  # what a killed extraction loses at most


@dataclass
class NetworkGroup:
    """Requests that one network fills in one pass; it is built when it is first needed, and once.

    Attributes
    ----------
    built_s
        Seconds that building it took; 0 before.
    """

    requests: tuple[EmbeddingRequest, ...]
    built_s: float = 0.0

    @cached_property
    def resolved(self) -> "Resolved":
        """The network, and what each request means with it."""
        start = time.perf_counter()
        from featx.networks.features import resolve

        found = resolve(self.requests)
        self.built_s = time.perf_counter() - start
        return found

    def embed(
        self, todo: Todo, spec: EmbeddingSpec, device: str, failed: Callable[[Failure], None]
    ) -> Iterator[tuple[tuple[str, ...], list[NDArray[np.float32]]]]:
        """Yield the digests of a few images and a (b, d) for each request; images without a vector go to `failed`.

        Decoding and size are those of `spec`, which is one of the group's. The network is built when the first batch
        is there: files that cannot be decoded need none.
        """
        decoder = Decoder(spec.decoding, (spec.preprocessing,))
        workers = max(1, min(WORKERS, os.cpu_count() or 1, -(-len(todo) // CHUNK)))
        batches = batched(decoded(todo, decoder, workers), DEVICE_ROWS, failed)
        if (first := next(batches, None)) is None:
            return
        from featx.embeddings.devices import device_named, embed

        place = device_named(device)
        for digests, columns in embed(chain([first], batches), self.resolved.network, place):
            yield finite(digests, columns, failed)

    def locked(self, study: Study) -> list[LockedEmbedding]:
        """Return what each request resolves to: as noted at the last extraction while that holds, else anew."""
        known = {one.request: one for one in study.locked if one.holds}
        if all(request in known for request in self.requests):
            return [known[request] for request in self.requests]
        found = self.resolved
        return [
            LockedEmbedding(request=request, spec=spec, n_features=d, weights_file=found.weights_file)
            for request, spec, d in zip(self.requests, found.specs, found.n_features, strict=True)
        ]


def network_groups(requests: Sequence[EmbeddingRequest]) -> list[NetworkGroup]:
    """Return the requests by network, in the order of their first ones."""
    groups: dict[EmbeddingRequest, list[EmbeddingRequest]] = {}
    for request in requests:
        groups.setdefault(request.network_key, []).append(request)
    return [NetworkGroup(tuple(group)) for group in groups.values()]


@dataclass
class Filled:
    """What became of the images of one pass.

    Attributes
    ----------
    embedded
        Digests that have new vectors.
    failed
        Digest → why it has none.
    seconds
        From the first image to the last segment, the building of the network left out.
    """

    embedded: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def note(self, failure: Failure) -> None:
        """Keep why an image has no vector."""
        self.failed[failure.digest] = failure.reason


class SegmentWriter:
    """Gathers rows and publishes them in all stores, segment by segment; the last one when the block ends.

    Parameters
    ----------
    stores
        One for each column of the rows.
    provenance
        Kept with each segment.
    """

    def __init__(self, stores: Sequence[EmbeddingStore], provenance: dict[str, Any]) -> None:
        self.stores = stores
        self.provenance = provenance
        self._digests: list[str] = []
        self._columns: list[list[NDArray[np.float32]]] = []
        self._published = time.perf_counter()

    def add(self, digests: Sequence[str], columns: list[NDArray[np.float32]]) -> None:
        """Take the rows of one batch."""
        self._digests += digests
        self._columns.append(columns)
        if len(self._digests) >= SEGMENT_ROWS or time.perf_counter() - self._published > SEGMENT_S:
            self.publish()

    def publish(self) -> None:
        """Make a segment of what was gathered; each store leaves out what it has."""
        if self._digests:
            for store, rows in zip(self.stores, zip(*self._columns, strict=True), strict=True):
                store.add(self._digests, np.concatenate(rows), self.provenance)
        self._digests, self._columns = [], []
        self._published = time.perf_counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.publish()  # after Ctrl-C as well: what is done is kept


def fill(group: NetworkGroup, stores: Sequence[EmbeddingStore], todo: Todo, device: str, watch: Watch) -> Filled:
    """Send images through the group's network; each store gets the rows that it lacks.

    Parameters
    ----------
    stores
        One for each request of `group`, in its order.
    todo
        (digest, uri) of each image.
    device
        See `featx.embeddings.devices.device_named`.

    Returns
    -------
    Filled
        Each digest of `todo` is in ``embedded`` or in ``failed``.
    """
    filled = Filled()
    stage = f"embed {group.requests[0].backbone}"
    provenance = {"device": device, "runtime": f"torch {version('torch')}", "featx": version("featx")}
    start, built_s = time.perf_counter(), group.built_s
    with SegmentWriter(stores, provenance) as writer:
        for digests, columns in group.embed(todo, stores[0].spec, device, filled.note):
            writer.add(digests, columns)
            filled.embedded.update(digests)
            n_failed = len(filled.failed)
            note = f"{n_failed} unreadable" if n_failed else ""
            watch(stage, len(filled.embedded) + n_failed, len(todo), note)
    filled.seconds = time.perf_counter() - start - (group.built_s - built_s)
    return filled


def todo_of(stores: Sequence[EmbeddingStore], uris: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (digest, uri) of each image that one of the stores lacks, once."""
    for digest in dict.fromkeys(digest for store in stores for digest in store.missing(uris)):
        yield digest, uris[digest]
