"""Segments of a store: a zarr group of three arrays, each one uncompressed chunk with zarr's crc32c codec.

::

    segment-<hash>/zarr.json    attributes: provenance, when and by whom it was made
                  /x            (rows, d) float32 or float16
                  /digest       (rows, 16) uint8
                  /crc          (rows,) uint32: crc32c of digest and row together

A chunk's file is the raw little-endian array and the 4 bytes of its checksum, so readers here map it into memory, and
other software uses plain zarr. The name contains a hash of all metadata. A segment never changes.
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
from featx.storage.segment_store import HASH_DIGITS, METADATA_FILE, SEGMENT_PREFIX, Files, SegmentStore, rows_per_block

CHECKSUM_BYTES = 4
DIGEST_BYTES = 16
CHUNKS = {"x": "x/c/0/0", "digest": "digest/c/0/0", "crc": "crc/c/0"}

Keys = NDArray[np.bytes_]  # (n,) S16: digests
Rows = NDArray[np.floating]  # (n, d)


class VanishedError(Exception):
    """A segment was removed after it was listed: another segment holds its rows, or none does."""


def digests_to_keys(digests: Sequence[str]) -> Keys:
    """Return (n,) digests in the form in which segments store them."""
    content = bytes.fromhex("".join(digests))
    if len(content) != DIGEST_BYTES * len(digests):
        raise ValueError(f"expected digests of {2 * DIGEST_BYTES} hex digits")
    return np.frombuffer(content, dtype=f"S{DIGEST_BYTES}")


def keys_to_digests(keys: Keys) -> list[str]:
    """Return stored digests as hex digits: the inverse of `digests_to_keys`."""
    text = keys.tobytes().hex()
    return [text[start : start + 2 * DIGEST_BYTES] for start in range(0, len(text), 2 * DIGEST_BYTES)]


def _digest_bytes(keys: Keys) -> NDArray[np.uint8]:
    return np.frombuffer(keys.tobytes(), dtype=np.uint8).reshape(-1, DIGEST_BYTES)


def encode_segment(keys: Keys, x: Rows, provenance: Mapping[str, Any]) -> tuple[str, Files]:
    """Return the name and the files of a new segment.

    Parameters
    ----------
    keys, x
        (n,) digests and (n, d) little-endian rows.
    provenance
        JSON values that are stored as the attribute ``featx``.
    """
    arrays = {"x": x, "digest": _digest_bytes(keys), "crc": row_checksums(keys, x)}
    attributes = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "segment": uuid.uuid4().hex,
        "featx": dict(provenance),
    }
    files = zarr_files(attributes, arrays)
    return f"{SEGMENT_PREFIX}{metadata_hash(files)}", files


def zarr_files(attributes: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> dict[str, bytes]:
    """Return the files of a zarr group: path inside → content."""
    import zarr
    from zarr.codecs import Crc32cCodec
    from zarr.storage import MemoryStore

    buffers: dict[str, Any] = {}
    group = zarr.create_group(MemoryStore(buffers), attributes=dict(attributes))
    for name, values in arrays.items():
        array = group.create_array(
            name,
            shape=values.shape,
            chunks=values.shape,
            dtype=values.dtype,
            compressors=[Crc32cCodec()],
            filters=None,
            # By default zarr leaves out a chunk of zeros, which readers here need.
            config={"write_empty_chunks": True},
        )
        array[...] = values
    return {name: content.to_bytes() for name, content in buffers.items()}


def metadata_hash(files: Mapping[str, bytes | memoryview]) -> str:
    """Return 16 hex digits of a hash over all ``zarr.json`` among the files."""
    digest = sha256()
    for name in sorted(name for name in files if name.rpartition("/")[2] == METADATA_FILE):
        digest.update(f"{name}\n".encode())
        digest.update(files[name])
    return digest.hexdigest()[:HASH_DIGITS]


def row_checksums(keys: Keys, x: Rows) -> NDArray[np.uint32]:
    """Return (n,) crc32c of each digest followed by its row."""
    rows = np.ascontiguousarray(x).view(np.uint8).reshape(len(x), x.shape[1] * x.itemsize)
    # The library accepts only arrays that cannot be written to.
    rows.flags.writeable = False
    key_checksums = map(google_crc32c.value, _digest_bytes(keys))
    return np.fromiter(map(google_crc32c.extend, key_checksums, rows), dtype=np.uint32, count=len(keys))


@dataclass(frozen=True, eq=False)
class Segment:
    """One published segment, whose rows are read when they are needed.

    Attributes
    ----------
    store
        The files of its store.
    name
        Name of its folder.
    n_features
        d.
    dtype
        Data type of its rows.
    """

    store: SegmentStore = field(repr=False)
    name: str
    n_features: int
    dtype: np.dtype[Any]

    def __reduce__(self) -> tuple[type["Segment"], tuple[SegmentStore, str, int, np.dtype[Any]]]:
        # Another process reads the rows for itself.
        return Segment, (self.store, self.name, self.n_features, self.dtype)

    def __len__(self) -> int:
        return len(self.keys)

    def file(self, array: str) -> str:
        """Return the path of an array's chunk inside the store."""
        return f"{self.name}/{CHUNKS[array]}"

    @cached_property
    def keys(self) -> Keys:
        """(n,) digests, read and compared with their chunk's checksum."""
        return self._read_checked("digest", np.dtype(f"S{DIGEST_BYTES}"))

    @cached_property
    def checksums(self) -> NDArray[np.uint32]:
        """(n,) checksums of digests and rows, read and compared with their chunk's own."""
        checksums = self._read_checked("crc", np.dtype("<u4"))
        if len(checksums) != len(self.keys):
            raise self._corruption(f"crc has {len(checksums)} rows, digest {len(self.keys)}")
        return checksums

    def read_rows(self, rows: NDArray[np.intp]) -> Rows:
        """Return (len(rows), d) some rows; errors are those of `read_into`."""
        x = np.empty((len(rows), self.n_features), dtype=self.dtype)
        self.read_into(x, np.arange(len(rows)), rows)
        return x

    def read_into(self, x: Rows, positions: NDArray[np.intp], rows: NDArray[np.intp]) -> None:
        """Read some rows into ``x[positions]`` and compare their checksums.

        Raises
        ------
        CorruptError
            a row does not match its checksum.
        VanishedError
            the segment was removed.
        """
        keys, checksums, start = self.keys[rows], self.checksums[rows], 0
        try:
            for block in self.store.read_rows(self._x_file, self.dtype, self._shape, rows):
                end = start + len(block)
                if (row_checksums(keys[start:end], block) != checksums[start:end]).any():
                    raise self._describe_bad_rows(rows)
                x[positions[start:end]] = block
                start = end
        except FileNotFoundError as error:
            raise self._read_failure("x", error) from error

    def _describe_bad_rows(self, rows: NDArray[np.intp]) -> CorruptError:
        """Return the error that says how many of some rows do not match their checksums, and which is the first."""
        x = np.concatenate(list(self.store.read_rows(self._x_file, self.dtype, self._shape, rows)))
        corrupt_positions = np.flatnonzero(row_checksums(self.keys[rows], x) != self.checksums[rows])
        if not len(corrupt_positions):
            return self._corruption("rows did not match their checksums, but did when they were read again")
        first_row = int(rows[corrupt_positions[0]])
        return self._corruption(f"{len(corrupt_positions)} rows do not match their checksums, first row {first_row}")

    @property
    def n_bytes(self) -> int:
        """Size of the rows in bytes."""
        return len(self.keys) * self.n_features * self.dtype.itemsize

    def read_all(self) -> Rows:
        """Return (n, d) all rows, the chunk's checksum compared; errors are those of `read_into`."""
        try:
            content = self.store.read_array(self._x_file)
        except FileNotFoundError as error:
            raise self._read_failure("x", error) from error
        source = content[:-CHECKSUM_BYTES].view(self.dtype).reshape(self._shape)
        x, checksum = np.empty(self._shape, dtype=self.dtype), 0
        block_rows = rows_per_block(self.n_features * self.dtype.itemsize)
        for start in range(0, len(x), block_rows):
            block = x[start : start + block_rows]
            block[...] = source[start : start + block_rows]
            checksum = _extend_checksum(block, checksum)
        if checksum.to_bytes(CHECKSUM_BYTES, "little") != content[-CHECKSUM_BYTES:].tobytes():
            # The error that this raises names the damaged rows.
            return self.read_rows(np.arange(len(x)))
        return x

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.keys), self.n_features

    @cached_property
    def _x_file(self) -> str:
        """The path of the chunk of x, after its size was compared."""
        file = self.file("x")
        expected_bytes = self.n_bytes + CHECKSUM_BYTES
        try:
            has_expected_size = self.store.n_bytes(file) == expected_bytes
        except FileNotFoundError as error:
            raise self._read_failure("x", error) from error
        if not has_expected_size:
            raise self._corruption(f"x has another size than {expected_bytes} bytes")
        return file

    def _read_checked(self, array: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the values of a small array after its checksum was compared."""
        try:
            content = self.store.read(self.file(array))
        except OSError as error:
            raise self._read_failure(array, error) from error
        body, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
        if not body or google_crc32c.value(body).to_bytes(CHECKSUM_BYTES, "little") != checksum:
            raise self._corruption(f"{array} does not match its checksum")
        if len(body) % dtype.itemsize:
            raise self._corruption(f"{array} has {len(body)} bytes, expected a multiple of {dtype.itemsize}")
        return np.frombuffer(body, dtype=dtype)

    def _read_failure(self, array: str, error: OSError) -> CorruptError | VanishedError:
        """Return the error for an array that cannot be read: that of a removed segment, or of a broken one."""
        if not self.store.has_segment(self.name):
            return VanishedError(self.name)
        return self._corruption(f"{array} cannot be read ({error.strerror or error})")

    def _corruption(self, problem: str) -> CorruptError:
        """Return the error that names the segment, its problem and the next step."""
        return CorruptError(f"{self.store.place}/{self.name}: {problem}; run 'featx cache verify --repair'")

    def provenance(self) -> dict[str, Any]:
        """Return the provenance that is stored with the segment, and when it was made; empty where unreadable."""
        try:
            attributes = parse_json(self.store.read(f"{self.name}/{METADATA_FILE}"))["attributes"]
            return {"created": attributes["created"], **attributes["featx"]}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def check(self) -> "SegmentCheck":
        """Compare the checksums of all chunks and rows."""
        problems = list(self._metadata_problems())
        chunks = {name: self._read_raw(name) for name in CHUNKS}
        is_intact = {name: _matches_checksum(content) for name, content in chunks.items()}
        problems += [f"{name} does not match its checksum" for name, is_equal in is_intact.items() if not is_equal]
        keys = _complete_rows(chunks["digest"], np.dtype(f"S{DIGEST_BYTES}"), 1)[:, 0]
        x = _complete_rows(chunks["x"], self.dtype, self.n_features)
        checksums = _complete_rows(chunks["crc"], np.dtype("<u4"), 1)[:, 0]
        # The files may have been cut to different lengths.
        n = min(len(keys), len(x), len(checksums))
        is_good = np.zeros(len(keys), dtype=bool)
        is_good[:n] = row_checksums(keys[:n], x[:n]) == checksums[:n]
        if is_intact["digest"] and is_intact["x"] and len(keys) == len(x) and not is_intact["crc"]:
            return SegmentCheck(problems, keys, x, np.ones(len(x), dtype=bool), has_all_keys=True)
        # Chunks that match their own checksums may be those of different segments: which one is wrong is unknown.
        has_other_chunk = all(is_intact.values()) and not (is_good.all() and len(keys) == len(x) == len(checksums))
        problems += ["digest, x and crc are not those of the same rows"] if has_other_chunk else []
        has_all_keys = is_intact["digest"] and not has_other_chunk
        readable_keys = keys if has_all_keys else np.where(is_good, keys, b"")
        return SegmentCheck(problems, readable_keys, x, is_good, has_all_keys)

    def _read_raw(self, array: str) -> NDArray[np.uint8]:
        """Return (n_bytes,) a chunk's file, its checksum included; empty where there is none."""
        try:
            return self.store.read_array(self.file(array))
        except OSError:
            return np.empty(0, dtype=np.uint8)

    def _metadata_problems(self) -> Iterator[str]:
        files = {}
        for name in (METADATA_FILE, *(f"{array}/{METADATA_FILE}" for array in CHUNKS)):
            try:
                files[name] = self.store.read(f"{self.name}/{name}")
            except OSError as error:
                yield f"{name} cannot be read ({error.strerror or error})"
        if f"{SEGMENT_PREFIX}{metadata_hash(files)}" != self.name:
            yield "its metadata does not match the hash in its name"


@dataclass(frozen=True, eq=False)
class SegmentCheck:
    """A segment after all its checksums were compared.

    Attributes
    ----------
    problems
        One text for each problem; empty where there is none.
    keys
        (n,) digests; those that cannot be trusted are empty.
    x
        (n, d) rows.
    is_good
        (n,) whether the row and its digest match their checksum.
    has_all_keys
        Whether the digests of all rows can be trusted.
    """

    problems: list[str]
    keys: Keys
    x: Rows
    is_good: NDArray[np.bool_]
    has_all_keys: bool

    @property
    def damaged_digests(self) -> list[str]:
        """The digests of damaged rows, as far as they can be read."""
        return keys_to_digests(self.keys[~self.is_good & (self.keys != b"")])


def _matches_checksum(content: NDArray[np.uint8]) -> bool:
    body, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    return bool(len(body)) and _extend_checksum(body).to_bytes(CHECKSUM_BYTES, "little") == checksum.tobytes()


def _extend_checksum(values: NDArray[Any], previous_checksum: int = 0) -> int:
    """Return the crc32c of the values that `previous_checksum` is the checksum of, followed by these."""
    flat_values = values.reshape(-1).view(np.uint8)
    # The library accepts only arrays that cannot be written to.
    flat_values.flags.writeable = False
    return int(google_crc32c.extend(previous_checksum, flat_values))


def _complete_rows(content: NDArray[np.uint8], dtype: np.dtype[Any], width: int) -> NDArray[Any]:
    """Return (n, width) the complete rows of a chunk's file."""
    n = max(0, len(content) - CHECKSUM_BYTES) // (dtype.itemsize * width)
    return content[: n * dtype.itemsize * width].view(dtype).reshape(n, width)
