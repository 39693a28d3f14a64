"""One embedding's cache: immutable segments of rows, keyed by the digest of the image.

::

    <backbone>-<fingerprint>.zarr/zarr.json    attributes: spec, n_features, device_rows (b of all its batches), seal
                                 /segment-…    see `featx.storage.segments`

Writers share nothing: each adds whole segments, and two that add the same image at once leave it there twice, with the
same vector, until `featx.storage.compaction` joins them. Readers never wait. How a segment becomes visible is told in
`featx.storage.shelves`.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.errors import CorruptError, IncompleteError, StoreError
from featx.files.parsing import parse_json
from featx.files.seals import SEAL, sealed
from featx.locations import is_url
from featx.specs.embedding import EmbeddingSpec
from featx.storage.segments import Keys, Rows, Segment, VanishedError, as_keys, as_text, encoded, zarr_files
from featx.storage.shelves import METADATA, LocalSegmentStore, SegmentStore

ATTEMPTS = 20  # to read while segments are being joined: each finds those that stood there a moment before


class EmbeddingStore:
    """Vectors of one `EmbeddingSpec` by digest.

    Parameters
    ----------
    path
        The store's folder or URL; made at the first `add`.
    spec
        What makes the numbers.
    n_features
        d.

    Attributes
    ----------
    dtype
        Of the vectors.
    device_rows
        Images in each pass through the network: results differ by 1e-6 between shapes. None while there is no row.
    segments
        What it holds, as it was when the store was last looked at.

    Raises
    ------
    CorruptError
        the folder is no store, of another spec, or a segment does not match its checksums.
    StoreError
        a newer featx wrote it.
    """

    def __init__(self, path: Path | str, spec: EmbeddingSpec, n_features: int) -> None:
        self.shelf = segment_store_at(path)
        self.spec = spec
        self.n_features = n_features
        self.dtype = np.dtype(spec.dtype).newbyteorder("<")
        self.header: dict[str, Any] = {"spec": spec.identity(), "n_features": n_features}
        self.device_rows = self._checked_header()
        self._forget()
        self.refresh()

    def __str__(self) -> str:
        return self.shelf.place

    def refresh(self) -> None:
        """Look at the store again, for segments that other writers have published, joined or removed."""
        names = set(self.shelf.segments())
        if any(segment.name not in names for segment in self.segments):
            self._forget()
        known = {segment.name for segment in self.segments}  # they never change: no need to read twice
        fresh = [Segment(self.shelf, name, self.n_features, self.dtype) for name in sorted(names - known)]
        self.shelf.expect([segment.file(name) for segment in fresh for name in ("digest", "crc")])
        try:
            self._index(fresh)
        except VanishedError:
            self.refresh()

    def _forget(self) -> None:
        self.segments: list[Segment] = []
        self._keys, self._heads = np.empty(0, dtype="S16"), np.empty(0, dtype=np.uint64)
        self._owner, self._row = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32)

    def _index(self, fresh: Sequence[Segment]) -> None:
        """Take more segments into the sorted index: .2 s for a million digests, so that none is kept on disk."""
        if not fresh:
            return
        keys = [segment.keys for segment in fresh]
        every = np.concatenate(keys)
        owner = np.repeat(np.arange(len(keys), dtype=np.int32) + len(self.segments), [len(k) for k in keys])
        row = np.concatenate([np.arange(len(k), dtype=np.int32) for k in keys])
        order = np.argsort(every, kind="stable")
        every, heads = every[order], _heads(every[order])
        at = np.searchsorted(self._keys, every, side="right")  # of rows that stand twice the one known first counts
        self._keys, self._heads = np.insert(self._keys, at, every), np.insert(self._heads, at, heads)
        self._owner, self._row = np.insert(self._owner, at, owner[order]), np.insert(self._row, at, row[order])
        self.segments += fresh

    def __len__(self) -> int:
        return int(np.count_nonzero(self._keys[1:] != self._keys[:-1])) + bool(len(self._keys))

    @property
    def digests(self) -> list[str]:
        """All that have a vector, sorted."""
        return as_text(np.unique(self._keys))

    def _checked_header(self) -> int | None:
        """Return the batch's rows from the header of a store that is this one's; None where there is no store."""
        content = self.shelf.header()
        if content is None:
            return None
        found, rows = header_of(content, self.shelf.place)
        if found == self.header:
            return rows
        flat_found, flat_ours = _flat(found), _flat(self.header)
        odd = next(key for key in flat_found | flat_ours if flat_found.get(key) != flat_ours.get(key))
        raise CorruptError(
            f"{self} was written by another spec: {odd} is {flat_found.get(odd)!r}, expected {flat_ours.get(odd)!r}; "
            "move it away and extract again"
        )

    def _locate(self, digests: Sequence[str]) -> NDArray[np.intp]:
        """Return where each digest stands in the sorted index; -1 where it does not."""
        wanted = as_keys(digests)
        if not len(self._keys):
            return np.full(len(wanted), -1)
        last, heads = len(self._keys) - 1, _heads(wanted)
        at = np.searchsorted(self._heads, heads).clip(max=last)
        unsure = np.flatnonzero((self._heads[at] == heads) & (self._keys[at] != wanted))
        at[unsure] = np.searchsorted(self._keys, wanted[unsure]).clip(max=last)
        return np.where(self._keys[at] == wanted, at, -1)

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Return those of `digests` that have no vector yet, each once, in their order."""
        unique = list(dict.fromkeys(digests))
        return [text for text, at in zip(unique, self._locate(unique), strict=True) if at < 0]

    def read(self, digests: Sequence[str]) -> Rows:
        """Return (n, d) of the store's dtype, one row for each digest.

        Raises
        ------
        IncompleteError
            some have no vector yet.
        CorruptError
            a row does not match its checksum.
        """
        for _ in range(ATTEMPTS):
            try:
                return self._read(digests)
            except VanishedError:
                self.refresh()
        raise StoreError(f"segments of {self} are taken away faster than they can be read; run again when that is over")

    def _read(self, digests: Sequence[str]) -> Rows:
        at = self._locate(digests)
        if lost := int((at < 0).sum()):
            first = digests[int(np.flatnonzero(at < 0)[0])]
            raise IncompleteError(f"{lost} of {len(at)} images have no embedding in {self}, first digest {first}")
        x = np.empty((len(at), self.n_features), dtype=self.dtype)
        owner = self._owner[at]
        order = np.argsort(owner, kind="stable")
        starts = np.flatnonzero(np.diff(owner[order], prepend=-1))

        def fetch(here: NDArray[np.intp]) -> None:
            self.segments[owner[here[0]]].put(x, here, self._row[at[here]].astype(np.intp))

        self._each(fetch, np.split(order, starts[1:]) if len(at) else [])
        return x

    def _each(self, fetch: Callable[[NDArray[np.intp]], None], parts: Sequence[NDArray[np.intp]]) -> None:
        """Call a function for the rows of each segment, for as many segments at once as their place is worth."""
        if self.shelf.at_once == 1 or len(parts) < 2:
            for part in parts:
                fetch(part)
            return
        with ThreadPoolExecutor(self.shelf.at_once) as threads:
            list(threads.map(fetch, parts))  # raises what one of them does

    def blocks(self) -> Iterator[tuple[Keys, Rows]]:
        """Yield all rows, (n,) digests and (n, d) vectors of each segment; images that stand twice come twice.

        Raises
        ------
        CorruptError
            a row does not match its checksum; no row of its segment is yielded.
        """
        for segment in list(self.segments):
            try:
                yield segment.keys, segment.whole()
            except VanishedError:  # joined with others since: its rows are read from there
                keys = as_text(segment.keys)
                yield segment.keys, self.read(keys)

    def add(
        self, digests: Sequence[str], x: NDArray[np.float32], device_rows: int, provenance: Mapping[str, Any]
    ) -> None:
        """Publish one segment.

        Parameters
        ----------
        digests
            Of the images; those that are stored already are left out.
        x
            (n, d), finite.
        device_rows
            Images in the passes that they come from.
        provenance
            Device, runtime and versions; kept with the segment.

        Raises
        ------
        StoreError
            the store's rows come from passes of another size, values are too large for its dtype, or there is no room.
        """
        at = dict(zip(digests, range(len(digests)), strict=True))
        fresh = self.missing(digests)
        if not fresh:
            return
        made = {**provenance, "device_rows": device_rows}
        segment = encoded(as_keys(fresh), stored_as(x[[at[text] for text in fresh]], self.spec), made)
        self._begin(device_rows)
        try:
            self.shelf.publish(*segment)
        except FileNotFoundError:  # somebody has removed the whole store meanwhile: begin it again
            self._begin(device_rows)
            self.shelf.publish(*segment)
        self.refresh()

    def _begin(self, device_rows: int) -> None:
        """Make the store where it is not there yet."""
        if self.shelf.header() is None:
            self.shelf.begin(encoded_header(self.header | {"device_rows": device_rows}))
        self.device_rows = self._checked_header()
        if self.device_rows != device_rows:
            raise StoreError(
                f"{self} holds rows of batches of {self.device_rows} images, these are of {device_rows}; another "
                "extraction began it meanwhile: run again"
            )


def segment_store_at(place: Path | str) -> SegmentStore:
    """Return where a store lies that is called by a path or URL."""
    if not is_url(str(place)):
        return LocalSegmentStore(Path(place))
    from featx.storage.objects import ObjectSegmentStore

    return ObjectSegmentStore(str(place))


def encoded_header(fields: Mapping[str, Any]) -> bytes:
    """Return the ``zarr.json`` of a store: spec, n_features and device_rows, sealed."""
    document = json.loads(zarr_files({"featx": dict(fields)}, {})[METADATA])
    document["attributes"] |= {SEAL: _seal_of(document)}
    return json.dumps(document, indent=2).encode()


def _seal_of(document: Mapping[str, Any]) -> str:
    """Return the checksum of a store's ``zarr.json`` without its own."""
    attributes = {name: value for name, value in document["attributes"].items() if name != SEAL}
    return str(sealed({**document, "attributes": attributes})[SEAL])


def header_of(content: bytes, place: str) -> tuple[dict[str, Any], int]:
    """Return a store's spec and number of features, as they were written, and the rows of its batches.

    Raises
    ------
    CorruptError
        this is no store, or its header was changed.
    StoreError
        a newer featx wrote it.
    """
    try:
        document = parse_json(content)
        attributes = document["attributes"]
        found = dict(attributes["featx"])
        version, rows = int(found["spec"]["format"]), int(found.pop("device_rows"))
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError) as error:
        raise CorruptError(f"{place} is no embedding store of featx; move it away and extract again") from error
    known = int(EmbeddingSpec.model_fields["format"].default)
    if version > known:
        raise StoreError(f"{place} has format {version}, this featx reads up to {known}; update featx")
    is_old = attributes.keys() == {"featx"}  # older stores have no seal
    if not is_old and attributes.get(SEAL) != _seal_of(document):
        raise CorruptError(f"{place}/{METADATA} was changed after it was written; run 'featx cache verify --repair'")
    return found, rows


def _heads(keys: Keys) -> NDArray[np.uint64]:
    """Return the first halves of digests as numbers, in the same order: they are found in a third of the time."""
    halves = np.frombuffer(keys.tobytes(), dtype=">u8")[::2]
    return halves.astype(np.uint64)


def stored_as(x: NDArray[np.float32], spec: EmbeddingSpec) -> NDArray[np.floating]:
    """Return vectors as a store keeps them.

    Raises
    ------
    StoreError
        values are too large for its dtype.
    """
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(x, dtype=np.dtype(spec.dtype).newbyteorder("<"))
    if not np.isfinite(rows).all():
        raise StoreError(f"values up to {np.abs(x).max():g} do not fit {spec.dtype}; say dtype = 'float32'")
    return rows


def missing(stores: Iterable[EmbeddingStore], digests: Iterable[str]) -> frozenset[str]:
    """Return the digests that one of the stores lacks."""
    wanted = list(digests)
    return frozenset(digest for store in stores for digest in store.missing(wanted))


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inside in value.items():
        flat |= _flat(inside, f"{prefix}{key}.") if isinstance(inside, Mapping) else {f"{prefix}{key}": inside}
    return flat
