"""Errors of places that cannot be written to, in words that name the place and the next step."""

import errno
from pathlib import Path

from featx.files.atomic import PRIVATE_NAME

# Errors of a place that cannot be written to; a full disk is none of them.
NOT_WRITABLE_ERRNOS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR})
# Errors that reading never raises.
_WRITE_ERRNOS = frozenset({errno.EROFS, errno.EEXIST})


def unwritable_path(error: OSError) -> Path | None:
    """Return the file or folder that could not be written; None if the error is another one.

    Examples
    --------
    >>> str(unwritable_path(OSError(errno.EROFS, "Read-only file system", "runs/.leaks.parquet.00c0ffee-1-2-00c0ffee")))
    'runs/leaks.parquet'
    """
    if error.errno not in NOT_WRITABLE_ERRNOS or not isinstance(error.filename, str | Path):
        return None
    path = Path(error.filename)
    if name_match := PRIVATE_NAME.fullmatch(path.name):
        return path.with_name(name_match["final"])
    is_write = error.filename2 is not None or error.errno in _WRITE_ERRNOS
    return path if is_write else None


def describe_denied(error: OSError) -> str:
    """Return which place cannot be read or written for lack of permission, and the next step.

    Examples
    --------
    >>> describe_denied(PermissionError(errno.EACCES, "Permission denied", "cache")).partition("; ")[0]
    "no permission to read or write 'cache'"
    """
    place = f"{str(error.filename)!r}" if error.filename is not None else f"a place ({error.strerror or error})"
    return (
        f"no permission to read or write {place}; change its permissions (FEATX_CACHE and FEATX_RUNS name other "
        "folders for the cache and the runs)"
    )


def describe_unwritable(path: str | Path, error: OSError) -> str:
    """Return what could not be written and why, what was expected, and the next step."""
    if error.errno == errno.EISDIR:
        return f"{path} cannot be written, because it is a folder; remove or rename the folder, or name another file"
    if error.errno in {errno.EEXIST, errno.ENOTDIR}:
        return f"{path} cannot be written, because a file is in the place of a folder; name another folder"
    return (
        f"{path} cannot be written ({error.strerror}); expected a folder that you may write to: change its "
        "permissions, or name another folder"
    )
