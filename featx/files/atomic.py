"""Write files and folders atomically, and lock files.

Each file or folder is written under a private name, which begins with a dot, and renamed when it is complete. So a
reader never sees an incomplete file, and a killed writer leaves nothing that looks like a result. A private name
contains the writer's machine, process and start time (`featx.storage.leases` decides whether the writer is alive).
"""

import errno
import hashlib
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import BaseFileLock, FileLock

from featx.errors import IncompleteError, StoreError
from featx.files.parsing import ParseError, parse_json, read_parquet, validate_as

if TYPE_CHECKING:
    # Decoding processes start faster without pandas.
    import pandas as pd

T = TypeVar("T")
LOCK_POLL_S = 0.01
# End of the name of a folder that another one replaces, before the lease.
REPLACED_SUFFIX = ".old"
# A name that `private_name` makes. It is strict, because leftovers of such names are removed without a question.
PRIVATE_NAME = re.compile(
    r"\.(?P<final>.+)\.(?P<machine>[0-9a-f]{8})-(?P<process>[0-9]+)-(?P<start>[0-9]*)-[0-9a-f]{8}", re.DOTALL
)


def file_state(path: str | Path) -> tuple[str, int, int] | None:
    """Return (path, size in bytes, `change_time_ns`) of a file; None where there is none."""
    return _state_with_time(path, change_time_ns)


def portable_file_state(path: str | Path) -> tuple[str, int, int] | None:
    """Return (path, size in bytes, mtime in ns) of a file, which its copies keep; None where there is none."""
    return _state_with_time(path, lambda state: state.st_mtime_ns)


def _state_with_time(path: str | Path, time_ns: Callable[[os.stat_result], int]) -> tuple[str, int, int] | None:
    try:
        state = Path(path).stat()
    except OSError:
        return None
    return str(path), state.st_size, time_ns(state)


def change_time_ns(state: os.stat_result) -> int:
    """Return the time of the last change of a file in ns since the epoch: of its content, its name or its permissions.

    A file that replaces another one may have its size and mtime, for example from an archive, but is renamed or written
    later.
    """
    # Windows states the time of creation instead of that of the change.
    return max(state.st_mtime_ns, state.st_ctime_ns)


def private_name(name: str) -> str:
    """Return a new hidden name for a file or folder that becomes `name`; it contains this process's lease."""
    return f".{name}.{machine_id()}-{os.getpid()}-{process_start_ticks(os.getpid())}-{uuid.uuid4().hex[:8]}"


@cache
def machine_id() -> str:
    """Return 8 hex digits that identify this machine since its start, or this container."""
    parts = [socket.gethostname()]
    # Other systems than Linux have only the name.
    with suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:8]


def process_start_ticks(process: int) -> str:
    """Return when a process started, in clock ticks since the start of the machine; empty where it is not alive.

    Process ids are used again, but not together with the same start time. A zombie process is not alive.
    """
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    else:
        return "" if state in "ZX" else fields[18]
    # Systems without /proc do not state the start time.
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "0"


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Lend a private folder, renamed to `folder` after the block in place of an older one; remove it on an error."""
    private_folder = folder.parent / private_name(folder.name)
    private_folder.mkdir(parents=True)
    try:
        yield private_folder
        _replace_folder(private_folder, folder)
    finally:
        shutil.rmtree(private_folder, ignore_errors=True)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path` during the block; the operating system releases it when the process is killed.

    Raises
    ------
    StoreError
        The lock file is a link.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = acquire_lock(path)
    try:
        yield
    finally:
        lock.release()


def acquire_lock(path: Path, is_blocking: bool = True) -> BaseFileLock:
    """Return the lock file `path`, held by this process until ``release()``; its content stays unchanged.

    Parameters
    ----------
    path
        The lock file, which is created if necessary.
    is_blocking
        Whether to wait until no other process holds the lock.

    Raises
    ------
    filelock.Timeout
        Another process holds the lock, and `is_blocking` is False.
    StoreError
        The lock file is a link: whoever can write to a shared folder could let it lead to any file.
    """
    # A soft lock would remain when its process is killed.
    lock = FileLock(path, poll_interval=LOCK_POLL_S, fallback_to_soft=False)
    try:
        lock.acquire(blocking=is_blocking)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StoreError(f"lock file {path} is a link, expected a file; remove it") from error
        raise
    return lock


def _replace_folder(private_folder: Path, folder: Path) -> None:
    """Rename a folder, also while other processes rename theirs to the same name; the last one stays."""
    while not _rename_if_free(private_folder, folder):
        old_folder = folder.parent / private_name(folder.name + REPLACED_SUFFIX)
        try:
            folder.rename(old_folder)
        except FileNotFoundError:
            # Another process has moved it away and renames its own folder now.
            continue
        try:
            is_renamed = _rename_if_free(private_folder, folder)
        except BaseException:
            old_folder.rename(folder)
            raise
        shutil.rmtree(old_folder)
        if is_renamed:
            return


def _rename_if_free(private_folder: Path, folder: Path) -> bool:
    """Rename a folder; return False where a folder with files has the name already."""
    try:
        private_folder.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


@contextmanager
def atomic_file(file: Path) -> Iterator[Path]:
    """Lend a private file and rename it to `file` after the block, replacing an older one; remove it on an error."""
    file.parent.mkdir(parents=True, exist_ok=True)
    private_file = file.with_name(private_name(file.name))
    try:
        yield private_file
        private_file.replace(file)
    finally:
        private_file.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_file(path) as private_file:
        private_file.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the value of a JSON file.

    Raises
    ------
    IncompleteError
        it cannot be read as JSON; the message names the file to remove.
    """
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise IncompleteError(
            f"{path} cannot be read ({error}); remove it and run the command that makes it"
        ) from error


def read_json_as(path: Path, kind: type[T]) -> T:
    """Return the value of a JSON file as a type that `featx.files.parsing.validate_as` supports.

    Raises
    ------
    IncompleteError
        it cannot be read as JSON, or has another type; the message names the file to remove.
    """
    try:
        return validate_as(read_json(path), kind)
    except ParseError as error:
        raise IncompleteError(
            f"{path} has unexpected content ({error}); remove it and run the command that makes it"
        ) from error


def write_table(path: Path, frame: "pd.DataFrame") -> None:
    """Write a frame as Parquet, atomically."""
    with atomic_file(path) as private_file:
        frame.to_parquet(private_file, index=False)


def read_table(path: Path, next_step: str, columns: Collection[str] = (), sha256: str | None = None) -> "pd.DataFrame":
    """Return the table of a Parquet file.

    Parameters
    ----------
    path
        The file.
    next_step
        What to do where it cannot be read, for messages; empty if the caller adds it.
    columns
        Columns that the table must have.
    sha256
        Expected SHA-256 of its content in hex digits, compared before parsing; None for no comparison.

    Raises
    ------
    IncompleteError
        it cannot be read, a column is missing, or its content has another SHA-256.
    """
    ending = f"; {next_step}" if next_step else ""
    try:
        content = path.read_bytes()
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise IncompleteError(f"{path} was changed after it was written{ending}")
        return read_parquet(content, columns)
    except (OSError, ValueError) as error:
        raise IncompleteError(f"{path} cannot be read ({error}){ending}") from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
