"""One folder a class, with or without ``train/``, ``val/``, ``test/`` above: on disk, in an archive or object store."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from featx.errors import DataError
from featx.images.names import PARTS, is_image_name, rule_against
from featx.images.readers import Listing
from featx.images.sources import is_tree, join, open_tree
from featx.images.trees import CANNOT_LIST, EMPTY_FOLDER, Entry
from featx.locations import source_place
from featx.specs.data import ReaderSpec

MARK_OF_FEATX = re.compile(r"([^/]+)/(?:[^/]+\.zarr/zarr|[^/]+/embeddings\.lock)\.json")
MACOS_EXTRA = "__MACOSX"  # what its archives hold beside the files
NO_LABEL = "has no label: it lies beside the class folders"


class FolderReader:
    """Reads class folders: columns ``class`` and, where there are part folders, ``split``."""

    rank = 20

    def recognise(self, source: str, labels: str | None) -> ReaderSpec | None:
        """See `featx.images.readers.Reader`."""
        if labels is not None or not is_tree(source):
            return None
        names = [entry.name for entry in open_tree(source).entries() if not entry.outcome and is_image_name(entry.name)]
        inside = common_folder(names)
        if not any("/" in name.removeprefix(inside) for name in names):
            return None
        return ReaderSpec(source=join(source, inside.rstrip("/")))

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """See `featx.images.readers.Reader`."""
        place = source_place(data.source, folder)
        tree = open_tree(place)
        every = tree.entries()
        own = made_by_featx(every)
        entries = [entry for entry in every if entry.name.partition("/")[0] not in own]
        images = [entry for entry in entries if is_image(entry)]
        names = {entry.name for entry in images}
        split = has_parts(images)
        depth = 2 if split else 1
        if closed := [
            entry for entry in images if entry.reason.startswith(CANNOT_LIST) and entry.name.count("/") < depth
        ]:
            raise DataError(f"class folder {closed[0].name!r} of {place} {closed[0].reason}; mend its permissions")
        found = [entry for entry in images if entry.name.count("/") >= depth]
        loose = [entry for entry in images if entry.name.count("/") < depth]
        if loose and not data.drop_unlabelled:
            _refuse_loose(place, loose)
        ignored = {
            tree.prefix + entry.name: entry.reason or rule_against(entry.name)
            for entry in entries
            if entry.name not in names
        }
        ignored |= {tree.prefix + entry.name: NO_LABEL for entry in loose}
        labels = pd.DataFrame({"class": [entry.name.split("/")[depth - 1] for entry in found]}, dtype=object)
        if split:
            labels["split"] = [PARTS[entry.name.split("/")[0].lower()] for entry in found]
        warnings = [
            f"folder {name!r} holds no image and is no class" for name in _without_images(entries, found, depth)
        ]
        return Listing.of(found, labels, ignored, [tree.prefix + entry.name for entry in found], warnings)


def is_image(entry: Entry) -> bool:
    """Whether a file is to be an image of the study, readable or not."""
    return entry.outcome != "ignored" and (is_image_name(entry.name) or entry.reason.startswith(CANNOT_LIST))


def common_folder(names: Sequence[str]) -> str:
    """Return the folder, with its ``/``, that holds all class folders: archives often have one around them.

    Examples
    --------
    >>> common_folder(["photos/cat/0.png", "photos/dog/0.png"]), common_folder(["cat/0.png", "dog/1.png"])
    ('photos/', '')
    """
    inside = ""
    while names:
        tops = {name.removeprefix(inside).partition("/")[0] for name in names}
        one_level_more = all(name.removeprefix(inside).count("/") >= 2 for name in names)
        if len(tops) != 1 or not one_level_more:
            break
        inside += f"{tops.pop()}/"
    return inside


def has_parts(images: Iterable[Entry]) -> bool:
    """Whether the top folders are parts: one is called ``train`` and all are train, val or test.

    Raises
    ------
    DataError
        part folders and others stand side by side.
    """
    tops = sorted({entry.name.partition("/")[0] for entry in images if "/" in entry.name})
    parts = [top for top in tops if top.lower() in PARTS]
    if "train" not in {PARTS[top.lower()] for top in parts}:
        return False
    if odd := [top for top in tops if top not in parts]:
        raise DataError(
            f"the source holds part folders ({', '.join(parts)}) and {len(odd)} other, first {odd[0]!r}; expected only "
            "train, val, test, or only classes"
        )
    return True


def made_by_featx(entries: Iterable[Entry]) -> set[str]:
    """Return the top folders that hold featx's own cache and runs, where someone works inside the source."""
    return {found[1] for entry in entries if (found := MARK_OF_FEATX.fullmatch(entry.name))}


def _without_images(entries: Sequence[Entry], found: Sequence[Entry], depth: int) -> list[str]:
    """Return the folders at the depth of classes that hold files, or nothing, and not one image."""
    seen = {"/".join(entry.name.split("/")[:depth]) for entry in entries if entry.name.count("/") >= depth}
    seen |= {entry.name for entry in entries if entry.reason == EMPTY_FOLDER and entry.name.count("/") == depth - 1}
    return sorted(seen - {MACOS_EXTRA} - {"/".join(entry.name.split("/")[:depth]) for entry in found})


def _refuse_loose(place: str, loose: Sequence[Entry]) -> None:
    raise DataError(
        f"{len(loose)} images lie beside the class folders of {place}, first {loose[0].name!r}; expected each image "
        "inside the folder of its class: move them, or leave them out with '--drop-unlabelled'"
    )
