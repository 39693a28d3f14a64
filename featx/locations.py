"""Places of image sources: paths, URLs, folders of installed packages, and folders inside archives."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from featx.errors import DataError, MissingExtraError
from featx.files.atomic import portable_file_state
from featx.specs.data import ReaderSpec

# Extra of featx that installs a package, or the client of a kind of object store.
EXTRAS = {"elpv_dataset": "demo", "s3": "s3", "s3a": "s3"}
ANNOTATION_SUFFIXES = (".npy", ".txt", ".json", ".cls")
HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
# Suffixes of the files that hold the labels, by the reader that takes all such files of a source.
LABEL_SUFFIXES = {
    "annotations": ANNOTATION_SUFFIXES,
    "datasets": HDF5_SUFFIXES,
    "parquet": (".parquet",),
    "pixels": (".csv",),
    "coco": (".json",),
    "labelme": (".json",),
    "voc": (".xml", ".txt"),
    "yolo": (".txt", ".yaml", ".yml", ".names", ".labels"),
    "one_hot": (".csv",),
    "id_lists": (".txt",),
}
# Beginning of sources inside an installed Python package.
PACKAGE_PREFIX = "package:"
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
URL_PATTERN = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def is_url(place: str) -> bool:
    """Whether a place is a URL, and not a path.

    Examples
    --------
    >>> is_url("s3://bucket/photos"), is_url("/home/a://b.png")
    (True, False)
    """
    return bool(URL_PATTERN.match(place))


def open_filesystem(url: str, setting: str, **options: Any) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, and the key of the URL in it.

    Parameters
    ----------
    url
        URL of an object, or of the beginning of keys.
    setting
        Name of the setting that holds the URL, for errors.
    options
        Options of the file system.

    Raises
    ------
    MissingExtraError
        the client of this kind of store is not installed; names the extra that installs it.
    DataError
        fsspec does not know the protocol, or the file system cannot be opened.
    """
    import fsspec

    protocol = url.partition("://")[0]
    try:
        filesystem, key = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        next_step = _install_command(protocol) or str(error)
        raise MissingExtraError(
            f"{setting}: {protocol}:// needs a package that is not installed; {next_step}"
        ) from error
    except ValueError as error:
        raise DataError(f"{setting}: unknown protocol {protocol!r} of an object store (fsspec: {error})") from error
    # Each kind of store has its own requirements and errors.
    except Exception as error:
        raise DataError(
            f"{setting}: {url!r} cannot be opened ({type(error).__name__}: {error}); expected the URL of an object "
            "store, for example s3://bucket/photos"
        ) from error
    return filesystem, str(key)


def _install_command(name: str) -> str:
    """Return the command that installs a package or the client of a protocol; empty if no extra has it."""
    extra = EXTRAS.get(name)
    return f'pip install "featx[{extra}]"' if extra else ""


def resolve_source(source: str, folder: Path) -> str:
    """Return the absolute path or the URL of a source, which need not exist.

    Parameters
    ----------
    source
        A path; a URL; or ``package:NAME/FOLDER`` for a folder of an installed Python package, which is found by its
        top-level name and not imported.
    folder
        Folder that relative paths start from.

    Raises
    ------
    DataError
        the package's name is not that of a top-level package.
    MissingExtraError
        the package is not installed; names the extra that installs it.
    """
    if is_url(source):
        return source
    if source.startswith(PACKAGE_PREFIX):
        return str(_package_folder(source.removeprefix(PACKAGE_PREFIX)))
    return str((folder / source).absolute())


def reads_source(data: ReaderSpec, folder: Path, source: str) -> bool:
    """Return whether a recipe's data section reads the source that a user named.

    It does if it reads this place, a folder inside it, or the folder of this label table.

    Parameters
    ----------
    data
        The data section.
    folder
        Folder of the recipe.
    source
        A path relative to the working directory, a URL, or ``package:NAME/FOLDER``.
    """
    read_place, named_place = _real_place(data.source, folder), _real_place(source, Path.cwd())
    if read_place == named_place or read_place.startswith((f"{named_place}/", f"{named_place}!")):
        return True
    table = Path(named_place)
    tables = data.labels.files if data.labels else ()
    return str(table.parent) == read_place and table.name in tables


def _real_place(source: str, folder: Path) -> str:
    """Return the resolved place of a source, links followed in local paths."""
    place = resolve_source(source, folder)
    if is_url(place):
        return place.rstrip("/")
    file, inside = split_archive_place(place)
    return f"{Path(file).resolve()}!{inside}" if inside else str(Path(file).resolve())


def _package_folder(place: str) -> Path:
    package, _, inside = place.partition("/")
    # Python would import the text before a dot to find the package after it.
    if not package.isidentifier():
        raise DataError(f"data.source: {package!r} is not the name of a top-level package; write 'package:NAME/FOLDER'")
    try:
        spec = find_spec(package)
    # A module that was loaded without a spec, such as __main__, raises.
    except ValueError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        next_step = _install_command(package) or "install it with pip"
        raise MissingExtraError(f"data.source: no Python package {package!r} is installed; {next_step}")
    return Path(spec.submodule_search_locations[0]) / inside


def split_archive_place(place: str) -> tuple[str, str]:
    """Return the file or folder at a place, and the folder inside its archives: the text after ``!``, or ``""``."""
    if not Path(place).exists():
        # The name of a folder may contain "!" too.
        for separator in re.finditer("!", place):
            if Path(place[: separator.start()]).exists():
                return place[: separator.start()], place[separator.end() :]
    return place, ""


def base_folder(place: str) -> Path | None:
    """Return the local folder that paths in a recipe's data section start from; None if the source is a URL.

    It is the source itself if it is a folder, otherwise the folder of its file.
    """
    if is_url(place):
        return None
    path = Path(split_archive_place(place)[0])
    return path.parent if path.is_file() else path


def existing_file(path: Path, key: str) -> Path:
    """Return the path of a file that a recipe names in the setting `key`.

    Raises
    ------
    DataError
        there is no such file.
    """
    if not path.is_file():
        raise DataError(f"{key}: {str(path)!r} does not exist; expected a file")
    return path


def label_file_states(data: ReaderSpec, folder: Path) -> list[tuple[str, int, int]]:
    """Return the states of the local files that hold the labels: the labels are unchanged while the states are.

    A copy of a project has the same states. Object stores are not accessed.
    """
    place = resolve_source(data.source, folder)
    # If the source is a URL, only absolute paths are local.
    home = base_folder(place) or Path()
    names = list(data.labels.files) if data.labels else []
    names += list(data.parts.files) if data.parts else []
    names += [dataset.partition("#")[0] for arrays in data.arrays for dataset in arrays.labels.values()]
    files = [Path(split_archive_place(str(home / name))[0]) for name in dict.fromkeys(names)]
    files = [file for file in files if not is_url(place) or file.is_absolute()]
    if data.reader in LABEL_SUFFIXES and home.is_dir() and not is_url(place):
        suffixes = LABEL_SUFFIXES[data.reader] + ARCHIVE_SUFFIXES
        files += sorted(file for file in home.rglob("*") if file.name.lower().endswith(suffixes))
    # The labels may lie inside an archive.
    archive = Path(split_archive_place(place)[0])
    if (data.labels or data.reader in LABEL_SUFFIXES) and archive.is_file():
        files.append(archive)
    return [state for file in files if (state := portable_file_state(file))]
