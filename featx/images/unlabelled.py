"""Lists of the images of any place without labels: files, folders, archives, object stores, arrays and label tables."""

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from featx.errors import DataError, ReadError
from featx.files.table_files import TABLE_SUFFIXES
from featx.images.array_files import is_array_file, open_datasets
from featx.images.containers.array_pairing import is_image_shape
from featx.images.contents import file_uri, unicode_name
from featx.images.init import recognise
from featx.images.names import file_suffix, is_archive_name, is_image_name, is_image_url
from featx.images.readers import read_source
from featx.images.sources import open_tree
from featx.images.trees import Entry, Tree
from featx.locations import PACKAGE_PREFIX, is_url, resolve_source, split_archive_place
from featx.tables.manifest import Manifest

GLOB_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True)
class UnlabelledImages:
    """The images of some places.

    Attributes
    ----------
    ids, uris
        Id and uri of n images; an image that is named twice is listed twice.
    unreadable
        Reason by id of the images that are known to be unreadable without reading them, and by name of the places
        without images; they are not listed.
    n_ignored
        Number of other files.
    tables
        Label columns of the images that label tables list, with the same ids.
    """

    ids: list[str]
    uris: list[str]
    unreadable: dict[str, str]
    n_ignored: int = 0
    tables: list[Manifest] = field(default_factory=list)


def list_images(places: Sequence[str]) -> UnlabelledImages:
    r"""Return the images of some places.

    The ids of a single place are those of an extraction from it: paths in a folder, ``faces.zip!0.png``,
    ``tiles.h5#17``, paths of a label table. If there are several places, the ids of a folder, an archive or an array
    file begin with its path. Bytes of a name that are not UTF-8 become ``\xNN``.

    Parameters
    ----------
    places
        Image files, folders, archives, ``ARCHIVE!FOLDER``, array files, ``tiles.h5#17``, ``tiles.h5#dataset``, label
        tables, URLs, ``package:NAME/FOLDER`` inside an installed Python package, and patterns such as
        ``photos/*.png``.

    Raises
    ------
    DataError
        there are no images, or a place cannot be listed.
    """
    expanded_places = [path for place in places for path in _expand(place)]
    images = UnlabelledImages([], [], {})
    n_ignored = 0
    empty_places = {}
    for place in expanded_places:
        place_images = _list_place(place)
        if not place_images.ids and not place_images.unreadable:
            empty_places[unicode_name(place)] = f"holds no images{_other_files_text(place_images.n_ignored)}"
        prefix = unicode_name(_make_prefix(place)) if len(expanded_places) > 1 else ""
        images.ids.extend(prefix + unicode_name(name) for name in place_images.ids)
        images.uris.extend(place_images.uris)
        images.unreadable.update(
            {prefix + unicode_name(name): reason for name, reason in place_images.unreadable.items()}
        )
        images.tables.extend(_with_prefix(table, prefix) for table in place_images.tables)
        n_ignored += place_images.n_ignored
    if not images.ids and not images.unreadable:
        places_text = ", ".join(map(repr, places[:3])) or "an empty list"
        raise DataError(
            f"no images in {places_text}{_other_files_text(n_ignored)}; expected image files, or a folder, an archive, "
            "an array file or a label table of images"
        )
    return replace(images, unreadable=images.unreadable | empty_places, n_ignored=n_ignored)


def _other_files_text(n_ignored: int) -> str:
    return f" (found {n_ignored} other files)" if n_ignored else ""


def _with_prefix(table: Manifest, prefix: str) -> Manifest:
    ids = np.array([prefix + name for name in table.ids], dtype=object)
    return Manifest(ids, table.uris, table.labels.set_axis(ids, axis="index"), table.digests)


def _expand(place: str) -> list[str]:
    """Return the paths that a pattern matches, or the place itself if it is none.

    Raises
    ------
    DataError
        the pattern matches nothing.
    """
    if place.startswith(PACKAGE_PREFIX):
        return [resolve_source(place, Path())]
    if is_url(place) or not GLOB_CHARACTERS & set(place) or os.path.lexists(place):
        return [place]
    if paths := sorted(glob.glob(place, recursive=True)):  # noqa: PTH207 (Path takes no absolute patterns)
        return [path for path in paths if not Path(path).is_dir()] or paths
    # A row of an array file and a member of an archive may have these characters in their names.
    if Path(place.partition("#")[0]).is_file() or Path(split_archive_place(place)[0]).is_file():
        return [place]
    raise DataError(f"{place!r} matches no file; expected a pattern such as 'photos/*.png'")


def _make_prefix(place: str) -> str:
    """Return the text that makes the ids of one of several places different from those of the others."""
    path = split_archive_place(place)[0]
    if is_url(place):
        return "" if is_image_url(place) else f"{place.rstrip('/')}/"
    if Path(place).is_dir():
        return f"{place.rstrip('/')}/"
    is_container = is_archive_name(path) or is_array_file(path.partition("#")[0])
    parent = str(Path(path).parent) if is_container or file_suffix(path) in TABLE_SUFFIXES else "."
    return "" if parent == "." else f"{parent.rstrip('/')}/"


def _list_place(place: str) -> UnlabelledImages:
    if is_url(place):
        return UnlabelledImages([place], [place], {}) if is_image_url(place) else _list_tree(open_tree(place))
    path = Path(place)
    if path.is_dir():
        return _list_folder(path)
    file, _, row_path = place.partition("#")
    if is_array_file(place if path.is_file() else file) and Path(file).is_file():
        return _list_arrays(Path(file), row_path)
    archive, folder = split_archive_place(place)
    if is_archive_name(archive) and Path(archive).is_file():
        return _list_member(archive, folder) if is_image_name(folder) else _list_tree(open_tree(place))
    if file_suffix(place) in TABLE_SUFFIXES and path.is_file():
        return _list_recognised(place)
    return UnlabelledImages([place], [file_uri(str(path.absolute()))], {})


def _list_folder(folder: Path) -> UnlabelledImages:
    """Return the image files of a folder, or the images of its archives and array files if there are none.

    If none of these holds images, they are those that an extraction reads, such as Parquet files or npy files in class
    folders.
    """
    images = _list_tree(open_tree(str(folder)))
    if images.ids or images.unreadable:
        return images
    children = sorted(child.name for child in folder.iterdir() if child.is_file())
    containers = [name for name in children if is_archive_name(name) or is_array_file(name)]
    ids, uris, n_ignored = [], [], images.n_ignored - len(containers)
    for name in containers:
        try:
            container_images = _list_place(str(folder / name))
        # The file may hold labels.
        except DataError:
            n_ignored += 1
            continue
        ids += container_images.ids
        uris += container_images.uris
        images.unreadable.update(container_images.unreadable)
        n_ignored += container_images.n_ignored
    if not ids and not images.unreadable:
        # Where nothing is recognised, the caller reports what was expected.
        with suppress(DataError):
            return _list_recognised(str(folder))
    return UnlabelledImages(ids, uris, images.unreadable, n_ignored)


def _list_tree(tree: Tree) -> UnlabelledImages:
    """Return the images of a folder, an archive or an object store, at any depth."""
    entries = tree.entries()
    images = [entry for entry in entries if entry.may_hold_images]
    return _convert_entries(images, tree.prefix, len(entries) - len(images))


def _convert_entries(entries: Sequence[Entry], prefix: str, n_ignored: int) -> UnlabelledImages:
    readable_entries = [entry for entry in entries if not entry.outcome]
    return UnlabelledImages(
        [prefix + entry.name for entry in readable_entries],
        [entry.uri for entry in readable_entries],
        {prefix + entry.name: entry.reason for entry in entries if entry.outcome},
        n_ignored,
    )


def _list_member(archive: str, name: str) -> UnlabelledImages:
    tree = open_tree(archive)
    return _convert_entries([tree.entry(name)], tree.prefix, 0)


def _list_recognised(place: str) -> UnlabelledImages:
    """Return the images that an extraction from a place reads, and their labels: those that a label table names."""
    data = recognise(place, None)
    listing = read_source(data.model_copy(update={"drop_unlabelled": True}), Path())
    manifest, unreadable_reasons = listing.manifest, {name: reason for name, (_, reason) in listing.known.items()}
    rows = [
        (name, uri) for name, uri in zip(manifest.ids, manifest.uris, strict=True) if name not in unreadable_reasons
    ]
    ids, uris = [name for name, _ in rows], [uri for _, uri in rows]
    return UnlabelledImages(ids, uris, unreadable_reasons, len(listing.ignored), [manifest])


def _list_arrays(file: Path, row_path: str) -> UnlabelledImages:
    """Return the rows of the datasets of images in an array file.

    Parameters
    ----------
    file
        Path of the file.
    row_path
        Dataset, row, or ``dataset/row``; empty for all rows of all datasets of images.

    Raises
    ------
    DataError
        there is no such dataset or row, or no dataset of images.
    """
    try:
        arrays = open_datasets(file)
    except ReadError as error:
        raise DataError(str(error)) from error
    rows = {name: len(array) for name, array in arrays.items() if is_image_shape(tuple(map(int, array.shape)))}
    if not rows:
        shapes = ", ".join(f"{name or file.name} {tuple(array.shape)}" for name, array in arrays.items())
        raise DataError(
            f"{file} has no dataset of images; datasets: {shapes or 'none'}; expected (n, h, w) or (n, h, w, channels)"
        )
    uri = f"row:{file_uri(str(file.absolute()))}//"
    chosen_rows = list(_choose_rows(file, rows, row_path))
    prefixes = {name: f"{file.name}#{name}/" if name and len(rows) > 1 else f"{file.name}#" for name in rows}
    ids = [f"{prefixes[name]}{row}" for name, row in chosen_rows]
    return UnlabelledImages(ids, [f"{uri}{name}/{row}" for name, row in chosen_rows], {})


def _choose_rows(file: Path, rows: dict[str, int], row_path: str) -> Iterator[tuple[str, int]]:
    """Yield the dataset and the number of each row that `row_path` names."""
    if not row_path or row_path in rows:
        for name in [row_path] if row_path in rows else rows:
            yield from ((name, row) for row in range(rows[name]))
        return
    name, _, number = row_path.rpartition("/")
    dataset = next(iter(rows)) if not name and len(rows) == 1 else name
    if dataset not in rows or not number.isdecimal() or int(number) >= rows[dataset]:
        datasets = ", ".join(f"{name or file.name} with {n} rows" for name, n in rows.items())
        raise DataError(f"{file} has no image {row_path!r}; datasets of images: {datasets}")
    yield dataset, int(number)
