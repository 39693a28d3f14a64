"""Where a recipe's source lies."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from featx.errors import DataError, MissingExtraError
from featx.files.atomic import file_state
from featx.specs.data import ReaderSpec

EXTRA_OF = {"elpv_dataset": "demo", "s3": "s3", "s3a": "s3"}  # of packages and of kinds of object stores
ANNOTATION_SUFFIXES = (".npy", ".txt", ".json", ".cls")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def is_url(place: str) -> bool:
    """Whether a place is an object store's and no path.

    Examples
    --------
    >>> is_url("s3://bucket/photos"), is_url("/home/a://b.png")
    (True, False)
    """
    return bool(URL.match(place))


def filesystem_at(url: str, setting: str, **options: Any) -> tuple[Any, str]:
    """Return the file system of a URL, and the key that it means there.

    Parameters
    ----------
    setting
        That names the URL, for errors.
    options
        Of the file system.

    Raises
    ------
    MissingExtraError
        the package that speaks to this kind of store is not installed; names the extra that brings it.
    DataError
        there is no such kind of store.
    """
    import fsspec

    protocol = url.partition("://")[0]
    try:
        filesystem, key = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        extra = EXTRA_OF.get(protocol)
        how = f'pip install "featx[{extra}]"' if extra else str(error)
        raise MissingExtraError(f"{setting}: {protocol}:// needs a package that is not installed; {how}") from error
    except ValueError as error:
        raise DataError(f"{setting}: no kind of object store is called {protocol!r} (fsspec: {error})") from error
    except Exception as error:  # every kind of store has requirements of its own, and errors of its own
        raise DataError(
            f"{setting}: {url!r} cannot be opened ({type(error).__name__}: {error}); expected the URL of an object "
            "store, for example s3://bucket/photos"
        ) from error
    return filesystem, str(key)


def source_place(source: str, folder: Path) -> str:
    """Return where `source` lies, or lay: it need not be there any more.

    Parameters
    ----------
    source
        A path, relative to `folder`; ``package:NAME/FOLDER`` inside an installed Python package, which is found by its
        top-level name and not imported; or a URL.

    Raises
    ------
    DataError
        the package's name is not that of a top-level package.
    MissingExtraError
        the package is not installed; names the extra that brings it.
    """
    if is_url(source):
        return source
    if source.startswith("package:"):
        return str(_in_package(source.removeprefix("package:")))
    return str((folder / source).absolute())


def _in_package(place: str) -> Path:
    package, _, inside = place.partition("/")
    if not package.isidentifier():  # to find what stands after a dot, Python imports what stands before it
        raise DataError(f"data.source: {package!r} is not the name of a top-level package; write 'package:NAME/FOLDER'")
    try:
        spec = find_spec(package)
    except ValueError:  # a module that was loaded without a spec, such as __main__
        spec = None
    if spec is None or not spec.submodule_search_locations:
        extra = EXTRA_OF.get(package)
        how = f'pip install "featx[{extra}]"' if extra else "install it with pip"
        raise MissingExtraError(f"data.source: no Python package {package!r} is installed; {how}")
    return Path(spec.submodule_search_locations[0]) / inside


def parted(place: str) -> tuple[str, str]:
    """Return the file or folder at a place, and what stands after its ``!``: the way inside an archive."""
    if not Path(place).exists():
        for mark in re.finditer("!", place):  # a folder's name may hold one too
            if Path(place[: mark.start()]).is_file():
                return place[: mark.start()], place[mark.end() :]
    return place, ""


def home_of(place: str) -> Path | None:
    """Return the local folder that a source's other files are named from: itself, or where its file lies."""
    if is_url(place):
        return None
    path = Path(parted(place)[0])
    return path.parent if path.is_file() else path


def source_file(path: Path, key: str) -> Path:
    """Return a file that a recipe names.

    Raises
    ------
    DataError
        there is none.
    """
    if not path.is_file():
        raise DataError(f"{key}: nothing lies at {str(path)!r}; expected a file")
    return path


def label_states(data: ReaderSpec, folder: Path) -> list[tuple[str, int, int]]:
    """Return the states of the local files that hold the labels: while they are the same, so are the labels.

    Nothing is asked of object stores.
    """
    place = source_place(data.source, folder)
    home = home_of(place) or Path()  # beside a URL only absolute paths are local
    names = [data.labels.file] if data.labels else []
    names += [place.partition("#")[0] for one in data.arrays for place in one.labels.values()]
    files = [home / name.partition("!")[0] for name in dict.fromkeys(names)]
    files = [file for file in files if not is_url(place) or file.is_absolute()]
    if data.reader == "annotations" and home.is_dir():
        files += sorted(
            file for file in home.rglob("*") if file.name.lower().endswith(ANNOTATION_SUFFIXES + ARCHIVE_SUFFIXES)
        )
    if (data.labels or data.reader == "annotations") and (
        archive := Path(parted(place)[0])
    ).is_file():  # the table may lie inside
        files.append(archive)
    return [state for file in files if (state := file_state(file))]
