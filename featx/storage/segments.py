"""One segment of a store: a zarr group of three arrays, each one uncompressed chunk behind zarr's crc32c codec.

::

    segment-<hash>/zarr.json    attributes: provenance, when and by whom it was made
                  /x            (rows, d) float32 or float16
                  /digest       (rows, 16) uint8
                  /crc          (rows,) uint32: crc32c of digest and row together

A chunk's file is the raw little-endian array and the 4 bytes of its checksum, so readers here map it into memory, and
others use plain zarr. The name carries a hash of all metadata. A segment never changes.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from featx.errors import CorruptError
from featx.files.parsing import parse_json
from featx.storage.shelves import METADATA, PREFIX, Files, SegmentStore, rows_at_once

CHECKSUM_BYTES = 4
DIGEST_BYTES = 16
CHUNKS = {"x": "x/c/0/0", "digest": "digest/c/0/0", "crc": "crc/c/0"}
HASH_DIGITS = 16
OLDER_DIGITS = 12  # of names before they carried a hash

Keys = NDArray[np.bytes_]  # (n,) S16: digests
Rows = NDArray[np.floating]  # (n, d)


class VanishedError(Exception):
    """A segment was taken away between being listed and being read: its rows stand in another one, or nowhere."""


def as_keys(digests: Sequence[str]) -> Keys:
    """Return digests as a segment keeps them."""
    content = bytes.fromhex("".join(digests))
    if len(content) != DIGEST_BYTES * len(digests):
        raise ValueError(f"expected digests of {2 * DIGEST_BYTES} hex digits")
    return np.frombuffer(content, dtype=f"S{DIGEST_BYTES}")


def as_text(keys: Keys) -> list[str]:
    """Undo `as_keys`."""
    text = keys.tobytes().hex()
    return [text[start : start + 2 * DIGEST_BYTES] for start in range(0, len(text), 2 * DIGEST_BYTES)]


def _bytes_of(keys: Keys) -> NDArray[np.uint8]:
    return np.frombuffer(keys.tobytes(), dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def encoded(keys: Keys, x: Rows, provenance: Mapping[str, Any]) -> tuple[str, Files]:
    """Return the name and the files of a new segment.

    Parameters
    ----------
    keys, x
        n digests and (n, d) little-endian rows.
    provenance
        Kept as the attribute ``featx``; what JSON knows.
    """
    digests = _bytes_of(keys)
    arrays = {"x": x, "digest": digests, "crc": row_sums(keys, x)}
    made = {"made": datetime.now(UTC).isoformat(timespec="seconds"), "segment": uuid.uuid4().hex}
    files = zarr_files(made | {"featx": dict(provenance)}, arrays)
    return f"{PREFIX}{metadata_hash(files)}", files


def zarr_files(attributes: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> dict[str, bytes]:
    """Return the files of a zarr group: path inside → content."""
    import zarr
    from zarr.codecs import Crc32cCodec
    from zarr.storage import MemoryStore

    written: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(written), attributes=dict(attributes))
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
    return {name: content.to_bytes() for name, content in written.items()}


def metadata_hash(files: Mapping[str, bytes | memoryview]) -> str:
    """16 hex digits over all ``zarr.json`` among some files."""
    found = sha256()
    for name in sorted(name for name in files if name.rpartition("/")[2] == METADATA):
        found.update(f"{name}\n".encode())
        found.update(files[name])
    return found.hexdigest()[:HASH_DIGITS]


def row_sums(keys: Keys, x: Rows) -> NDArray[np.uint32]:
    """Return (n,) crc32c of each digest followed by its row."""
    rows = np.ascontiguousarray(x).view(np.uint8).reshape(len(x), x.shape[1] * x.itemsize)
    rows.flags.writeable = False  # the library takes nothing else
    of_keys = map(google_crc32c.value, _bytes_of(keys))
    return np.fromiter(map(google_crc32c.extend, of_keys, rows), dtype=np.uint32, count=len(keys))


@dataclass(frozen=True, eq=False)
class Segment:
    """One published segment; its rows are read when they are asked for.

    Attributes
    ----------
    name
        Of its folder.
    n_features, dtype
        d and type of its rows.
    """

    shelf: SegmentStore = field(repr=False)
    name: str
    n_features: int
    dtype: np.dtype[Any]

    def __reduce__(self) -> tuple[type["Segment"], tuple[SegmentStore, str, int, np.dtype[Any]]]:
        return Segment, (self.shelf, self.name, self.n_features, self.dtype)  # another process reads for itself

    def __len__(self) -> int:
        return len(self.keys)

    def file(self, array: str) -> str:
        """Return where the chunk of an array lies on the shelf."""
        return f"{self.name}/{CHUNKS[array]}"

    @cached_property
    def keys(self) -> Keys:
        """(n,) digests, their chunk's checksum compared."""
        return self._checked("digest", np.dtype(f"S{DIGEST_BYTES}"))

    @cached_property
    def sums(self) -> NDArray[np.uint32]:
        """(n,) checksums of digests and rows, their chunk's own compared."""
        return self._checked("crc", np.dtype("<u4"))

    def rows(self, at: NDArray[np.intp]) -> Rows:
        """Return the rows at these places; errors are those of `put`."""
        x = np.empty((len(at), self.n_features), dtype=self.dtype)
        self.put(x, np.arange(len(at)), at)
        return x

    def put(self, x: Rows, where: NDArray[np.intp], at: NDArray[np.intp]) -> None:
        """Put the rows at some places into ``x[where]``, their checksums compared.

        Raises
        ------
        CorruptError
            one does not match.
        VanishedError
            the segment is not there any more.
        """
        keys, sums, start = self.keys[at], self.sums[at], 0
        try:
            for block in self.shelf.rows(self._x_file, self.dtype, self._shape, at):
                end = start + len(block)
                bad = np.flatnonzero(row_sums(keys[start:end], block) != sums[start:end])
                if bad.size:
                    n_bad, first = self._bad(at)
                    raise self.corrupt(f"{n_bad} rows do not match their checksums, first row {first}")
                x[where[start:end]] = block
                start = end
        except FileNotFoundError as error:
            raise self._lost("x", error) from error

    def _bad(self, at: NDArray[np.intp]) -> tuple[int, int]:
        """Return how many of some rows do not match their checksums, and the first of them."""
        x = np.concatenate(list(self.shelf.rows(self._x_file, self.dtype, self._shape, at)))
        bad = np.flatnonzero(row_sums(self.keys[at], x) != self.sums[at])
        return len(bad), int(at[bad[0]])

    @property
    def n_bytes(self) -> int:
        """Of its rows."""
        return len(self.keys) * self.n_features * self.dtype.itemsize

    def whole(self) -> Rows:
        """Return (n, d) all rows in memory, the chunk's checksum compared on the way; errors are those of `rows`."""
        try:
            content = self.shelf.content(self._x_file)
        except FileNotFoundError as error:
            raise self._lost("x", error) from error
        x = content[:-CHECKSUM_BYTES].view(self.dtype).reshape(self._shape)
        found, checksum = np.empty(self._shape, dtype=self.dtype), 0
        step = rows_at_once(self.n_features * self.dtype.itemsize)
        for start in range(0, len(found), step):
            block = found[start : start + step]
            block[...] = x[start : start + step]
            checksum = _sum_of(block, checksum)
        if checksum.to_bytes(CHECKSUM_BYTES, "little") != content[-CHECKSUM_BYTES:].tobytes():
            return self.rows(np.arange(len(found)))  # names the rows that are broken
        return found

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.keys), self.n_features

    @cached_property
    def _x_file(self) -> str:
        """The chunk of x, its size compared."""
        file = self.file("x")
        expected = len(self.keys) * self.n_features * self.dtype.itemsize + CHECKSUM_BYTES
        try:
            fits = self.shelf.n_bytes(file) == expected
        except FileNotFoundError as error:
            raise self._lost("x", error) from error
        if not fits:
            raise self.corrupt(f"x should be {expected} bytes")
        return file

    def _checked(self, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return a small array's values."""
        try:
            content = self.shelf.read(self.file(name))
        except OSError as error:
            raise self._lost(name, error) from error
        body, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
        if not body or google_crc32c.value(body).to_bytes(CHECKSUM_BYTES, "little") != checksum:
            raise self.corrupt(f"{name} does not match its checksum")
        return np.frombuffer(body, dtype=dtype)

    def _lost(self, what: str, error: OSError) -> CorruptError | VanishedError:
        if not self.shelf.has(self.name):
            return VanishedError(self.name)
        return self.corrupt(f"{what} cannot be read ({error.strerror or error})")

    def corrupt(self, what: str) -> CorruptError:
        """Return the error that says what is wrong with the segment, and what to do."""
        return CorruptError(f"{self.shelf.place}/{self.name}: {what}; run 'featx cache verify --repair'")

    def provenance(self) -> dict[str, Any]:
        """Return what was kept with the segment, and when it was made; nothing where that cannot be read."""
        try:
            attributes = parse_json(self.shelf.read(f"{self.name}/{METADATA}"))["attributes"]
            return {**{name: attributes[name] for name in ("made",) if name in attributes}, **attributes["featx"]}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def examined(self) -> "SegmentCheck":
        """Compare all checksums, those of the rows where one of the chunks' does not hold."""
        problems = list(self._metadata_problems())
        chunks = {name: self._raw(name) for name in CHUNKS}
        whole = {name: _is_whole(content) for name, content in chunks.items()}
        problems += [f"{name} does not match its checksum" for name, holds in whole.items() if not holds]
        keys = _rows_in(chunks["digest"], np.dtype(f"S{DIGEST_BYTES}"), 1)[:, 0]
        x = _rows_in(chunks["x"], self.dtype, self.n_features)
        if whole["digest"] and whole["x"] and len(keys) == len(x):
            return SegmentCheck(problems, keys, x, np.ones(len(x), dtype=bool))
        sums = _rows_in(chunks["crc"], np.dtype("<u4"), 1)[:, 0]
        n = min(len(keys), len(x), len(sums))  # files may have been cut short
        good = np.zeros(len(keys), dtype=bool)
        good[:n] = row_sums(keys[:n], x[:n]) == sums[:n]
        known = keys if whole["digest"] else np.where(good, keys, b"")
        return SegmentCheck(problems, known, x, good)

    def _raw(self, name: str) -> NDArray[np.uint8]:
        """Return a chunk's file as it is, checksum included; empty where there is none."""
        try:
            return self.shelf.content(self.file(name))
        except OSError:
            return np.empty(0, dtype=np.uint8)

    def _metadata_problems(self) -> Iterator[str]:
        files = {}
        for name in (METADATA, *(f"{array}/{METADATA}" for array in CHUNKS)):
            try:
                files[name] = self.shelf.read(f"{self.name}/{name}")
            except OSError as error:
                yield f"{name} cannot be read ({error.strerror or error})"
        carries_hash = len(self.name) != len(PREFIX) + OLDER_DIGITS
        if carries_hash and f"{PREFIX}{metadata_hash(files)}" != self.name:
            yield "its metadata is not what its name says"


@dataclass(frozen=True, eq=False)
class SegmentCheck:
    """What a segment was found to hold.

    Attributes
    ----------
    problems
        In words; none where it is whole.
    keys, x
        Digests and rows; a digest that is not known any more is empty.
    good
        (n,) whether the row is that of the digest.
    """

    problems: list[str]
    keys: Keys
    x: Rows
    good: NDArray[np.bool_]

    @property
    def lost(self) -> list[str]:
        """The digests of rows that are broken, as far as they are known."""
        return as_text(self.keys[~self.good & (self.keys != b"")])


def _is_whole(content: NDArray[np.uint8]) -> bool:
    body, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    return bool(len(body)) and _sum_of(body).to_bytes(CHECKSUM_BYTES, "little") == checksum.tobytes()


def _sum_of(values: NDArray[Any], before: int = 0) -> int:
    """Return the crc32c of some values behind others."""
    flat = values.reshape(-1).view(np.uint8)
    flat.flags.writeable = False  # the library takes nothing else
    return int(google_crc32c.extend(before, flat))


def _rows_in(content: NDArray[np.uint8], dtype: np.dtype[Any], width: int) -> NDArray[Any]:
    """Return as many whole rows as stand in a chunk's file."""
    n = max(0, len(content) - CHECKSUM_BYTES) // (dtype.itemsize * width)
    return content[: n * dtype.itemsize * width].view(dtype).reshape(n, width)
