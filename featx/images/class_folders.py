"""Class folders that are perhaps no classes: folders with roles, such as masks, and folders of patients or dates."""

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from shlex import quote

import pandas as pd

from featx.images.column_roles import IDENTITY_WORDS
from featx.images.names import PARTS, split_words
from featx.images.sources import join_place
from featx.specs.data import ReaderSpec

# Readers whose classes are the names of folders or groups.
FOLDER_READERS = frozenset({"folder", "npy_folders", "datasets"})
# Names of folders that state the purpose of files; one such folder among class folders is suspicious.
IMAGE_WORDS = frozenset({"image", "images", "img", "imgs", "picture", "pictures", "photo", "photos", "jpegimages"})
ROLE_WORDS = IMAGE_WORDS | {
    *("mask", "masks", "label", "labels", "annotation", "annotations", "annot", "gt", "groundtruth", "ground", "truth"),
    *("segmentation", "segmentations", "seg", "bbox", "bboxes", "boxes", "overlay", "overlays", "heatmap", "heatmaps"),
    *("thumbnail", "thumbnails", "thumb", "thumbs", "prediction", "predictions", "pred", "preds", "superpixels"),
}
# Names that may be classes too: they are suspicious if all folders have such names.
WEAK_ROLE_WORDS = frozenset(
    {"raw", "original", "originals", "processed", "preprocessed", "augmented", "resized", "cropped", "crops", "depth"}
    | {"rgb", "nir", "thermal", "edges", "contours", "input", "inputs", "output", "outputs", "target", "targets"}
    | {"source", "data", "png", "jpg", "jpeg", "tif", "tiff", "hr", "lr"}
)
FILLER_WORDS = frozenset(
    {"color", "colour", "gray", "grey", "binary", "instance", "semantic", "final", "part", "class", "object", *PARTS}
)
ORIGIN_WORDS = IDENTITY_WORDS | {
    *("subj", "sub", "pat", "id", "cam", "day", "week", "month", "year", "date", "session", "visit", "scan", "batch"),
    *("plate", "well", "run", "dsc", "location", "station"),
}
# Words that stand for an origin whatever else is in the name.
PERSON_WORDS = frozenset({"patient", "subject", "person", "participant", "donor", "user", "actor", "camera", "session"})
YEAR = re.compile(r"(19|20)\d\d")
DATE = re.compile(
    r"(?<!\d)(19|20)\d\d([-_. ]?)(0[1-9]|1[0-2])(\2(0[1-9]|[12]\d|3[01]))?(?!\d)"
    r"|(?<!\d)(0?[1-9]|[12]\d|3[01])([-_. ])(0?[1-9]|1[0-2])\7(19|20)\d\d(?!\d)"
)
# Long numbers and hexadecimal identifiers; the names of ImageNet's classes are n and eight digits.
IDENTIFIER = re.compile(r"\d{6,}|(?=.*\d)(?=.*[a-f])[0-9a-f-]{12,}", re.IGNORECASE)
NUMBERED = re.compile(r"([^\W\d_]+)[-_ ]?\d+", re.IGNORECASE)
CLASS_WORDS = frozenset({"class", "category", "label", "type", "grade", "level", "stage", "group", "c", "n"})
MIN_FOLDERS_OF_ORIGIN = 3
# Numbers of folders, and median number of images of one, by which folders are suspicious whatever their names.
MIN_SMALL_FOLDERS, MAX_IMAGES_OF_SMALL_FOLDER = 20, 5
MIN_SHARE = 0.5
MAX_NAMED = 3


def list_folder_warnings(data: ReaderSpec, labels: pd.DataFrame, target: str) -> list[str]:
    """Return a warning if class folders look like roles of files, or like patients, dates or cameras.

    Parameters
    ----------
    data
        The source and its reader; there are warnings for readers of class folders only.
    labels
        Labels of the images with the column ``class``; ``split`` and ``subfolder`` if there are such folders.
    target
        Name of the target; empty if there is none.
    """
    if data.reader_name not in FOLDER_READERS or target != "class":
        return []
    source = data.source
    counts = {str(name): int(n) for name, n in labels["class"].value_counts(sort=False).items()}
    has_parts = "split" in labels
    if roles := find_role_folders(counts):
        return [_describe_roles(source, roles, counts, has_parts)]
    if reason := explain_origin_folders(counts):
        if "subfolder" not in labels:
            step = f"featx init {quote(source)} --labels FILE --force"
            return [f"{reason}; if they are no classes and a table holds the labels, run: {step}"]
        pattern = "/".join(f"{{{name}}}" for name in (*(["split"] * has_parts), "folder", "class", "image"))
        step = f"featx init {quote(source)} --labels '{pattern}' --force"
        return [f"{reason}; if the folders below them are the classes, run: {step}"]
    return []


def find_role_folders(names: Iterable[str]) -> list[str]:
    """Return the class folders whose names state the purpose of files.

    Examples
    --------
    >>> find_role_folders(["images", "masks"]), find_role_folders(["cat", "gt_masks"])
    (['images', 'masks'], ['gt_masks'])
    >>> find_role_folders(["raw", "ripe"])
    []
    """
    words = {name: [word for word in split_words(name) if not word.isdigit()] for name in names}
    role_names = [name for name in words if _has_role(words[name], ROLE_WORDS)]
    weak_role_names = [name for name in words if _has_role(words[name], ROLE_WORDS | WEAK_ROLE_WORDS)]
    return weak_role_names if len(weak_role_names) == len(words) > 1 else role_names


def _has_role(words: Sequence[str], roles: frozenset[str]) -> bool:
    allowed_words = roles | WEAK_ROLE_WORDS | FILLER_WORDS
    return any(word in roles for word in words) and all(word in allowed_words for word in words)


def _describe_roles(source: str, roles: Sequence[str], counts: Mapping[str, int], has_parts: bool) -> str:
    names_text = ", ".join(f"{name!r} ({counts[name]})" for name in roles[:MAX_NAMED])
    if len(roles) < len(counts):
        drop_text = ", ".join(f'"{name}"' for name in roles[:MAX_NAMED])
        return (
            f"class folders {names_text} look like files for another purpose, not like classes; if they are, set "
            f"drop = [{drop_text}] in [targets.class]"
        )
    image_folders = [name for name in roles if IMAGE_WORDS & set(split_words(name))] or list(roles)
    step = (
        f"to give the labels, run: featx init {quote(source)} --labels FILE --force"
        if has_parts
        else "to read one folder alone ('featx init SOURCE --labels FILE' if a table holds the labels), run: featx "
        f"init {quote(join_place(source, image_folders[0]))} --force"
    )
    return f"the folders {names_text} look like files for different purposes, not like classes; {step}"


def explain_origin_folders(counts: Mapping[str, int]) -> str:
    """Return why class folders look like patients, dates or cameras; empty if they do not.

    Parameters
    ----------
    counts
        Number of images by class folder.

    Examples
    --------
    >>> explain_origin_folders({"2023-05-01": 40, "2023-05-02": 50})
    "2 of 2 class folders have names with dates, first '2023-05-01'"
    >>> explain_origin_folders({"cat": 40, "dog": 50})
    ''
    """
    n = len(counts)
    for kind, names in (
        ("dates", [name for name in counts if DATE.search(name)]),
        ("years", [name for name in counts if YEAR.fullmatch(name)]),
        ("the names of patients, devices or places", _find_origin_names(list(counts))),
        ("identifiers", [name for name in counts if IDENTIFIER.fullmatch(name)]),
        ("one word and a number", _find_numbered_names(counts)),
    ):
        if len(names) >= max(2, MIN_SHARE * n):
            phrase = "names with dates" if kind == "dates" else f"names like {kind}"
            return f"{len(names)} of {n} class folders have {phrase}, first {names[0]!r}"
    median = statistics.median(counts.values()) if counts else 0
    if n >= MIN_SMALL_FOLDERS and median <= MAX_IMAGES_OF_SMALL_FOLDER:
        return f"{n} class folders hold few images each (median {median:g}), as folders of patients or days do"
    return ""


def _find_origin_names(names: Sequence[str]) -> list[str]:
    """Return the names that have a common word such as ``patient`` and a number, a letter or another name."""
    words = {name: [word.rstrip("0123456789") or word for word in split_words(name)] for name in names}
    min_names = max(2, MIN_SHARE * len(names))
    common_words = {word for word in ORIGIN_WORDS if sum(word in words[name] for name in names) >= min_names}
    return [
        name
        for name in names
        if common_words & PERSON_WORDS & set(words[name])
        or (common_words & set(words[name]) and any(len(word) == 1 or word[-1].isdigit() for word in split_words(name)))
    ]


def _find_numbered_names(counts: Mapping[str, int]) -> list[str]:
    """Return the names of small folders that are one common word and a number: ``P001``, ``P002``."""
    if len(counts) < MIN_FOLDERS_OF_ORIGIN or statistics.median(counts.values()) > 2 * MAX_IMAGES_OF_SMALL_FOLDER:
        return []
    matches = {name: match[1].lower() for name in counts if (match := NUMBERED.fullmatch(name))}
    words = set(matches.values())
    return list(matches) if len(words) == 1 and not words & CLASS_WORDS else []
