"""Where a recipe's source lies on disk."""

from importlib.util import find_spec
from pathlib import Path

from featx.errors import DataError, MissingExtraError
from featx.specs import ReaderSpec

EXTRA_OF = {"elpv_dataset": "demo"}


def source_place(source: str, folder: Path) -> Path:
    """Return where `source` lies, or lay: it need not be there any more.

    Parameters
    ----------
    source
        A path, relative to `folder`, or ``package:NAME/FOLDER`` inside an installed Python package.

    Raises
    ------
    MissingExtraError
        the package is not installed; names the extra that brings it.
    """
    return _in_package(source.removeprefix("package:")) if source.startswith("package:") else folder / source


def source_path(source: str, folder: Path) -> Path:
    """Return the folder that `source` means; parameters and errors are those of `source_place`.

    Raises
    ------
    DataError
        there is nothing at that path.
    """
    found = source_place(source, folder)
    if not found.exists():
        raise DataError(f"data.source: nothing lies at {str(found)!r}; expected a folder of images")
    return found


def _in_package(place: str) -> Path:
    package, _, inside = place.partition("/")
    try:
        spec = find_spec(package)
    except ModuleNotFoundError:  # of what stands before a dot in `package`
        spec = None
    if spec is None or not spec.submodule_search_locations:
        extra = EXTRA_OF.get(package)
        how = f'pip install "featx[{extra}]"' if extra else "install it with pip"
        raise MissingExtraError(f"data.source: no Python package {package!r} is installed; {how}")
    return Path(spec.submodule_search_locations[0]) / inside


def labels_path(data: ReaderSpec, folder: Path) -> Path:
    """Return the label file of a source that has one.

    Raises
    ------
    DataError
        there is no such file.
    """
    assert data.labels is not None
    found = source_path(data.source, folder) / data.labels.file
    if not found.is_file():
        raise DataError(f"data.labels.file: nothing lies at {str(found)!r}; expected a CSV, TSV or Parquet file")
    return found
