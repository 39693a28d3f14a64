"""Who is still writing: names of private folders that tell whether their writer lives.

A writer works in a folder named by its machine, its process and when that started. On the same machine its life can be
looked up. Of another machine (a folder shared over the network) a writer is taken for dead once nothing in its folder
has changed for `LEASE_S`; ages are measured by the file system's own clock, so a clock that was set back or differs
from a server's makes nobody die.
"""

import os
import socket
import uuid
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

LEASE_S = 3600.0  # without a sign of life; a segment takes less than a minute to write


def private_name(final: str) -> str:
    """Return a new name, hidden, for what will be called `final`; it carries this process's lease."""
    return f".{final}.{machine()}-{os.getpid()}-{_started(os.getpid())}-{uuid.uuid4().hex[:8]}"


def leftovers(folder: Path, name: str | None = None) -> list[Path]:
    """Return private folders and files of dead writers, for `name` or for all."""
    here = [path for path in folder.glob(f".{name or '*'}.*") if _lease(path) is not None]
    return [path for path in sorted(here) if not is_live(path)]


def is_live(path: Path) -> bool:
    """Whether the writer of a private folder may still be at work."""
    lease = _lease(path)
    if lease is None:
        return False
    where, process, started = lease
    if where == machine():
        return _started(int(process)) == started
    return _age_s(path) < LEASE_S


@cache
def machine() -> str:
    """8 hex digits for this machine since it was started, or this container."""
    marks = [socket.gethostname()]
    with suppress(OSError):  # not Linux: the name has to do
        marks += [Path("/proc/sys/kernel/random/boot_id").read_text(), str(Path("/proc/self/ns/pid").readlink())]
    return sha256("/".join(marks).encode()).hexdigest()[:8]


def _started(process: int) -> str:
    """Return when a process started, in clock ticks after the machine did; empty where there is none of that number.

    Numbers of processes are given again; the two together are not.
    """
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
    try:  # no /proc: the number alone has to do
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "0"


def _lease(path: Path) -> tuple[str, str, str] | None:
    parts = path.name.rpartition(".")[2].split("-")
    return (parts[0], parts[1], parts[2]) if len(parts) == 4 and parts[1].isdigit() else None


def _age_s(path: Path) -> float:
    """Return the seconds since anything in a folder changed, by the clock of the disk that it lies on."""
    probe = path.parent / private_name("clock")
    probe.touch()
    try:
        now = probe.stat().st_mtime
    finally:
        probe.unlink()
    try:
        return now - max(one.stat().st_mtime for one in (path, *path.rglob("*")))
    except FileNotFoundError:  # it is being worked on, or has just been finished
        return 0.0
