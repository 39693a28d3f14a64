"""Files and folders that are seen whole or not at all.

Each is written under a private name (it begins with a dot) and renamed when it is finished, so a reader never
meets half of one, and a killed writer leaves nothing that could be taken for a result. A private name tells who writes:
the machine, the process and when that started (`featx.storage.leases` knows who lives).
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from featx.errors import IncompleteError, StoreError
from featx.files.parsing import ParseError, checked, parse_json, read_parquet

if TYPE_CHECKING:
    import pandas as pd  # decoders start without it

T = TypeVar("T")


def file_state(path: str | Path) -> tuple[str, int, int] | None:
    """Return (path, size in bytes, mtime in ns) of a file, None where there is none."""
    try:
        stat = Path(path).stat()
    except OSError:
        return None
    return str(path), stat.st_size, stat.st_mtime_ns


def private_name(final: str) -> str:
    """Return a new name, hidden, for what will be called `final`; it carries this process's lease."""
    return f".{final}.{machine()}-{os.getpid()}-{started(os.getpid())}-{uuid.uuid4().hex[:8]}"


@cache
def machine() -> str:
    """8 hex digits for this machine since it was started, or this container."""
    marks = [socket.gethostname()]
    with suppress(OSError):  # not Linux: the name has to do
        marks += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return hashlib.sha256("/".join(marks).encode()).hexdigest()[:8]


def started(process: int) -> str:
    """Return when a process started, in clock ticks after the machine did; empty where none of that number lives.

    Numbers of processes are given again; the two together are not. One that has ended and waits for its parent to
    notice is dead.
    """
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    else:
        return "" if state in "ZX" else fields[18]
    try:  # no /proc: the number alone has to do
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "0"


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """Fill a folder under a private name and show it whole, replacing an older one; on an error nothing is left."""
    private = final.parent / private_name(final.name)
    private.mkdir(parents=True)
    try:
        yield private
        _show(private, final)
    finally:
        shutil.rmtree(private, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock file `path`, hold it while the block runs; a kill lets it go.

    Raises
    ------
    StoreError
        it is a link.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = open_lock(path, os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def open_lock(path: Path, flags: int = 0) -> int:
    """Return the file descriptor of a lock file, whose content stays as it is.

    Raises
    ------
    StoreError
        it is a link: whoever can write to a shared folder could make it lead to any file.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StoreError(f"lock file {path} is a link, expected a file; remove it") from error
        raise


def _show(private: Path, final: Path) -> None:
    """Rename a folder, also where others show theirs under the same name at the same time; the last one stays."""
    while not _renamed(private, final):
        old = final.parent / private_name(f"{final.name}.old")
        try:
            final.rename(old)
        except FileNotFoundError:
            # Another process has moved it away, and is about to show its own.
            continue
        try:
            is_shown = _renamed(private, final)
        except BaseException:
            old.rename(final)
            raise
        shutil.rmtree(old)
        if is_shown:
            return


def _renamed(private: Path, final: Path) -> bool:
    """Rename a folder; return whether there was none of that name with something in it."""
    try:
        private.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


@contextmanager
def whole_file(final: Path) -> Iterator[Path]:
    """Fill a file under a private name and show it whole, replacing an older one; on an error nothing is left."""
    final.parent.mkdir(parents=True, exist_ok=True)
    private = final.with_name(private_name(final.name))
    try:
        yield private
        private.replace(final)
    finally:
        private.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    with whole_file(path) as private:
        private.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    IncompleteError
        it cannot be read as JSON; says which file to remove.
    """
    try:
        return parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise IncompleteError(
            f"{path} cannot be read ({error}); remove it and run the command that makes it"
        ) from error


def read_json_as(path: Path, kind: type[T]) -> T:
    """Read a JSON file as a type that `featx.files.parsing.checked` knows.

    Raises
    ------
    IncompleteError
        it cannot be read as JSON, or holds something else; says which file to remove.
    """
    try:
        return checked(read_json(path), kind)
    except ParseError as error:
        raise IncompleteError(
            f"{path} holds something else than expected ({error}); remove it and run the command that makes it"
        ) from error


def write_table(path: Path, frame: "pd.DataFrame") -> None:
    """Write a frame as Parquet, whole."""
    with whole_file(path) as private:
        frame.to_parquet(private, index=False)


def read_table(path: Path, remedy: str, columns: Collection[str] = (), sha256: str | None = None) -> "pd.DataFrame":
    """Read a Parquet file.

    Parameters
    ----------
    path
        The file.
    remedy
        The command that makes it anew.
    columns
        Columns that the table must have.
    sha256
        64 hex digits of its content, compared before anything is parsed; by default nothing is compared.

    Raises
    ------
    IncompleteError
        It cannot be read, has none of one of the columns, or its content is another one.
    """
    try:
        content = path.read_bytes()
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise IncompleteError(f"{path} is not as it was written; make it anew with {remedy!r}")
        return read_parquet(content, columns)
    except (OSError, ValueError) as error:
        raise IncompleteError(f"{path} cannot be read ({error}); make it anew with {remedy!r}") from error


def sha256_of(path: Path) -> str:
    """64 hex digits of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
