"""One folder per class, with or without ``train/``, ``val/``, ``test/`` above it, in any tree."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote

import numpy as np
import pandas as pd

from featx.errors import DataError
from featx.images.archive_folders import ArchiveFolderTree
from featx.images.names import part_of
from featx.images.readers import Listing
from featx.images.sources import is_tree, join_place, open_tree
from featx.images.system_files import system_path_rule
from featx.images.trees import EMPTY_FOLDER, UNLISTABLE, Entries, Entry
from featx.locations import resolve_source
from featx.specs.data import ReaderSpec

FEATX_OUTPUT_FILE = re.compile(r"([^/]+)/(?:[^/]+\.zarr/zarr|[^/]+/embeddings\.lock)\.json")
# Names of the only folder of a test part whose images have no labels.
GENERAL_FOLDERS = frozenset(
    {"", "test", "test1", "images", "image", "img", "imgs", "unknown", "unlabelled", "unlabeled", "all"}
)
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
        return ReaderSpec(source=join_place(source, common_folder.rstrip("/")))

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """Return all files of the source; the label of an image is the name of its class folder."""
        place = resolve_source(data.source, folder)
        tree = open_tree(place)
        entries = _drop_featx_output(tree.entries())
        images = _list_images(entries)
        has_parts = _has_part_folders(place, images.folders)
        depth = 2 if has_parts else 1
        rules = _find_unlabelled_parts(images) if has_parts else {}
        shallow_folders = {folder for folder in images.folders if len(_split_folder(folder)) < depth}
        if shallow_folders:
            unlabelled_images = [
                entry for entry in images if entry.folder in shallow_folders and entry.name not in rules
            ]
            _check_listable(place, unlabelled_images)
            if data.drop_unlabelled:
                rules |= {entry.name: NO_LABEL_RULE for entry in unlabelled_images}
        labelled_images = images.where([entry.name not in rules for entry in images]) if rules else images
        rules |= {entry.name: entry.non_image_reason for entry in entries.others if not entry.may_hold_images}
        warnings = [
            f"folder {name!r} holds no image and is not used as a class"
            for name in _find_folders_without_images(entries, labelled_images.folders, depth)
        ]
        labels = _make_labels(labelled_images, depth, has_parts)
        warnings += _describe_partial_subfolders(labelled_images, labels, depth)
        return Listing.from_tree(tree, labelled_images, labels, rules, warnings)


def _list_images(entries: Entries) -> Entries:
    """Return the images, and the folders that cannot be listed and may hold some."""
    if any(entry.may_hold_images for entry in entries.others):
        return entries.where([entry.may_hold_images for entry in entries])
    return entries.images


def _split_folder(folder: str) -> list[str]:
    return folder.split("/") if folder else []


def _make_labels(images: Entries, depth: int, has_parts: bool) -> pd.DataFrame:
    """Return the labels of images, which are those of their folders; class folders are at a depth.

    If most images are in folders inside the class folders, the others are each their own ``subfolder``.
    """
    folders = [_split_folder(folder) for folder in images.folders]
    classes = [names[depth - 1] if len(names) >= depth else None for names in folders]
    labels = pd.DataFrame({"class": classes})
    if has_parts:
        labels["split"] = [part_of(names[0]) if names else None for names in folders]
    has_subfolder = np.array([len(names) > depth for names in folders], dtype=bool)[images.folder_codes]
    if has_subfolder.sum() > MIN_SHARE_WITH_SUBFOLDER * len(images):
        labels["subfolder"] = [names[depth] if len(names) > depth else None for names in folders]
    labels = labels.iloc[images.folder_codes].reset_index(drop=True)
    if "subfolder" in labels and not has_subfolder.all():
        rows = np.flatnonzero(~has_subfolder)
        labels.loc[rows, "subfolder"] = [images[row].name for row in rows]
    return labels


def _describe_partial_subfolders(images: Entries, labels: pd.DataFrame, depth: int) -> list[str]:
    """Return a warning if some images lie in folders inside the class folders, and others directly in these."""
    n_levels = np.array([len(_split_folder(folder)) for folder in images.folders], dtype=int)[images.folder_codes]
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


def _find_unlabelled_parts(images: Entries) -> dict[str, str]:
    """Return a rule by name for the images of parts without class folders, which can only be predicted.

    Such a part holds its images directly; a test part may also hold them in one folder with a general name.
    """
    folders: dict[str, set[str]] = {}
    for folder in filter(None, images.folders):
        part, _, subfolder = folder.partition("/")
        folders.setdefault(part, set()).add(subfolder.partition("/")[0])
    folders |= {entry.name: {""} for entry in images if not entry.folder}
    unlabelled_parts = {
        part
        for part, names in folders.items()
        if (part_of(part) != "train" and names == {""})
        or (part_of(part) == "test" and len(names) == 1 and names <= GENERAL_FOLDERS)
    }
    return {
        entry.name: f"has no label: {part!r} has no class folders (its images can be predicted)"
        for entry in images
        if (part := entry.name.partition("/")[0]) in unlabelled_parts
    }


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


def _has_part_folders(place: str, folders: Sequence[str]) -> bool:
    """Whether the top folders are parts: one is called ``train`` and all are train, val or test.

    Parameters
    ----------
    place
        The source, for the error.
    folders
        Folders of the images.

    Raises
    ------
    DataError
        there are part folders and other folders.
    """
    top_folders = sorted({folder.partition("/")[0] for folder in folders if folder})
    parts = [folder for folder in top_folders if part_of(folder)]
    if "train" not in {part_of(folder) for folder in parts}:
        return False
    if other_folders := [folder for folder in top_folders if folder not in parts]:
        are_all_classes = len(parts) == 1 and not any("/" in folder for folder in folders)
        advice = (
            f"; if {parts[0]!r} is a class too, run: featx init {quote(place)} --labels '{{class}}/{{image}}'"
            if are_all_classes
            else ""
        )
        raise DataError(
            f"the source holds part folders ({', '.join(parts)}) and {len(other_folders)} other, first "
            f"{other_folders[0]!r}; expected only train, val, test, or only classes{advice}"
        )
    return True


def _drop_featx_output(entries: Entries) -> Entries:
    """Return the entries outside the cache and the runs of featx, which lie in the source if a user works in it."""
    names = [entry.name for entry in entries.readable(".json")]
    output_folders = {match[1] for name in names if (match := FEATX_OUTPUT_FILE.fullmatch(name))}
    if not output_folders:
        return entries
    return entries.where([entry.name.partition("/")[0] not in output_folders for entry in entries])


def _find_folders_without_images(entries: Entries, image_folders: Iterable[str], depth: int) -> list[str]:
    """Return the folders at the depth of class folders that hold no image; `depth` is 1, or 2 below part folders."""
    folder_names = [_split_folder(folder) for folder in entries.folders if not system_path_rule(f"{folder}/")]
    folders = {"/".join(names[:depth]) for names in folder_names if len(names) >= depth}
    folders |= {
        entry.name for entry in entries.others if entry.reason == EMPTY_FOLDER and entry.name.count("/") == depth - 1
    }
    return sorted(folders - {"/".join(_split_folder(folder)[:depth]) for folder in image_folders})


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
