"""Rules that tell from a file's name alone whether it is an image, an archive, or part of a split."""

import re

from featx.images.litter import litter_file_rule
from featx.locations import ARCHIVE_SUFFIXES

IMAGE_SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "gif", "webp", "bmp", "tif", "tiff", "avif"),
        *("heic", "heif", "ppm", "pgm", "pbm", "pnm"),
    )
)
# Part of a split by the folder name or label that stands for it.
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test"}
# Part of a split by the word in a longer name that stands for it.
PART_WORDS = PARTS | {"training": "train", "testing": "test", "t10k": "test"}


def is_image_name(name: str) -> bool:
    """Whether a name has the suffix of an image format, is not hidden and is no litter.

    Examples
    --------
    >>> [is_image_name(name) for name in ("a/b.PNG", "a/.b.png", "notes.txt")]
    [True, False, False]
    """
    is_hidden = base_name(name).startswith(".")
    return file_suffix(name) in IMAGE_SUFFIXES and not is_hidden and not litter_file_rule(name)


def base_name(name: str) -> str:
    """Return the text after the last ``/``."""
    return name.rpartition("/")[2]


def file_suffix(name: str) -> str:
    """Return a name's suffix with its point, in lower case; empty if there is none."""
    stem, _, ending = base_name(name).rpartition(".")
    return f".{ending.lower()}" if stem and ending else ""


def is_archive_name(name: str) -> bool:
    """Whether a name has the suffix of a zip or tar archive and is no litter."""
    return name.lower().endswith(ARCHIVE_SUFFIXES) and not litter_file_rule(name)


def non_image_rule(name: str) -> str:
    """Return the rule by which a file is not an image.

    Examples
    --------
    >>> non_image_rule("cat/.DS_Store"), non_image_rule("cat/notes.txt")
    ("is hidden: its name begins with '.'", "is not an image: its suffix is '.txt'")
    """
    if rule := litter_file_rule(name):
        return rule
    if base_name(name).startswith("."):
        return "is hidden: its name begins with '.'"
    suffix = file_suffix(name)
    return f"is not an image: its suffix is {suffix!r}" if suffix else "is not an image: its name has no suffix"


def find_part(name: str) -> str | None:
    """Return the part of a split that the words of a name stand for; None if they stand for none or for several.

    Examples
    --------
    >>> find_part("train_set"), find_part("x_val"), find_part("t10k-images-idx3-ubyte.gz"), find_part("trainer")
    ('train', 'val', 'test', None)
    """
    parts = {PART_WORDS[word] for word in split_words(name) if word in PART_WORDS}
    return parts.pop() if len(parts) == 1 else None


def split_words(name: str) -> list[str]:
    """Return the words of a name in lower case; ``xTrain`` has two.

    Examples
    --------
    >>> split_words("X_train.v2"), split_words("yVal")
    (['x', 'train', 'v2'], ['y', 'val'])
    """
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
