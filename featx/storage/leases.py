"""Detection of writers that have ended, by the names of their private files (`featx.files.atomic.private_name`).

A writer on the same machine is alive while its process runs. A writer on another machine (in a folder that is shared
over the network) counts as killed when nothing of its own has changed for `LEASE_S`. Ages are measured by the file
system's own clock, so a clock that was set back, or differs from a server's, makes no writer count as killed.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from featx.files.atomic import PRIVATE_NAME, REPLACED_SUFFIX, atomic_file, machine_id, private_name, process_start_ticks

# A writer on another machine counts as killed after so long without a change. A segment takes less than a minute.
LEASE_S = 3600.0


def leftovers(folder: Path) -> list[Path]:
    """Return the private folders and files of killed writers anywhere below a folder, sorted."""
    paths = [Path(parent, name) for parent, folders, files in os.walk(folder) for name in (*folders, *files)]
    return sorted(path for path in paths if _is_leftover(path))


def remove_leftovers(folder: Path) -> None:
    """Remove the private folders and files of killed writers directly inside a folder.

    A folder that was to be replaced by another one gets its name back if its writer was killed in between.
    """
    for path in sorted(folder.glob(".*")):
        if not _is_leftover(path) or _restore_replaced(path):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def atomic_output(file: Path) -> Iterator[Path]:
    """Lend a private file as `atomic_file` does, after private files of killed writers of the same file are removed.

    Nothing else removes them in a folder that the user has chosen.
    """
    for path in sorted(file.parent.glob(".*")):
        name_match = PRIVATE_NAME.fullmatch(path.name)
        if name_match and name_match["final"] == file.name and path.is_file() and _is_leftover(path):
            path.unlink(missing_ok=True)
    with atomic_file(file) as private_file:
        yield private_file


def _restore_replaced(path: Path) -> bool:
    """Give a folder that was to be replaced its name back if no folder has it; return whether this was done."""
    name, separator, _ = path.name.removeprefix(".").rpartition(f"{REPLACED_SUFFIX}.")
    if not separator or (path.parent / name).exists():
        return False
    with suppress(OSError):
        path.rename(path.parent / name)
        return True
    return False


def is_live(path: Path) -> bool:
    """Return whether the writer of a private folder or file may still be at work."""
    lease = _lease(path)
    if lease is None:
        return False
    writer_machine, process, start = lease
    # A start that its writer could not read is like that of a process that has ended.
    if writer_machine == machine_id() and start:
        return process_start_ticks(int(process)) == start
    return _age_s(path) < LEASE_S


def _is_leftover(path: Path) -> bool:
    return _lease(path) is not None and not is_live(path)


def _lease(path: Path) -> tuple[str, str, str] | None:
    """Return machine, process and start of a private path's writer; None for other paths."""
    name_match = PRIVATE_NAME.fullmatch(path.name)
    return (name_match["machine"], name_match["process"], name_match["start"]) if name_match else None


def _age_s(path: Path) -> float:
    """Return the seconds since the last change in a folder, by the clock of the disk that it lies on."""
    probe = path.parent / private_name("clock")
    probe.touch()
    try:
        now_s = probe.stat().st_mtime
    finally:
        probe.unlink()
    try:
        return now_s - max(file.stat().st_mtime for file in (path, *path.rglob("*")))
    # Its writer changes it now, or has just completed it.
    except FileNotFoundError:
        return 0.0
