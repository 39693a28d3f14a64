"""HDF5 files opened without loading them: no link is followed, and missing filters are named."""

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from featx.errors import ReadError

CHUNK_CACHE_BYTES = 64 << 20
# Number of datasets of one file that stay open.
MAX_OPEN_DATASETS = 64
# Text of HDF5's own error for a file that another program holds.
LOCKED_TEXTS = ("unable to lock file", "already open for write")
# Compression filters outside HDF5 itself, by their registered number.
FILTERS = {
    307: "bzip2",
    32000: "lzf",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32013: "zfp",
    32015: "zstd",
    32017: "sz",
    32024: "sz3",
    32026: "blosc2",
    32028: "sperr",
}


class Hdf5Datasets(Mapping[str, Any]):
    """The datasets of an HDF5 file by name, opened when they are used; scalars and links are left out.

    Parameters
    ----------
    path
        Path of the file.

    Attributes
    ----------
    skipped
        Reason by name of the datasets whose type is not read; filled when the names are listed.
    """

    def __init__(self, path: str) -> None:
        import h5py

        try:
            self.file = h5py.File(path, "r", rdcc_nbytes=CHUNK_CACHE_BYTES)
        except OSError as error:
            if any(text in str(error) for text in LOCKED_TEXTS):
                raise ReadError(
                    f"{path} is open for writing in another program, or was not closed by it; close it there and run "
                    "the command again"
                ) from error
            raise
        self.skipped: dict[str, str] = {}
        self._names: list[str] | None = None
        self._open: dict[str, Any] = {}

    def _list_names(self) -> list[str]:
        import h5py

        if self._names is None:
            names: list[str] = []

            def add_name(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset) and item.shape:
                    try:
                        item.dtype  # noqa: B018 (its type may have no equivalent in numpy)
                        names.append(name)
                    except (TypeError, ValueError, OSError, RuntimeError) as error:
                        self.skipped[name] = f"has a type that is not read: {error}"

            try:
                self.file.visititems(add_name)
            except (RuntimeError, OSError, ValueError, KeyError) as error:
                path = self.file.filename
                raise ReadError(f"{path} cannot be read as arrays, it may be truncated: {error}") from error
            self._names = names
        return self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._list_names())

    def __len__(self) -> int:
        return len(self._list_names())

    def __getitem__(self, name: str) -> Any:
        dataset = self._open.get(name)
        if dataset is None:
            dataset = self._find(name)
            if len(self._open) >= MAX_OPEN_DATASETS:
                self._open.clear()
            self._open[name] = dataset
        return dataset

    def __contains__(self, name: object) -> bool:
        try:
            self[str(name)]
        except KeyError:
            return False
        return True

    def value(self, name: str) -> Any:
        """Return the value of a dataset with one element, which may be a scalar; None if there is no such dataset."""
        try:
            dataset = self._find(name, is_scalar_allowed=True)
        except KeyError:
            return None
        return dataset[()] if dataset.size == 1 and not dataset.external and not dataset.is_virtual else None

    def _find(self, name: str, is_scalar_allowed: bool = False) -> Any:
        import h5py

        item = self.file
        for part in name.split("/"):
            is_link = not part or not isinstance(item, h5py.Group) or part not in item
            if is_link or not isinstance(item.get(part, getlink=True), h5py.HardLink):
                raise KeyError(name)
            item = item[part]
        if not isinstance(item, h5py.Dataset) or not (item.shape or (is_scalar_allowed and item.shape == ())):
            raise KeyError(name)
        return item


def check_values_inside(place: str, dataset: Any) -> None:
    """Check that the values of a dataset are in its own file: neither external storage nor a virtual dataset.

    Parameters
    ----------
    place
        File and name of the dataset, for errors.
    dataset
        The dataset; arrays of other formats are always in their own file.

    Raises
    ------
    ReadError
        they are in other files.
    """
    if files := find_external_files(dataset):
        raise ReadError(
            f"{place} takes its values from other files, first {files[0]!r}; copy them into the file, or set "
            "'external = true' in [data] if you trust its author"
        )


def find_external_files(dataset: Any) -> list[str]:
    """Return the files that a dataset takes its values from, other than its own; none for arrays of other formats."""
    if not hasattr(dataset, "id"):
        return []
    names = [os.fsdecode(entry[0]) for entry in dataset.external or ()]
    if dataset.is_virtual:
        names += [source.file_name for source in dataset.virtual_sources()]
    return [name for name in dict.fromkeys(names) if name not in {".", dataset.file.filename}]


def check_filters(place: str, dataset: Any) -> None:
    """Check that the compression of a dataset can be read.

    Parameters
    ----------
    place
        File and name of the dataset, for errors.
    dataset
        The dataset; arrays of other formats have no filters.

    Raises
    ------
    ReadError
        it is compressed by a filter that is not installed.
    """
    if not hasattr(dataset, "id") or not (missing_filter := _find_missing_filter(dataset)):
        return
    next_step = (
        "which the package hdf5plugin does not have; write the file again with gzip"
        if find_spec("hdf5plugin")
        else 'which needs an extra: pip install "featx[hdf5plugin]"'
    )
    raise ReadError(f"{place} is compressed with {missing_filter}, {next_step}")


def _find_missing_filter(dataset: Any) -> str:
    """Return the name of the first filter of a dataset that this installation of HDF5 does not have, or ``""``."""
    import h5py

    settings = dataset.id.get_create_plist()
    numbers = [settings.get_filter(position)[0] for position in range(settings.get_nfilters())]
    for number in numbers:
        if not h5py.h5z.filter_avail(number) and not _load_filter(number):
            return FILTERS.get(number, f"HDF5 filter {number}")
    return ""


def _load_filter(number: int) -> bool:
    """Whether the package hdf5plugin is installed and has a filter."""
    import h5py

    if find_spec("hdf5plugin") is None:
        return False
    # The import registers the filters.
    import hdf5plugin  # noqa: F401

    return bool(h5py.h5z.filter_avail(number))
