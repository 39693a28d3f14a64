"""Safe names of files and folders for names that come from data or from a recipe.

A target, a class or a backbone may have any name, ``x/../../y`` for example. Its files and folders have the name that
`file_name` returns; the spec inside contains the true name.
"""

import re
import unicodedata

from featx.specs.base import fingerprint

# File systems allow names of 255 bytes. This leaves room for a fingerprint, an ending (``.skops.json``), and the lease
# that `featx.files.atomic.private_name` adds.
MAX_NAME_BYTES = 150
# Windows reserves these names for devices, with any ending.
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")
# A true name may end like a file name with a key.
KEY_SUFFIX = re.compile(r"-[0-9a-f]{8}$")
ALLOWED_PUNCTUATION = frozenset("-_.+,=@")


def file_name(name: str, key: str = "") -> str:
    """Return a readable name that is safe for a file or folder on any system and needs no quotes in a shell.

    Letters and digits of any script stay; each run of other characters becomes one ``_``.

    Parameters
    ----------
    name
        The true name.
    key
        Digits that identify the object, appended to the name. By default a hash of the true name, where the result is
        not the true name itself, so that different names never give the same file name.

    Examples
    --------
    >>> file_name("solar_cells"), file_name("svm-Gender (M/F)", "1a2b3c4d")
    ('solar_cells', 'svm-Gender_M_F-1a2b3c4d')
    >>> file_name("..")
    'unnamed-a8ca4457'
    """
    safe = _sanitize(name)
    if not key and (safe != name or KEY_SUFFIX.search(name)):
        key = fingerprint(name)[:8]
    return f"{safe}-{key}" if key else safe


def is_folder_name(name: str) -> bool:
    """Return whether `name` is the name of a folder and not a path to another place."""
    return name not in {"", ".", ".."} and not set(name) & {"/", "\\", "\0"}


def _sanitize(name: str) -> str:
    text = "".join(char if _is_allowed(char) else "/" for char in unicodedata.normalize("NFC", name))
    text = re.sub("/+", "_", text)
    text = re.sub(r"_$", "", text) if not name.endswith("_") else text
    # A leading dot hides a file, a leading dash looks like an option, and Windows drops dots at the end.
    text = text.lstrip(".-=@,+").rstrip(".") or "unnamed"
    text = text.encode()[:MAX_NAME_BYTES].decode(errors="ignore")
    return f"{text}_" if RESERVED.match(text) else text


def _is_allowed(char: str) -> bool:
    return char in ALLOWED_PUNCTUATION or unicodedata.category(char)[0] in "LMN"
