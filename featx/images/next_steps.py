"""Advice for sources that no reader recognises."""

import os
from pathlib import Path
from shlex import quote

from featx.errors import ReadError
from featx.images.inventory import NO_SUFFIX, Inventory, find_file_type
from featx.images.label_tables import TableReport
from featx.images.names import IMAGE_SUFFIXES
from featx.images.sources import is_tree, open_tree, read_content
from featx.images.trees import Entry

N_INSPECTED_FILES = 3
# First bytes of files by the suffix of their format.
MAGICS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"II*\0": ".tif", b"MM\0*": ".tif"}


def suggest_next_step(source: str, inventory: Inventory) -> str:
    """Return what to do so that a source can be read.

    Parameters
    ----------
    source
        A folder, an archive, a file or a URL.
    inventory
        Its files and tables.
    """
    types = inventory.types
    if not types:
        return "put images into it"
    if types.get("linked folder"):
        return "links to folders are not followed: name the folder itself"
    if types.keys() & {".dcm", ".dicom"}:
        return 'DICOM files need an extra: pip install "featx[dicom]"'
    if types.keys() & {".7z", ".rar"}:
        return "unpack the archives, or pack them as zip or tar"
    if types.keys() & {".mp4", ".avi", ".mov", ".mkv"}:
        return "videos are not read: extract their frames, for example with ffmpeg"
    if step := _suggest_suffix(source, inventory) or _suggest_folder(source, inventory.tables):
        return step
    if any(report.path for report in inventory.tables) and not types.keys() & IMAGE_SUFFIXES:
        return "put the images beside the table that names them"
    return (
        "expected one sub-folder per class with images, a table with a column of image paths ('featx init SOURCE "
        "--labels FILE'), label files beside the images, or array files"
    )


def _suggest_suffix(source: str, inventory: Inventory) -> str:
    """Return how to rename the files if those of the most frequent type are images without the suffix of their format.

    The result is empty if they are not, or if there are images with such a suffix.
    """
    most_frequent_type = next(iter(inventory.types))
    if inventory.types.keys() & IMAGE_SUFFIXES or not is_tree(source):
        return ""
    entries = [
        entry
        for entry in open_tree(source).entries()
        if entry.outcome != "ignored" and find_file_type(entry.name) == most_frequent_type
    ]
    for entry in entries[:N_INSPECTED_FILES]:
        if suffix := _find_format_suffix(entry):
            suffix_text = "have no suffix" if most_frequent_type == NO_SUFFIX else f"end in {most_frequent_type}"
            return (
                f"files such as {entry.name!r} are images, but their names {suffix_text}; rename them, for example to "
                f"{entry.name + suffix!r}"
            )
    return ""


def _find_format_suffix(entry: Entry) -> str:
    """Return the suffix of the image format that the first bytes of a file show; empty if they show none."""
    try:
        content = read_content(entry.uri)
    except (ReadError, OSError):
        return ""
    if not isinstance(content, bytes):
        return ""
    # DICOM files often have no suffix.
    if content[128:132] == b"DICM":
        return ".dcm"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for magic, suffix in MAGICS.items() if content.startswith(magic)), "")


def _suggest_folder(source: str, tables: tuple[TableReport, ...]) -> str:
    """Return the command that names the folder of a table and its images, if these are outside the source."""
    for report in tables:
        if not report.n_named and report.folder.startswith(".."):
            table = Path(source) / report.file
            image_folder = os.path.normpath(Path(source) / report.folder)
            folder = os.path.relpath(os.path.commonpath([os.path.abspath(table), os.path.abspath(image_folder)]))  # noqa: PTH100
            place = os.path.abspath(folder) if Path(source).is_absolute() else folder  # noqa: PTH100
            return f"the images are in {image_folder}: run featx init {quote(place)} --labels {quote(str(table))}"
    return ""
