"""Rules that decide from a file's name alone whether it is an image, an archive, or part of a split."""

import re

from featx.images.system_files import system_file_rule
from featx.locations import ARCHIVE_SUFFIXES

# First characters of the names of images that are hidden or that `featx.images.system_files` may leave out.
SYSTEM_FILE_INITIALS = frozenset(".~sS")
IMAGE_SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "gif", "webp", "bmp", "tif", "tiff", "avif"),
        *("heic", "heif", "ppm", "pgm", "pbm", "pnm", "dcm", "dicom"),
    )
)
# A web address without its query and fragment; keys of object stores may contain their characters.
WEB_PATH = re.compile(r"https?://[^?#]*", re.IGNORECASE)
# Folders whose names do not distinguish an image from its annotations: they are left out of the key that both share.
GENERIC_FOLDERS = frozenset(
    {"images", "image", "img", "imgs", "jpegimages", "annotations", "annotation", "labels", "label", "targets"}
    | {"xmls", "json"}
)
# Part of a split by the folder name or label that stands for it, in lower case without separators.
PARTS = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "publictest": "val",
    "test": "test",
    "testing": "test",
    "privatetest": "test",
}
# Part of a split by the word in a longer name that stands for it.
PART_WORDS = {"t10k": "test"} | PARTS


def part_of(name: str) -> str | None:
    """Return the part of a split that a folder name or a label stands for; None if it stands for none.

    Examples
    --------
    >>> part_of("Train"), part_of("PublicTest"), part_of("test_set"), part_of("test1"), part_of("cat")
    ('train', 'val', 'test', 'test', None)
    """
    letters = re.sub(r"[^a-z0-9]", "", name.lower()).rstrip("0123456789")
    return PARTS.get(letters) or PARTS.get(letters.removesuffix("set").removesuffix("data").removesuffix("images"))


def is_image_name(name: str) -> bool:
    """Whether a name has the suffix of an image format, is not hidden and is no system file.

    Examples
    --------
    >>> [is_image_name(name) for name in ("a/b.PNG", "a/.b.png", "notes.txt")]
    [True, False, False]
    """
    if file_suffix(name) not in IMAGE_SUFFIXES:
        return False
    first_character = name[name.rfind("/") + 1]
    return first_character not in SYSTEM_FILE_INITIALS or (first_character != "." and not system_file_rule(name))


def is_image_url(url: str) -> bool:
    """Return whether a URL is that of one image: its path, or the end of its query, has the suffix of an image format.

    Examples
    --------
    >>> [is_image_url(url) for url in ("https://host/a.png?token=1", "https://host/view?file=a.png", "s3://bucket/a")]
    [True, True, False]
    """
    web_path = WEB_PATH.match(url)
    return is_image_name(url) or (web_path is not None and is_image_name(web_path[0]))


def base_name(name: str) -> str:
    """Return the text after the last ``/``."""
    return name.rpartition("/")[2]


def file_suffix(name: str) -> str:
    """Return a name's suffix with its point, in lower case; empty if there is none."""
    # A source may have millions of names.
    start, point = name.rfind("/") + 1, name.rfind(".")
    return name[point:].lower() if start < point < len(name) - 1 else ""


def is_archive_name(name: str) -> bool:
    """Whether a name has the suffix of a zip or tar archive and is no system file."""
    return name.lower().endswith(ARCHIVE_SUFFIXES) and not system_file_rule(name)


def non_image_rule(name: str) -> str:
    """Return the rule by which a file is not an image.

    Examples
    --------
    >>> non_image_rule("cat/.DS_Store"), non_image_rule("cat/notes.txt")
    ("is hidden: its name begins with '.'", "is not an image: its suffix is '.txt'")
    """
    if rule := system_file_rule(name):
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


def make_twin_key(name: str, stem: str | None = None) -> str:
    """Return what an image and its annotations have in common: the stem, and all folders but generic ones.

    Parameters
    ----------
    name
        Path of the image or the annotation.
    stem
        Stem of the image; by default that of the name.

    Examples
    --------
    >>> make_twin_key("VOC/JPEGImages/1.jpg") == make_twin_key("VOC/Annotations/1.xml")
    True
    """
    folders = [folder for folder in name.split("/")[:-1] if folder.lower() not in GENERIC_FOLDERS]
    return "/".join([*folders, base_name(name).rpartition(".")[0] if stem is None else stem])
