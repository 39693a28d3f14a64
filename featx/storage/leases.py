"""Whether the writer of a private file or folder is alive, as its name tells (`featx.files.atomic.private_name`).

On the same machine a writer's life can be looked up. Of another machine (a folder shared over the network) a writer is
taken for dead once nothing of its own has changed for `LEASE_S`; ages are measured by the file system's own clock, so a
clock that was set back or differs from a server's makes nobody die.
"""

import os
import shutil
from pathlib import Path

from featx.files.atomic import machine, private_name, started

LEASE_S = 3600.0  # without a sign of life; a segment takes less than a minute to write


def leftovers(folder: Path) -> list[Path]:
    """Return private folders and files of dead writers, wherever below a folder."""
    every = [Path(place, name) for place, folders, files in os.walk(folder) for name in (*folders, *files)]
    return sorted(path for path in every if _lease(path) is not None and not is_live(path))


def remove_leftovers(folder: Path) -> None:
    """Remove the private folders and files of dead writers that stand right in a folder."""
    for path in sorted(folder.glob(".*")):
        if _lease(path) is None or is_live(path):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def is_live(path: Path) -> bool:
    """Whether the writer of a private folder or file may still be at work."""
    lease = _lease(path)
    if lease is None:
        return False
    where, process, since = lease
    if where == machine():
        return started(int(process)) == since
    return _age_s(path) < LEASE_S


def _lease(path: Path) -> tuple[str, str, str] | None:
    parts = path.name.rpartition(".")[2].split("-")
    is_one = path.name.startswith(".") and len(parts) == 4 and parts[1].isdecimal()
    return (parts[0], parts[1], parts[2]) if is_one else None


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
