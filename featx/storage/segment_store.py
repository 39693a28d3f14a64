"""The files of one store, and how a segment becomes visible: in one step, when it is complete.

On a disk a segment is written as a private folder beside the store, every file and folder is flushed, and the folder is
renamed into the store. In an object store nothing can be renamed (`featx.storage.objects`): its objects are written
first and its ``zarr.json`` last, and a segment without ``zarr.json`` does not count. Nothing that is visible is ever
changed; a segment is only removed as a whole. docs/adr/0021 says why that is safe.
"""

import errno
import mmap
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from featx.errors import StoreError
from featx.files.atomic import private_name

METADATA_FILE = "zarr.json"
SEGMENT_PREFIX = "segment-"
# Number of hex digits after the prefix.
HASH_DIGITS = 16
SEGMENT_NAME = re.compile(rf"{SEGMENT_PREFIX}[0-9a-f]{{{HASH_DIGITS}}}")
# A part of the private name of a folder that is being removed.
TRASH_NAME = "trash"
# Checksums of blocks of this size are computed in the processor's cache: at 18 GB/s instead of 7 GB/s.
BLOCK_BYTES = 1 << 18
DISK_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
READ_ONLY_ERRNOS = {errno.EROFS, errno.EACCES, errno.EPERM}

# Path inside a segment or store → content.
Files = Mapping[str, bytes | memoryview]


class SegmentStore(Protocol):
    """Access to the files of one store.

    Attributes
    ----------
    place
        The path or URL of the store, as text.
    name
        The last part of `place`.
    max_parallel_reads
        Maximum number of reads that run at the same time.
    """

    place: str
    name: str
    max_parallel_reads: int

    def read_header(self) -> bytes | None:
        """Return the store's own ``zarr.json``; None where there is no store."""

    def create(self, header: bytes) -> None:
        """Create an empty store; a store that another writer has created meanwhile stays."""

    def segment_names(self) -> list[str]:
        """Return the names of all complete segments, sorted."""

    def has_segment(self, segment: str) -> bool:
        """Return whether the store holds a segment of this name."""

    def read(self, file: str) -> bytes:
        """Return a file's content; `FileNotFoundError` where there is none."""

    def prefetch(self, files: Sequence[str]) -> None:
        """Fetch files that are read next, all at once where reading from the store is slow."""

    def n_bytes(self, file: str) -> int:
        """Return a file's size in bytes; `FileNotFoundError` where there is none."""

    def read_array(self, file: str) -> NDArray[np.uint8]:
        """Return (n_bytes,) a file's content, mapped into memory where the store allows it."""

    def read_rows(
        self, file: str, dtype: np.dtype[Any], shape: tuple[int, int], rows: NDArray[np.intp]
    ) -> Iterator[NDArray[Any]]:
        """Yield the given rows of an array at the beginning of a file, in their order, one block at a time."""

    def publish(self, segment: str, files: Files) -> None:
        """Write all files of a segment to permanent storage, then make the segment visible."""

    def remove_segment(self, segment: str) -> None:
        """Hide a segment in one step, then delete its files."""

    def remove(self) -> None:
        """Hide the whole store in one step, then delete its files."""

    def replace_header(self, header: bytes) -> None:
        """Write the store's own ``zarr.json`` again."""

    def file_sizes(self) -> Iterator[tuple[str, int]]:
        """Yield all files with their sizes in bytes."""

    def modified_s(self) -> float:
        """Return when a segment was last added or removed, in seconds since 1970."""


class LocalSegmentStore:
    """The files of a store in a folder."""

    max_parallel_reads = 1

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = str(path)
        self.name = path.name
        # Mapping a file again would fault in all of its pages again.
        self._mapped_files: dict[str, NDArray[np.uint8]] = {}

    def __reduce__(self) -> "tuple[type[LocalSegmentStore], tuple[Path]]":
        # Another process maps the files for itself.
        return LocalSegmentStore, (self.path,)

    def read_header(self) -> bytes | None:
        """Return the store's own ``zarr.json``, empty where something else has the store's name; None without both."""
        if not self.path.exists():
            return None
        # A store becomes visible together with its header, so a store that another writer creates now has one.
        try:
            return (self.path / METADATA_FILE).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            # Something else has this name, or the store was removed meanwhile.
            return b"" if self.path.exists() else None

    def create(self, header: bytes) -> None:
        """Create an empty store; a store that another writer has created meanwhile stays."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._write_folder({METADATA_FILE: header}, self.path)
        except OSError:
            # The error counts only where no other writer has created the store meanwhile.
            if not (self.path / METADATA_FILE).is_file():
                raise

    def segment_names(self) -> list[str]:
        """Return the names of all complete segments, sorted."""
        try:
            names = os.listdir(self.path)  # noqa: PTH208 (iterdir makes a Path of each)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if SEGMENT_NAME.fullmatch(name))

    def has_segment(self, segment: str) -> bool:
        """Return whether the folder of a segment exists."""
        return (self.path / segment).exists()

    def read(self, file: str) -> bytes:
        """Return a file's content; `FileNotFoundError` where there is none."""
        with self._open(file) as opened_file:
            return opened_file.read()

    def _open(self, file: str) -> BinaryIO:
        return open(f"{self.path}/{file}", "rb")  # noqa: PTH123 (a Path takes longer than the opening)

    def prefetch(self, files: Sequence[str]) -> None:
        """Do nothing: files of a disk are read when they are needed."""

    def n_bytes(self, file: str) -> int:
        """Return a file's size in bytes; `FileNotFoundError` where there is none."""
        return os.stat(f"{self.path}/{file}").st_size  # noqa: PTH116

    def read_array(self, file: str) -> NDArray[np.uint8]:
        """Return (n_bytes,) a file's content, mapped into memory."""
        if file not in self._mapped_files:
            # An empty file cannot be mapped.
            if not self.n_bytes(file):
                return np.empty(0, dtype=np.uint8)
            with self._open(file) as opened_file:
                pages = mmap.mmap(opened_file.fileno(), 0, access=mmap.ACCESS_READ)
            # np.memmap would spend most of its time on resolving the file's real path.
            self._mapped_files[file] = np.frombuffer(pages, dtype=np.uint8)
        return self._mapped_files[file]

    def read_rows(
        self, file: str, dtype: np.dtype[Any], shape: tuple[int, int], rows: NDArray[np.intp]
    ) -> Iterator[NDArray[Any]]:
        """Yield the given rows of an array at the beginning of a file, in their order, one block at a time."""
        n_bytes = shape[0] * shape[1] * dtype.itemsize
        x = self.read_array(file)[:n_bytes].view(dtype).reshape(shape)
        block_rows = rows_per_block(shape[1] * dtype.itemsize)
        for start in range(0, len(rows), block_rows):
            yield x[rows[start : start + block_rows]]

    def publish(self, segment: str, files: Files) -> None:
        """Write and flush all files of a segment, then rename their folder into the store."""
        self._write_folder(files, self.path / segment)

    def _write_folder(self, files: Files, final_folder: Path) -> None:
        private_folder = self.path.parent / private_name(self.path.name)
        try:
            with explain_write_errors(self.place, files):
                _make_folders(private_folder, files)
                for name, content in files.items():
                    _write_flushed(private_folder / name, content)
                for folder, _, _ in os.walk(private_folder, topdown=False):
                    _flush_folder(Path(folder))
                private_folder.rename(final_folder)
                _flush_folder(final_folder.parent)
        finally:
            shutil.rmtree(private_folder, ignore_errors=True)

    def remove_segment(self, segment: str) -> None:
        """Hide a segment by renaming its folder, then delete its files."""
        self._mapped_files = {
            file: content for file, content in self._mapped_files.items() if not file.startswith(f"{segment}/")
        }
        self._remove_folder(self.path / segment)

    def _remove_folder(self, path: Path) -> None:
        trash = self.path.parent / private_name(f"{self.path.name}.{TRASH_NAME}")
        # Another process may have removed the folder first.
        with suppress(FileNotFoundError):
            path.rename(trash)
            _flush_folder(path.parent)
            shutil.rmtree(trash, ignore_errors=True)

    def remove(self) -> None:
        """Hide the whole store by renaming its folder, then delete its files."""
        self._remove_folder(self.path)

    def replace_header(self, header: bytes) -> None:
        """Write the store's own ``zarr.json`` again, under a private name first."""
        private_file = self.path / private_name(METADATA_FILE)
        _write_flushed(private_file, header)
        private_file.replace(self.path / METADATA_FILE)
        _flush_folder(self.path)

    def file_sizes(self) -> Iterator[tuple[str, int]]:
        """Yield all files with their sizes in bytes, without those that are removed meanwhile."""
        for folder, _, names in os.walk(self.path):
            for name in names:
                file = Path(folder, name)
                with suppress(FileNotFoundError):
                    yield file.relative_to(self.path).as_posix(), file.stat().st_size

    def modified_s(self) -> float:
        """Return when a segment was last added or removed, in seconds since 1970."""
        return self.path.stat().st_mtime


def rows_per_block(row_bytes: int) -> int:
    """Return how many rows to copy at a time, so that their checksums are computed in the processor's cache."""
    return max(1, BLOCK_BYTES // row_bytes)


@contextmanager
def explain_write_errors(place: str, files: Files) -> Iterator[None]:
    """Raise `StoreError` for a full or read-only disk, with one line that says what to do."""
    try:
        yield
    except OSError as error:
        n_bytes = sum(len(content) for content in files.values())
        if error.errno in DISK_FULL_ERRNOS:
            next_step = "make room, or name another cache (paths.cache)"
        elif error.errno in READ_ONLY_ERRNOS:
            next_step = "it may only be read: name another cache (paths.cache), or change its permissions"
        else:
            raise
        raise StoreError(
            f"{place} cannot take {n_bytes / 1e6:.1f} MB more ({error.strerror}); stored rows are kept: "
            f"{next_step}, and run again"
        ) from error


def _make_folders(private_folder: Path, files: Files) -> None:
    """Make all folders before any file, so that a folder that somebody removes later is an error."""
    private_folder.mkdir(parents=True)
    folders = {folder for name in files for folder in PurePosixPath(name).parents}
    for folder in sorted(folders - {PurePosixPath()}):
        (private_folder / folder).mkdir()


def _write_flushed(path: Path, content: bytes | memoryview) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
