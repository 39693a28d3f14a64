"""The store of one embedding: immutable segments of rows, each row identified by the digest of its image.

::

    <backbone>-<fingerprint>.zarr/zarr.json    attributes: spec, n_features, device_rows (b of all its batches), seal
                                 /segment-…    see `featx.storage.segments`

Writers share nothing: each adds complete segments. Two writers that add the same image at the same time store it twice,
with the same vector, until `featx.storage.compaction` joins the segments. Readers never wait.
`featx.storage.segment_store` says how a segment becomes visible.
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
from featx.files.seals import SEAL, add_seal
from featx.locations import is_url
from featx.specs.embedding import EmbeddingSpec
from featx.storage.segment_store import METADATA_FILE, LocalSegmentStore, SegmentStore
from featx.storage.segments import (
    Keys,
    Rows,
    Segment,
    VanishedError,
    digests_to_keys,
    encode_segment,
    keys_to_digests,
    zarr_files,
)

# Maximum number of attempts to read while other processes join segments and remove the old ones.
MAX_ATTEMPTS = 20


class EmbeddingStore:
    """Vectors of one `EmbeddingSpec` by digest.

    Parameters
    ----------
    path
        The store's folder or URL, which the first `add` creates.
    spec
        The embedding.
    n_features
        d.

    Attributes
    ----------
    dtype
        Data type of the vectors.
    device_rows
        Images in each pass through the network: results differ by 1e-6 between shapes. None while there is no row.
    segments
        The segments of the store at the last `refresh`.

    Raises
    ------
    CorruptError
        the folder is no store, of another spec, or a segment does not match its checksums.
    StoreError
        a newer featx wrote it.
    """

    def __init__(self, path: Path | str, spec: EmbeddingSpec, n_features: int) -> None:
        self.segment_store = segment_store_at(path)
        self.spec = spec
        self.n_features = n_features
        self.dtype = stored_dtype(spec)
        self.header: dict[str, Any] = {"spec": spec.identity(), "n_features": n_features}
        self.device_rows = self._read_device_rows()
        self._clear_index()
        self.refresh()

    def __str__(self) -> str:
        return self.segment_store.place

    def refresh(self) -> None:
        """List the segments again, since other writers may have published, joined or removed some."""
        names = set(self.segment_store.segment_names())
        if any(segment.name not in names for segment in self.segments):
            self._clear_index()
        # Segments never change, so those in the index are not read again.
        new_names = sorted(names - {segment.name for segment in self.segments})
        new_segments = [Segment(self.segment_store, name, self.n_features, self.dtype) for name in new_names]
        self.segment_store.prefetch([segment.file(name) for segment in new_segments for name in ("digest", "crc")])
        try:
            self._add_to_index(new_segments)
        except VanishedError:
            self.refresh()

    def _clear_index(self) -> None:
        self.segments: list[Segment] = []
        self._keys, self._key_heads = np.empty(0, dtype="S16"), np.empty(0, dtype=np.uint64)
        self._owners, self._rows = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32)

    def _add_to_index(self, segments: Sequence[Segment]) -> None:
        """Add segments to the sorted index, in .2 s for a million digests, so that no index is stored on disk."""
        if not segments:
            return
        segment_keys = [segment.keys for segment in segments]
        keys = np.concatenate(segment_keys)
        lengths = [len(row_keys) for row_keys in segment_keys]
        owners = np.repeat(np.arange(len(segments), dtype=np.int32) + len(self.segments), lengths)
        rows = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
        order = np.argsort(keys, kind="stable")
        keys, heads = keys[order], _key_heads(keys[order])
        # Of duplicate rows, the one that is in the index already comes first and is read.
        positions = np.searchsorted(self._keys, keys, side="right")
        self._keys = np.insert(self._keys, positions, keys)
        self._key_heads = np.insert(self._key_heads, positions, heads)
        self._owners = np.insert(self._owners, positions, owners[order])
        self._rows = np.insert(self._rows, positions, rows[order])
        self.segments += segments

    def __len__(self) -> int:
        return int(np.count_nonzero(self._keys[1:] != self._keys[:-1])) + bool(len(self._keys))

    @property
    def digests(self) -> list[str]:
        """All digests that have a vector, sorted."""
        return keys_to_digests(np.unique(self._keys))

    def _read_device_rows(self) -> int | None:
        """Return the batch size in the store's header, whose spec is compared; None where there is no store."""
        content = self.segment_store.read_header()
        if content is None:
            return None
        header, device_rows = parse_header(content, self.segment_store.place)
        if header == self.header:
            return device_rows
        stored_fields, expected_fields = _flatten(header), _flatten(self.header)
        key = next(key for key in stored_fields | expected_fields if stored_fields.get(key) != expected_fields.get(key))
        raise CorruptError(
            f"{self} was written by another spec: {key} is {stored_fields.get(key)!r}, expected "
            f"{expected_fields.get(key)!r}; move it away and extract again"
        )

    def _locate(self, digests: Sequence[str]) -> NDArray[np.intp]:
        """Return (n,) the position of each digest in the sorted index; -1 where it is missing."""
        keys = digests_to_keys(digests)
        if not len(self._keys):
            return np.full(len(keys), -1)
        last_position, heads = len(self._keys) - 1, _key_heads(keys)
        positions = np.searchsorted(self._key_heads, heads).clip(max=last_position)
        # Different digests may share their first half.
        ambiguous_indices = np.flatnonzero((self._key_heads[positions] == heads) & (self._keys[positions] != keys))
        positions[ambiguous_indices] = np.searchsorted(self._keys, keys[ambiguous_indices]).clip(max=last_position)
        return np.where(self._keys[positions] == keys, positions, -1)

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Return the digests that have no vector yet, each once, in their order."""
        unique_digests = list(dict.fromkeys(digests))
        return [
            digest
            for digest, position in zip(unique_digests, self._locate(unique_digests), strict=True)
            if position < 0
        ]

    def read(self, digests: Sequence[str]) -> Rows:
        """Return (n, d) vectors of the store's dtype, one row for each digest.

        Raises
        ------
        IncompleteError
            digests have no vector yet.
        CorruptError
            a row does not match its checksum.
        """
        for _ in range(MAX_ATTEMPTS):
            try:
                return self._read(digests)
            except VanishedError:
                self.refresh()
        raise StoreError(f"segments of {self} are removed faster than they can be read; run again when that is over")

    def _read(self, digests: Sequence[str]) -> Rows:
        positions = self._locate(digests)
        missing_indices = np.flatnonzero(positions < 0)
        if missing_indices.size:
            raise IncompleteError(
                f"{missing_indices.size} of {len(positions)} images have no embedding in {self}, "
                f"first digest {digests[int(missing_indices[0])]}"
            )
        x = np.empty((len(positions), self.n_features), dtype=self.dtype)
        owners = self._owners[positions]
        order = np.argsort(owners, kind="stable")
        starts = np.flatnonzero(np.diff(owners[order], prepend=-1))

        def read_part(part: NDArray[np.intp]) -> None:
            segment = self.segments[owners[part[0]]]
            segment.read_into(x, part, self._rows[positions[part]].astype(np.intp))

        self._for_each_segment(read_part, np.split(order, starts[1:]) if len(positions) else [])
        return x

    def _for_each_segment(
        self, read_part: Callable[[NDArray[np.intp]], None], parts: Sequence[NDArray[np.intp]]
    ) -> None:
        """Call a function for the rows of each segment, for as many segments at once as the store allows."""
        if self.segment_store.max_parallel_reads == 1 or len(parts) < 2:
            for part in parts:
                read_part(part)
            return
        with ThreadPoolExecutor(self.segment_store.max_parallel_reads) as executor:
            # Taking all results raises the errors of the threads.
            list(executor.map(read_part, parts))

    def blocks(self) -> Iterator[tuple[Keys, Rows]]:
        """Yield (n,) digests and (n, d) vectors of each segment; images that are stored twice come twice.

        Raises
        ------
        CorruptError
            a row does not match its checksum; no row of its segment is yielded.
        """
        for segment in list(self.segments):
            try:
                yield segment.keys, segment.read_all()
            # Its rows were joined with others since and are read from there.
            except VanishedError:
                yield segment.keys, self.read(keys_to_digests(segment.keys))

    def add(
        self, digests: Sequence[str], x: NDArray[np.float32], device_rows: int, provenance: Mapping[str, Any]
    ) -> None:
        """Publish one segment.

        Parameters
        ----------
        digests
            (n,) digests of the images; rows that are stored already are left out.
        x
            (n, d), finite.
        device_rows
            Images in each pass through the network that the rows come from.
        provenance
            Device, runtime and versions, which are stored with the segment.

        Raises
        ------
        StoreError
            the store's rows come from passes of another size, values are too large for its dtype, or there is no room.
        """
        rows = dict(zip(digests, range(len(digests)), strict=True))
        new_digests = self.missing(digests)
        if not new_digests:
            return
        new_x = to_stored_dtype(x[[rows[digest] for digest in new_digests]], self.spec)
        segment = encode_segment(digests_to_keys(new_digests), new_x, {**provenance, "device_rows": device_rows})
        self._create(device_rows)
        try:
            self.segment_store.publish(*segment)
        # Somebody has removed the whole store meanwhile.
        except FileNotFoundError:
            self._create(device_rows)
            self.segment_store.publish(*segment)
        self.refresh()

    def _create(self, device_rows: int) -> None:
        """Create the store where there is none yet."""
        if self.segment_store.read_header() is None:
            self.segment_store.create(encode_header(self.header | {"device_rows": device_rows}))
        self.device_rows = self._read_device_rows()
        if self.device_rows != device_rows:
            raise StoreError(
                f"{self} holds rows of batches of {self.device_rows} images, these are of {device_rows}; another "
                "extraction created it meanwhile; run again"
            )


def segment_store_at(place: Path | str) -> SegmentStore:
    """Return access to the files of the store at a path or URL."""
    if not is_url(str(place)):
        return LocalSegmentStore(Path(place))
    from featx.storage.objects import ObjectSegmentStore

    return ObjectSegmentStore(str(place))


def encode_header(fields: Mapping[str, Any]) -> bytes:
    """Return the ``zarr.json`` of a store: spec, n_features and device_rows, with a seal."""
    document = json.loads(zarr_files({"featx": dict(fields)}, {})[METADATA_FILE])
    document["attributes"] |= {SEAL: _seal_of(document)}
    return json.dumps(document, indent=2).encode()


def _seal_of(document: Mapping[str, Any]) -> str:
    """Return the checksum of a store's ``zarr.json`` without the seal in it."""
    attributes = {name: value for name, value in document["attributes"].items() if name != SEAL}
    return str(add_seal({**document, "attributes": attributes})[SEAL])


def parse_header(content: bytes, place: str) -> tuple[dict[str, Any], int]:
    """Return the spec and the number of features in a store's header, and the size of its batches.

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
        fields = dict(attributes["featx"])
        version, device_rows = int(fields["spec"]["format"]), int(fields.pop("device_rows"))
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError) as error:
        raise CorruptError(f"{place} is no embedding store of featx; move it away and extract again") from error
    max_version = int(EmbeddingSpec.model_fields["format"].default)
    if version > max_version:
        raise StoreError(f"{place} has format {version}, this featx reads up to {max_version}; update featx")
    if attributes.get(SEAL) != _seal_of(document):
        raise CorruptError(
            f"{place}/{METADATA_FILE} was changed after it was written; run 'featx cache verify --repair'"
        )
    return fields, device_rows


def _key_heads(keys: Keys) -> NDArray[np.uint64]:
    """Return (n,) the first halves of digests as numbers of the same order: these are found in a third of the time."""
    halves = np.frombuffer(keys.tobytes(), dtype=">u8")[::2]
    return halves.astype(np.uint64)


def stored_dtype(spec: EmbeddingSpec) -> np.dtype[Any]:
    """Return the data type of a store's vectors, in the byte order of its files."""
    return np.dtype(spec.dtype).newbyteorder("<")


def to_stored_dtype(x: NDArray[np.float32], spec: EmbeddingSpec) -> NDArray[np.floating]:
    """Return (n, d) vectors in the data type and byte order of a store.

    Raises
    ------
    StoreError
        values are too large for its dtype.
    """
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(x, dtype=stored_dtype(spec))
    if not np.isfinite(rows).all():
        raise StoreError(f"values up to {np.abs(x).max():g} do not fit {spec.dtype}; set dtype = 'float32'")
    return rows


def missing_digests(stores: Iterable[EmbeddingStore], digests: Iterable[str]) -> frozenset[str]:
    """Return the digests that at least one of the stores lacks."""
    unique_digests = list(dict.fromkeys(digests))
    return frozenset(digest for store in stores for digest in store.missing(unique_digests))


def _flatten(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat_fields: dict[str, Any] = {}
    for key, value in fields.items():
        flat_fields |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat_fields
