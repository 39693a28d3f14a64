"""One folder per class, with or without ``train/``, ``val/``, ``test/`` above it, in any tree."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote

import numpy as np
import pandas as pd

from featx.errors import DataError
from featx.images.archive_folders import ArchiveFolderTree
from featx.images.part_folders import PartFolders, find_part_folders
from featx.images.readers import Listing
from featx.images.sources import is_tree, join_place, open_tree
from featx.images.system_files import system_path_rule
from featx.images.trees import EMPTY_FOLDER, UNLISTABLE, Entries, Entry
from featx.locations import resolve_source
from featx.specs.data import ReaderSpec

FEATX_OUTPUT_FILE = re.compile(r"([^/]+)/(?:[^/]+\.zarr/zarr|[^/]+/embeddings\.lock)\.json")
# Share of the images in folders inside class folders above which these folders are a column.
MIN_SHARE_WITH_SUBFOLDER = 0.5
NO_LABEL_RULE = "has no label: it is outside the class folders"


class FolderReader:
    """Reads class folders: columns ``class``, ``split`` for part folders, ``subfolder`` for folders inside classes."""

    rank = 20

    def recognise(self, source: str, labels: str | None, target: str | None = None) -> ReaderSpec | None:
        """Return how to read the source if it holds images in sub-folders, otherwise None.

        Raises
        ------
        DataError
            it is a folder of archives with files of the same names.
        """
        if labels is not None or not is_tree(source):
            return None
        tree = open_tree(source)
        if isinstance(tree, ArchiveFolderTree):
            _check_archives_differ(tree)
        images = tree.entries().images
        images = images.where([not entry.outcome for entry in images])
        common_folder = _find_common_folder(images.folders)
        if not any(f"{folder}/".removeprefix(common_folder) for folder in images.folders if folder):
            return None
        place = join_place(source, common_folder.rstrip("/"))
        folders = [folder.removeprefix(common_folder) for folder in images.folders]
        return ReaderSpec(source=place) if find_part_folders(place, folders).has_class_folders(folders) else None

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """Return all files of the source; the label of an image is the name of its class folder."""
        place = resolve_source(data.source, folder)
        tree = open_tree(place)
        entries = _drop_featx_output(tree.entries())
        images = _list_images(entries)
        part_folders = find_part_folders(place, images.folders)
        rules = part_folders.unlabelled_rules(images)
        shallow_folders = {
            folder for folder in images.folders if len(part_folders.path_components(folder)) < part_folders.class_depth
        }
        if shallow_folders:
            unlabelled_images = [
                entry for entry in images if entry.folder in shallow_folders and entry.name not in rules
            ]
            _check_listable(place, unlabelled_images)
            if data.drop_unlabelled:
                rules |= {entry.name: NO_LABEL_RULE for entry in unlabelled_images}
        labelled_images = images.where([entry.name not in rules for entry in images]) if rules else images
        rules |= {entry.name: entry.non_image_reason for entry in entries.others if not entry.may_hold_images}
        warnings = list(part_folders.warnings)
        warnings += [
            f"folder {name!r} holds no image and is not used as a class"
            for name in _find_folders_without_images(entries, images.folders, part_folders)
        ]
        labels = _make_labels(labelled_images, part_folders)
        warnings += _describe_partial_subfolders(labelled_images, labels, part_folders)
        return Listing.from_tree(tree, labelled_images, labels, rules, warnings)


def _list_images(entries: Entries) -> Entries:
    """Return the images, and the folders that cannot be listed and may hold some."""
    if any(entry.may_hold_images for entry in entries.others):
        return entries.where([entry.may_hold_images for entry in entries])
    return entries.images


def _make_labels(images: Entries, part_folders: PartFolders) -> pd.DataFrame:
    """Return the labels of images, which are those of their folders.

    If most images are in folders inside the class folders, the others are each their own ``subfolder``.
    """
    depth = part_folders.class_depth
    folders = [part_folders.path_components(folder) for folder in images.folders]
    classes = [names[depth - 1] if len(names) >= depth else None for names in folders]
    labels = pd.DataFrame({"class": classes})
    if part_folders.parts:
        labels["split"] = [part_folders.parts[names[0]] if names else None for names in folders]
    has_subfolder = np.array([len(names) > depth for names in folders], dtype=bool)[images.folder_codes]
    if has_subfolder.sum() > MIN_SHARE_WITH_SUBFOLDER * len(images):
        labels["subfolder"] = [names[depth] if len(names) > depth else None for names in folders]
    labels = labels.iloc[images.folder_codes].reset_index(drop=True)
    if "subfolder" in labels and not has_subfolder.all():
        rows = np.flatnonzero(~has_subfolder)
        labels.loc[rows, "subfolder"] = [images[row].name for row in rows]
    return labels


def _describe_partial_subfolders(images: Entries, labels: pd.DataFrame, part_folders: PartFolders) -> list[str]:
    """Return a warning if some images lie in folders inside the class folders, and others directly in these."""
    depth = part_folders.class_depth
    levels = [len(part_folders.path_components(folder)) for folder in images.folders]
    n_levels = np.array(levels, dtype=int)[images.folder_codes]
    nested_rows, direct_rows = np.flatnonzero(n_levels > depth), np.flatnonzero(n_levels == depth)
    if not nested_rows.size or not direct_rows.size:
        return []
    n = len(images)
    if "subfolder" in labels:
        return [
            f"{direct_rows.size} of {n} images are directly in a class folder, first {images[direct_rows[0]].name!r}: "
            "each is a group of its own in 'subfolder'; the others are grouped by the folders in the class folders"
        ]
    return [
        f"{nested_rows.size} of {n} images are in folders inside the class folders, first "
        f"{images[nested_rows[0]].name!r}: they have the classes of these, and there is no column 'subfolder', because "
        "most images are directly in a class folder"
    ]


def _check_archives_differ(tree: ArchiveFolderTree) -> None:
    """Check that the archives of a folder, which are read as one source, hold no files of the same name.

    Raises
    ------
    DataError
        they do.
    """
    if conflict := tree.conflict:
        place = quote(tree.folder)
        pattern = "/".join(["{archive}", *(["{class}"] if "/" in conflict.name else []), "{image}"])
        raise DataError(
            f"{conflict.first} and {conflict.second} in {tree.folder!r} hold files of the same name, first "
            f"{conflict.name!r}; to read one archive, run: featx init {quote(f'{tree.folder}/{conflict.first}')}; to "
            f"read all of them, run: featx init {place} --labels '{pattern}'"
        )


def _find_common_folder(folders: Sequence[str]) -> str:
    """Return the folder, with its ``/``, that holds all class folders: archives often have such a folder.

    Examples
    --------
    >>> _find_common_folder(["photos/cat", "photos/dog"]), _find_common_folder(["cat", "dog"])
    ('photos/', '')
    """
    common_folder = ""
    while folders:
        names = [folder.removeprefix(common_folder).split("/") for folder in folders]
        if len({top for top, *_ in names}) != 1 or any(len(subfolders) < 2 for subfolders in names):
            break
        common_folder += f"{names[0][0]}/"
    return common_folder


def _drop_featx_output(entries: Entries) -> Entries:
    """Return the entries outside the cache and the runs of featx, which lie in the source if a user works in it."""
    names = [entry.name for entry in entries.readable(".json")]
    output_folders = {match[1] for name in names if (match := FEATX_OUTPUT_FILE.fullmatch(name))}
    if not output_folders:
        return entries
    return entries.where([entry.name.partition("/")[0] not in output_folders for entry in entries])


def _find_folders_without_images(
    entries: Entries, image_folders: Iterable[str], part_folders: PartFolders
) -> list[str]:
    """Return the folders at the depth of class folders that hold no image."""
    empty_folders = {entry.name for entry in entries.others if entry.reason == EMPTY_FOLDER}
    named_folders = {folder for folder in entries.folders if not system_path_rule(f"{folder}/")}
    depth = part_folders.class_depth
    classes = {
        tuple(names[:depth]) for folder in image_folders if len(names := part_folders.path_components(folder)) >= depth
    }
    folders = [part_folders.path_components(folder) for folder in named_folders]
    class_folders = {tuple(names[:depth]) for names in folders if len(names) >= depth}
    class_folders |= {
        tuple(names) for folder in empty_folders if len(names := part_folders.path_components(folder)) == depth
    }
    return sorted("/".join(names) for names in class_folders - classes)


def _check_listable(place: str, unlabelled_images: Sequence[Entry]) -> None:
    """Check that each class folder can be listed.

    Raises
    ------
    DataError
        one cannot.
    """
    for entry in unlabelled_images:
        if entry.reason.startswith(UNLISTABLE):
            raise DataError(f"class folder {entry.name!r} of {place} {entry.reason}; correct its permissions")
