"""One embedding's cache: a zarr group of immutable segments, rows keyed by the digest of the image.

::

    <backbone>-<fingerprint>.zarr/zarr.json          attributes: spec, n_features, device_rows (b of all its batches)
                                 /<segment>/zarr.json    attributes: provenance
                                           /x            (rows, d) float32 or float16
                                           /digest       (rows, 16) uint8
                                           /crc          (rows,) uint32: crc32c of digest and row together

Each array is one uncompressed chunk behind zarr's crc32c codec, so a chunk's file is the raw little-endian array and
4 bytes: readers here map it into memory, others use plain zarr. A segment is written beside the store, flushed, and
renamed into it when it is whole; it never changes afterwards. Writers share nothing.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from featx.errors import CorruptError, IncompleteError, StoreError
from featx.specs import EmbeddingSpec

CHECKSUM_BYTES = 4
DIGEST_BYTES = 16


class EmbeddingStore:
    """Vectors of one `EmbeddingSpec` by digest.

    Parameters
    ----------
    path
        The store's folder; made at the first `add`.
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

    Raises
    ------
    CorruptError
        the folder is no store, of another spec, or a segment does not match its checksums.
    """

    def __init__(self, path: Path, spec: EmbeddingSpec, n_features: int) -> None:
        self.path = path
        self.spec = spec
        self.n_features = n_features
        self.dtype = np.dtype(spec.dtype).newbyteorder("<")
        self.header: dict[str, Any] = {"spec": spec.identity(), "n_features": n_features}
        self.device_rows: int | None = self._checked_header() if path.exists() else None
        self._segments: list[Segment] = []
        self.refresh()

    def refresh(self) -> None:
        """Look at the folder again, for segments that other writers have published."""
        known = {segment.path: segment for segment in self._segments}  # segments never change: no need to read twice
        folders = sorted(self.path.glob("segment-*"))
        self._segments = [known.get(folder) or Segment(folder, self.n_features, self.dtype) for folder in folders]
        keys = [segment.keys for segment in self._segments]
        every = np.concatenate(keys) if keys else np.empty(0, dtype="S16")
        owner = np.repeat(np.arange(len(keys)), [len(k) for k in keys])
        row = np.concatenate([np.arange(len(k)) for k in keys]) if keys else np.empty(0, dtype=int)
        order = np.argsort(every, kind="stable")
        self._keys, self._owner, self._row = every[order], owner[order], row[order]

    def __len__(self) -> int:
        return len(np.unique(self._keys))

    def _checked_header(self) -> int:
        """Return the batch's rows from the header of a store that is this one's."""
        file = self.path / "zarr.json"
        try:
            found = json.loads(file.read_text())["attributes"]["featx"]
            rows = int(found.pop("device_rows"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptError(f"{self.path} is no embedding store of featx; move it away and extract again") from error
        if found == self.header:
            return rows
        flat_found, flat_ours = _flat(found), _flat(self.header)
        odd = next(key for key in flat_found | flat_ours if flat_found.get(key) != flat_ours.get(key))
        raise CorruptError(
            f"{self.path} was written by another spec: {odd} is {flat_found.get(odd)!r}, expected "
            f"{flat_ours.get(odd)!r}; move it away and extract again"
        )

    def _locate(self, digests: Sequence[str]) -> NDArray[np.intp]:
        """Return where each digest stands in the sorted index; -1 where it does not."""
        wanted = np.array([bytes.fromhex(text) for text in digests], dtype="S16")
        if not len(self._keys):
            return np.full(len(wanted), -1)
        at = np.searchsorted(self._keys, wanted).clip(max=len(self._keys) - 1)
        return np.where(self._keys[at] == wanted, at, -1)

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Return those of `digests` that have no vector yet, each once, in their order."""
        unique = list(dict.fromkeys(digests))
        return [text for text, at in zip(unique, self._locate(unique), strict=True) if at < 0]

    def read(self, digests: Sequence[str]) -> NDArray[np.floating]:
        """Return (n, d) of the store's dtype, one row for each digest.

        Raises
        ------
        IncompleteError
            some have no vector yet.
        CorruptError
            a row does not match its checksum.
        """
        at = self._locate(digests)
        if lost := int((at < 0).sum()):
            first = digests[int(np.flatnonzero(at < 0)[0])]
            raise IncompleteError(f"{lost} of {len(at)} images have no embedding in {self.path}, first digest {first}")
        x = np.empty((len(at), self.n_features), dtype=self.dtype)
        for number in np.unique(self._owner[at]):
            here = np.flatnonzero(self._owner[at] == number)
            x[here] = self._segments[number].rows(self._row[at[here]])
        return x

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
            the store's rows come from passes of another size, or values are too large for its dtype.
        """
        at = dict(zip(digests, range(len(digests)), strict=True))
        fresh = self.missing(digests)
        if not fresh:
            return
        rows = stored_as(x[[at[text] for text in fresh]], self.spec)
        keys = np.frombuffer(b"".join(map(bytes.fromhex, fresh)), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        self._create(device_rows)
        arrays = {"x": rows, "digest": keys, "crc": _row_sums(keys, rows)}
        self._publish(self.path / f"segment-{uuid.uuid4().hex[:12]}", provenance, arrays)
        self.refresh()

    def _create(self, device_rows: int) -> None:
        if not self.path.exists():
            try:
                self._publish(self.path, self.header | {"device_rows": device_rows}, {})
            except OSError:
                if not (self.path / "zarr.json").is_file():  # no other writer has made the store meanwhile
                    raise
        self.device_rows = self._checked_header()
        if self.device_rows != device_rows:
            raise StoreError(
                f"{self.path} holds rows of batches of {self.device_rows} images, these are of {device_rows}; another "
                "extraction began it meanwhile: run again"
            )

    def _publish(self, final: Path, attributes: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write a zarr group under a private name beside the store, flush it, and show it in one step."""
        private = self.path.parent / f".{self.path.name}.{uuid.uuid4().hex[:12]}"
        private.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_group(private, attributes, arrays)
            _flush(private)
            private.rename(final)
            _flush_folder(final.parent)
        finally:
            shutil.rmtree(private, ignore_errors=True)


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


@dataclass(frozen=True)
class Segment:
    """One published segment, mapped into memory when its rows are read."""

    path: Path
    n_features: int
    dtype: np.dtype[Any]

    def __reduce__(self) -> tuple[type["Segment"], tuple[Path, int, np.dtype[Any]]]:
        return Segment, (self.path, self.n_features, self.dtype)  # another process maps the file itself

    @cached_property
    def keys(self) -> NDArray[np.bytes_]:
        """(rows,) digests as bytes."""
        flat = self._checked("digest", np.dtype(np.uint8))
        return flat.reshape(-1, DIGEST_BYTES).view("S16").ravel()

    @cached_property
    def _sums(self) -> NDArray[np.uint32]:
        return self._checked("crc", np.dtype("<u4"))

    @cached_property
    def _x(self) -> NDArray[np.floating]:
        shape = (len(self.keys), self.n_features)
        file = self.path / "x" / "c" / "0" / "0"
        expected = shape[0] * shape[1] * self.dtype.itemsize + CHECKSUM_BYTES
        if not file.is_file() or file.stat().st_size != expected:
            raise self._corrupt(f"x should be {expected} bytes")
        return np.memmap(file, dtype=self.dtype, mode="r", shape=shape)

    def rows(self, at: NDArray[np.intp]) -> NDArray[np.floating]:
        """Return the rows at these places, their checksums compared."""
        x = np.ascontiguousarray(self._x[at])
        keys = np.frombuffer(self.keys[at].astype("V16").tobytes(), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        bad = np.flatnonzero(_row_sums(keys, x) != self._sums[at])
        if bad.size:
            raise self._corrupt(f"{bad.size} rows do not match their checksums, first row {int(at[bad[0]])}")
        return x

    def _checked(self, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a small array's flat values, its chunk's checksum compared."""
        folder = self.path / name / "c"
        try:
            content = (folder / "0" / "0" if name == "digest" else folder / "0").read_bytes()
        except OSError as error:
            raise self._corrupt(f"{name} cannot be read ({error.strerror})") from error
        body, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
        if not body or google_crc32c.value(body).to_bytes(CHECKSUM_BYTES, "little") != checksum:
            raise self._corrupt(f"{name} does not match its checksum")
        return np.frombuffer(body, dtype=dtype)

    def _corrupt(self, what: str) -> CorruptError:
        return CorruptError(f"{self.path}: {what}; remove this folder and run 'featx extract' to embed its rows again")


def _row_sums(keys: NDArray[np.uint8], x: NDArray[np.floating]) -> NDArray[np.uint32]:
    pairs = zip(keys, x, strict=True)
    sums = (google_crc32c.extend(google_crc32c.value(key.tobytes()), row.tobytes()) for key, row in pairs)
    return np.fromiter(sums, dtype=np.uint32, count=len(keys))


def _write_group(path: Path, attributes: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    import zarr
    from zarr.codecs import Crc32cCodec

    group = zarr.create_group(path, attributes={"featx": dict(attributes)})
    for name, values in arrays.items():
        array = group.create_array(
            name,
            shape=values.shape,
            chunks=values.shape,
            dtype=values.dtype,
            compressors=[Crc32cCodec()],
            filters=None,
            config={"write_empty_chunks": True},  # else zarr leaves out a chunk of zeros, which readers here look for
        )
        array[...] = values


def _flush(folder: Path) -> None:
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            with (Path(place) / name).open("rb") as file:
                os.fsync(file.fileno())
        _flush_folder(Path(place))


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inside in value.items():
        flat |= _flat(inside, f"{prefix}{key}.") if isinstance(inside, Mapping) else {f"{prefix}{key}": inside}
    return flat
