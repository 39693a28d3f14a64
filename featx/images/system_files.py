"""Files that systems and programs leave beside images: each is ignored by a rule, and its folder is no class."""

import re
from functools import lru_cache

# Contents of folders by their names in lower case.
SYSTEM_FOLDERS = {
    "@eadir": "thumbnails of a Synology NAS",
    ".@__thumb": "thumbnails of a QNAP NAS",
    "#recycle": "deleted files of a Synology NAS",
    "@recycle": "deleted files of a QNAP NAS",
    "#snapshot": "snapshots of a Synology NAS",
    "$recycle.bin": "deleted files of Windows",
    "system volume information": "system files of Windows",
    "lost+found": "fragments of a file system check",
    "__macosx": "metadata of macOS",
    ".ipynb_checkpoints": "copies of Jupyter",
}
# Reason by pattern of the name of a file, without its folders.
SYSTEM_FILES = (
    (r"\._.*", "is metadata of macOS (AppleDouble): its name begins with '._'"),
    (r"synophoto_(thumb|film).*", "is a thumbnail of a Synology NAS"),
    (r"(thumbs|ehthumbs|ehthumbs_vista)\.db", "is a cache of thumbnails of Windows"),
    (r"desktop\.ini", "holds settings of Windows for its folder"),
    (r"\.?picasa\.ini", "holds settings of Picasa for its folder"),
    (r"icon\r", "is the icon of its folder in macOS"),
    (r"~.*", "is a temporary file: its name begins with '~'"),
    (r".*\.(part|partial|crdownload|download|tmp)", "is an incomplete or temporary file: see its suffix"),
)


def system_file_rule(name: str) -> str:
    """Return the rule by which a file is left out whatever it holds, from its name without folders; empty if none is.

    Examples
    --------
    >>> system_file_rule("Thumbs.db"), system_file_rule("cat.jpg")
    ('is a cache of thumbnails of Windows', '')
    """
    base = name.rpartition("/")[2].lower()
    return next((rule for pattern, rule in SYSTEM_FILES if re.fullmatch(pattern, base, re.DOTALL)), "")


def system_folder_rule(name: str) -> str:
    """Return the rule by which a folder is not searched, from its own name; empty if it is searched.

    Examples
    --------
    >>> system_folder_rule("@eaDir"), system_folder_rule(".git"), system_folder_rule("cats")
    ('is a folder of thumbnails of a Synology NAS', 'is a hidden folder, which is not searched', '')
    """
    if content := SYSTEM_FOLDERS.get(name.lower()):
        return f"is a folder of {content}"
    return "is a hidden folder, which is not searched" if name.startswith(".") and name.strip(".") else ""


def system_path_rule(name: str) -> str:
    """Return the rule by which a file is left out because of a folder above it; empty if none is.

    Examples
    --------
    >>> system_path_rule("cats/@eaDir/0.jpg"), system_path_rule("cats/0.jpg")
    ('is in a folder of thumbnails of a Synology NAS', '')
    """
    return _find_folder_rule(name.rpartition("/")[0])


@lru_cache(maxsize=1024)
def _find_folder_rule(path: str) -> str:
    rules = (system_folder_rule(folder) for folder in path.split("/"))
    return next((rule.replace("is a", "is in a", 1) for rule in rules if rule), "")
