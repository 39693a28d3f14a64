"""Access to images wherever they lie: a URI is read, and a place is opened as a tree of files.

A URI is an absolute path, a URL that fsspec knows (``s3://bucket/key``), or ``scheme:container//inside``, where the
scheme is a name of the registry ``featx.contents``: ``member:/data/a.zip//cat/0.png``, ``row:/data/a.h5//x/17``. The
paths of containers are normalised, so the first ``//`` ends them. A path that is not Unicode is written as ``file:``
and percent-encoded.
"""

import re
from pathlib import Path

from featx.errors import DataError
from featx.images.archives import ArchiveTree
from featx.images.contents import Content, read_file
from featx.images.names import is_archive_name
from featx.images.object_stores import ObjectTree, read_object
from featx.images.trees import FolderTree, Tree
from featx.locations import is_url, parted
from featx.registry import CONTENTS

SCHEME = re.compile(r"([a-z][a-z0-9]+):(?!//)")


def read(uri: str) -> Content:
    """Return what `uri` leads to.

    Raises
    ------
    FileNotFoundError
        there is nothing.
    ReadError
        it cannot be read; the message is the reason alone.
    """
    if is_url(uri):
        return read_object(uri)
    if found := SCHEME.match(uri):
        content: Content = CONTENTS.get(found[1])(uri[found.end() :])
        return content
    return read_file(uri)


def open_tree(place: str) -> Tree:
    """Return the tree at a place: a folder, ``archive.zip``, ``archive.zip!folder/inside``, or a URL.

    Raises
    ------
    DataError
        there is none, or the archive cannot be read.
    """
    if is_url(place):
        return ObjectTree(place)
    path = Path(place)
    if path.is_dir():
        return FolderTree(place)
    archive, inside = parted(place)
    if is_archive_name(archive) and Path(archive).is_file():
        return ArchiveTree(archive, inside)
    if path.exists():
        raise DataError(f"{place!r} is no folder and no archive of a known kind (.zip, .tar, .tar.gz, .tgz)")
    raise DataError(f"data.source: nothing lies at {place!r}; expected a folder, an archive or an array file")


def is_tree(place: str) -> bool:
    """Whether a place is a folder, an archive or a URL; it is not asked whether a URL leads anywhere."""
    archive, _ = parted(place)
    return is_url(place) or Path(place).is_dir() or (is_archive_name(archive) and Path(archive).is_file())


def join(place: str, inside: str) -> str:
    """Return the place `inside` a tree."""
    if inside in {"", "."}:
        return place
    if is_url(place):
        return f"{place.rstrip('/')}/{inside}"
    archive, below = parted(place)
    if is_archive_name(archive) and Path(archive).is_file():
        return f"{archive}!{below.rstrip('/')}/{inside}" if below else f"{archive}!{inside}"
    return str(Path(place, inside))
