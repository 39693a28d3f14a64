"""Where the files of a store lie, and how a segment becomes visible: in one step, when it is whole.

On a disk a segment is written as a private folder beside the store, every file and folder is flushed, and the folder is
renamed into the store. In an object store nothing can be renamed (`featx.storage.objects`): its objects are written
first and its ``zarr.json`` last, and what has no ``zarr.json`` is no segment. Nothing that is visible is ever changed;
it is only taken away whole.
docs/adr/0021 says why that is safe.
"""

import errno
import mmap
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from featx.errors import StoreError
from featx.files.atomic import private_name

METADATA = "zarr.json"
PREFIX = "segment-"
TRASH = "trash"  # how what is being removed is called
BLOCK_BYTES = 1 << 18  # 18 GB/s are summed then, 7 from memory
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}

Files = Mapping[str, bytes | memoryview]  # by their paths inside


class SegmentStore(Protocol):
    """Where one store lies.

    Attributes
    ----------
    place, name
        As people write it, and the last part of that.
    at_once
        Reads that are worth doing at the same time.
    """

    place: str
    name: str
    at_once: int

    def header(self) -> bytes | None:
        """Return the store's own ``zarr.json``; None where there is no store."""

    def begin(self, header: bytes) -> None:
        """Make an empty store; where another writer has made it meanwhile, that one stays."""

    def segments(self) -> list[str]:
        """Return the names of all segments that are whole, sorted."""

    def has(self, segment: str) -> bool:
        """Whether a segment is there."""

    def read(self, file: str) -> bytes:
        """Return a file's content; `FileNotFoundError` where there is none."""

    def expect(self, files: Sequence[str]) -> None:
        """Say which files will be read next, so that a place far away can send them all at once."""

    def n_bytes(self, file: str) -> int:
        """Return a file's size; `FileNotFoundError` where there is none."""

    def content(self, file: str) -> NDArray[np.uint8]:
        """Return what `read` does, mapped into memory where the place allows."""

    def rows(
        self, file: str, dtype: np.dtype[Any], shape: tuple[int, int], at: NDArray[np.intp]
    ) -> Iterator[NDArray[Any]]:
        """Yield some rows of an array that stands at the beginning of a file, in their order, a block at a time."""

    def publish(self, segment: str, files: Files) -> None:
        """Show a segment when all its files are written and safe."""

    def withdraw(self, segment: str) -> None:
        """Take a segment away: out of sight in one step, then its files."""

    def remove(self) -> None:
        """Take the whole store away: out of sight in one step, then its files."""

    def replace_header(self, header: bytes) -> None:
        """Write the store's own ``zarr.json`` anew."""

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield all files with their sizes in bytes."""

    def changed(self) -> float:
        """Return when a segment was last added or removed, in seconds since 1970."""


class LocalSegmentStore:
    """A folder."""

    at_once = 1

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = str(path)
        self.name = path.name
        self._maps: dict[str, NDArray[np.uint8]] = {}  # to map a file anew is to fault in all of its pages again

    def __reduce__(self) -> "tuple[type[LocalSegmentStore], tuple[Path]]":
        return LocalSegmentStore, (self.path,)  # another process maps for itself

    def header(self) -> bytes | None:
        """See `SegmentStore`."""
        if not self.path.exists():
            return None
        try:  # a store is shown with its header: one that another writer makes just now has it
            return (self.path / METADATA).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return b"" if self.path.exists() else None  # something else is called so, or the store was removed

    def begin(self, header: bytes) -> None:
        """See `SegmentStore`."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._show({METADATA: header}, self.path)
        except OSError:
            if not (self.path / METADATA).is_file():  # no other writer has made the store meanwhile
                raise

    def segments(self) -> list[str]:
        """See `SegmentStore`."""
        try:
            names = os.listdir(self.path)  # noqa: PTH208 (iterdir makes a Path of each)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if name.startswith(PREFIX))

    def has(self, segment: str) -> bool:
        """See `SegmentStore`."""
        return (self.path / segment).exists()

    def read(self, file: str) -> bytes:
        """See `SegmentStore`."""
        with self._open(file) as content:
            return content.read()

    def _open(self, file: str) -> BinaryIO:
        return open(f"{self.path}/{file}", "rb")  # noqa: PTH123 (a Path takes longer than the opening)

    def expect(self, files: Sequence[str]) -> None:
        """See `SegmentStore`: nothing on a disk is far away."""

    def n_bytes(self, file: str) -> int:
        """See `SegmentStore`."""
        return os.stat(f"{self.path}/{file}").st_size  # noqa: PTH116

    def content(self, file: str) -> NDArray[np.uint8]:
        """See `SegmentStore`."""
        if file not in self._maps:
            if not self.n_bytes(file):
                return np.empty(0, dtype=np.uint8)  # which cannot be mapped
            with self._open(file) as content:
                pages = mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ)
            self._maps[file] = np.frombuffer(
                pages, dtype=np.uint8
            )  # as np.memmap, which looks for the file's real path
        return self._maps[file]

    def rows(
        self, file: str, dtype: np.dtype[Any], shape: tuple[int, int], at: NDArray[np.intp]
    ) -> Iterator[NDArray[Any]]:
        """See `SegmentStore`."""
        n_bytes = shape[0] * shape[1] * dtype.itemsize
        x, step = self.content(file)[:n_bytes].view(dtype).reshape(shape), rows_at_once(shape[1] * dtype.itemsize)
        for start in range(0, len(at), step):
            yield x[at[start : start + step]]

    def publish(self, segment: str, files: Files) -> None:
        """See `SegmentStore`."""
        self._show(files, self.path / segment)

    def _show(self, files: Files, final: Path) -> None:
        private = self.path.parent / private_name(self.path.name)
        try:
            with room_for(self.place, files):
                _make_folders(private, files)
                for name, content in files.items():
                    _write_through(private / name, content)
                for folder, _, _ in os.walk(private, topdown=False):
                    _flush_folder(Path(folder))
                private.rename(final)
                _flush_folder(final.parent)
        finally:
            shutil.rmtree(private, ignore_errors=True)

    def withdraw(self, segment: str) -> None:
        """See `SegmentStore`."""
        self._maps = {file: content for file, content in self._maps.items() if not file.startswith(f"{segment}/")}
        self._discard(self.path / segment)

    def _discard(self, path: Path) -> None:
        trash = self.path.parent / private_name(f"{self.path.name}.{TRASH}")
        with suppress(FileNotFoundError):  # somebody else was faster
            path.rename(trash)
            _flush_folder(path.parent)
            shutil.rmtree(trash, ignore_errors=True)

    def remove(self) -> None:
        """See `SegmentStore`."""
        self._discard(self.path)

    def replace_header(self, header: bytes) -> None:
        """See `SegmentStore`."""
        private = self.path / private_name(METADATA)
        _write_through(private, header)
        private.replace(self.path / METADATA)
        _flush_folder(self.path)

    def files(self) -> Iterator[tuple[str, int]]:
        """See `SegmentStore`."""
        for folder, _, names in os.walk(self.path):
            for name in names:
                file = Path(folder, name)
                with suppress(FileNotFoundError):
                    yield file.relative_to(self.path).as_posix(), file.stat().st_size

    def changed(self) -> float:
        """See `SegmentStore`."""
        return self.path.stat().st_mtime


def rows_at_once(row_bytes: int) -> int:
    """Return how many rows to handle at a time: what is copied is summed while the processor's cache holds it."""
    return max(1, BLOCK_BYTES // row_bytes)


@contextmanager
def room_for(place: str, files: Files) -> Iterator[None]:
    """Say in one line why files cannot be written."""
    try:
        yield
    except OSError as error:
        n_bytes = sum(len(content) for content in files.values())
        if error.errno in FULL:
            what = "make room, or name another cache (paths.cache)"
        elif error.errno in FORBIDDEN:
            what = "it may only be read: name another cache (paths.cache), or change its permissions"
        else:
            raise
        raise StoreError(
            f"{place} cannot take {n_bytes / 1e6:.1f} MB more ({error.strerror}); what was stored before is kept: "
            f"{what}, and run again"
        ) from error


def _make_folders(private: Path, files: Files) -> None:
    """Make all folders at once: one that somebody removes later is missed, and not filled again by half."""
    private.mkdir(parents=True)
    inside = {folder for name in files for folder in PurePosixPath(name).parents}
    for folder in sorted(inside - {PurePosixPath()}):
        (private / folder).mkdir()


def _write_through(path: Path, content: bytes | memoryview) -> None:
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
