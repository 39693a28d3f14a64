"""What a file is taken for by its name alone."""

import re

from featx.locations import ARCHIVE_SUFFIXES

IMAGE_SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "gif", "webp", "bmp", "tif", "tiff", "avif"),
        *("heic", "heif", "ppm", "pgm", "pbm", "pnm"),
    )
)
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test"}
IN_NAMES = PARTS | {"training": "train", "testing": "test", "t10k": "test"}


def is_image_name(name: str) -> bool:
    """Whether a file is taken for an image: by its ending, and not hidden.

    Examples
    --------
    >>> [is_image_name(name) for name in ("a/b.PNG", "a/.b.png", "notes.txt")]
    [True, False, False]
    """
    return suffix_of(name) in IMAGE_SUFFIXES and not base_of(name).startswith(".")


def base_of(name: str) -> str:
    """Return what stands after the last ``/``."""
    return name.rpartition("/")[2]


def suffix_of(name: str) -> str:
    """Return a name's ending with its point, in lower case."""
    stem, _, ending = base_of(name).rpartition(".")
    return f".{ending.lower()}" if stem and ending else ""


def is_archive_name(name: str) -> bool:
    """Whether a file is taken for a zip or tar archive."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


def rule_against(name: str) -> str:
    """Say why a file is not taken for an image.

    Examples
    --------
    >>> rule_against("cat/.DS_Store"), rule_against("cat/notes.txt")
    ('is hidden: its name begins with a point', "is no image by its ending '.txt'")
    """
    if base_of(name).startswith("."):
        return "is hidden: its name begins with a point"
    suffix = suffix_of(name)
    return f"is no image by its ending {suffix!r}" if suffix else "is no image: its name has no ending"


def part_in(name: str) -> str | None:
    """Return the part that one of a name's words says; None where none does, or several.

    Examples
    --------
    >>> part_in("train_set"), part_in("x_val"), part_in("t10k-images-idx3-ubyte.gz"), part_in("trainer")
    ('train', 'val', 'test', None)
    """
    said = {IN_NAMES[word] for word in words(name) if word in IN_NAMES}
    return said.pop() if len(said) == 1 else None


def words(name: str) -> list[str]:
    """Return the words of a name in lower case; ``xTrain`` has two.

    Examples
    --------
    >>> words("X_train.v2"), words("yVal")
    (['x', 'train', 'v2'], ['y', 'val'])
    """
    return re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
