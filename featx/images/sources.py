"""Access to images in files, archives, arrays and object stores: uris are read, and places are opened as trees.

A URI is an absolute path, a URL that fsspec knows (``s3://bucket/key``), or ``scheme:container//inside``, where the
scheme is a name of the registry ``featx.contents``: ``member:/data/a.zip//cat/0.png``, ``row:/data/a.h5//x/17``. The
paths of containers are normalised, so the first ``//`` ends them. A path that is not Unicode is written as ``file:``
and percent-encoded.
"""

import gc
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from featx.errors import DataError
from featx.images.archive_folders import ArchiveFolderTree, holds_only_archives
from featx.images.archives import ArchiveTree
from featx.images.containers.dicom import DICOM_SUFFIXES, read_dicom
from featx.images.contents import Content, digest, read_file
from featx.images.names import is_archive_name
from featx.images.object_stores import ObjectTree, read_object
from featx.images.trees import FolderTree, Tree
from featx.locations import ARCHIVE_SUFFIXES, is_url, split_archive_place
from featx.registry import CONTENTS

T = TypeVar("T")
_MEMO: ContextVar[dict[tuple[str, ...], Any] | None] = ContextVar("shared listings", default=None)
URI_SCHEME = re.compile(r"([a-z][a-z0-9]+):(?!//)")


def read_content(uri: str) -> Content:
    """Return the content of an image: the bytes of a file, or a row of an array.

    Raises
    ------
    FileNotFoundError
        there is no such file.
    ReadError
        it cannot be read; the message is only the reason.
    """
    content = _read_uri(uri)
    return read_dicom(content) if isinstance(content, bytes) and uri.lower().endswith(DICOM_SUFFIXES) else content


def read_unchanged(uri: str, expected_digest: str) -> Content | None:
    """Return the content of an image as `read_content` does; None if it does not have the digest any more."""
    content = read_content(uri)
    return content if digest(content) == expected_digest else None


def _read_uri(uri: str) -> Content:
    if is_url(uri):
        return read_object(uri)
    if scheme := URI_SCHEME.match(uri):
        content: Content = CONTENTS.get(scheme[1])(uri[scheme.end() :])
        return content
    return read_file(uri)


@contextmanager
def shared_listings() -> Iterator[None]:
    """List each tree and read each table once while a source is recognised, although several readers look at it.

    The source must not change in the meantime. No cyclic garbage is collected either: each collection would visit the
    records of all files, which are in use.
    """
    collects_garbage = gc.isenabled()
    token = _MEMO.set({})
    gc.disable()
    try:
        yield
    finally:
        _MEMO.reset(token)
        if collects_garbage:
            gc.enable()


def shared(key: tuple[str, ...], make: Callable[[], T]) -> T:
    """Return what `make` returned for this key since `shared_listings` was entered; outside of it, call `make`."""
    memo = _MEMO.get()
    if memo is None:
        return make()
    if key not in memo:
        memo[key] = make()
    value: T = memo[key]
    return value


def open_tree(place: str) -> Tree:
    """Return the tree at a place: a folder, ``archive.zip``, ``archive.zip!folder/inside``, or a URL.

    A folder of several archives without images outside them is one tree of their members.

    Raises
    ------
    DataError
        there is no folder, archive or URL at the place, or the archive cannot be read.
    """
    key = place if is_url(place) else os.path.abspath(place)  # noqa: PTH100 (links are not followed)
    return shared(("tree", key), lambda: _open_tree(place))


def _open_tree(place: str) -> Tree:
    """Return the tree at a place; see `open_tree`.

    Raises
    ------
    DataError
        there is no folder, archive or URL at the place, or the archive cannot be read.
    """
    if is_url(place):
        return ObjectTree(place)
    path = Path(place)
    if archives := _split_archive_folder(place):
        return ArchiveFolderTree(*archives)
    if path.is_dir():
        return FolderTree(place)
    if archive := _split_archive(place):
        return ArchiveTree(*archive)
    if path.exists():
        raise DataError(f"{place!r} is not a folder and not an archive ({', '.join(ARCHIVE_SUFFIXES)})")
    raise DataError(f"data.source: {place!r} does not exist; expected a folder, an archive or an array file")


def is_tree(place: str) -> bool:
    """Whether a place is a folder, an archive or a URL; URLs are not accessed."""
    if is_url(place) or Path(place).is_dir():
        return True
    return _split_archive(place) is not None or _split_archive_folder(place) is not None


def _split_archive(place: str) -> tuple[str, str] | None:
    """Return the path of an archive and the folder inside it; None if the place is not in an archive."""
    path, folder = split_archive_place(place)
    return (path, folder) if is_archive_name(path) and Path(path).is_file() else None


def _split_archive_folder(place: str) -> tuple[str, str] | None:
    """Return the path of a folder of archives and the folder inside it; None if the place is in no such folder."""
    path, folder = split_archive_place(place)
    if not Path(path).is_dir():
        return None
    key = ("archives", os.path.abspath(path))  # noqa: PTH100 (links are not followed)
    return (path, folder) if shared(key, lambda: holds_only_archives(path)) else None


def join_place(place: str, inner_folder: str) -> str:
    """Return the place of the folder `inner_folder` in a tree."""
    if inner_folder in {"", "."}:
        return place
    if is_url(place):
        return f"{place.rstrip('/')}/{inner_folder}"
    if archive := _split_archive(place) or _split_archive_folder(place):
        path, folder = archive
        return f"{path}!{folder.rstrip('/')}/{inner_folder}" if folder else f"{path}!{inner_folder}"
    return str(Path(place, inner_folder))
