"""Sources that are recognised but not read: each gets one line with the way to a source that can be read."""

import re
from collections.abc import Iterator
from pathlib import Path

from featx.errors import DataError, ReadError
from featx.images.array_files import is_array_file, open_datasets, skipped_datasets
from featx.images.containers.array_labels import array_shape
from featx.images.names import base_name, file_suffix, is_archive_name, is_image_name
from featx.images.sources import is_tree, open_tree
from featx.locations import split_archive_place

OTHER_ARCHIVES = {".7z": "7z", ".rar": "RAR", ".lzma": "LZMA", ".zst": "Zstandard", ".cab": "CAB"}
PICKLE_SUFFIXES = (".pkl", ".pickle", ".pck", ".p", ".joblib", ".pt", ".pth")
CIFAR_PICKLE = re.compile(r"data_batch_\d|test_batch|batches\.meta|cifar-10-batches-py")
# Pickles of protocol 2 or later begin with this byte.
PICKLE_MARK = b"\x80"
CONTAINER_SUFFIXES = (".h5", ".hdf5", ".npz", ".npy", ".mat", ".parquet", ".csv", ".bin")
PACKED_CONTAINER = re.compile(r"\.(h5|hdf5|mat|npz|npy|csv|parquet|dcm)\.(gz|bz2|xz)$", re.IGNORECASE)
MAX_NAMED_DATASETS = 5


def refuse_known_formats(source: str) -> None:
    """Check that a source that no reader recognises is not of a format that is known and not read.

    Parameters
    ----------
    source
        A folder, an archive or a file.

    Raises
    ------
    DataError
        it is; the message says how to convert it.
    """
    path = Path(split_archive_place(source)[0])
    files = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
    # Where there are images, their labels are missing, and other files do not explain that.
    if any(is_image_name(file.name) for file in files):
        return
    for file in files:
        if file.is_file() and (reason := _explain_file(file)):
            raise DataError(f"{file} {reason}")
    if path.is_file() and is_archive_name(path.name) and is_tree(source):
        names = [entry.name for entry in open_tree(source).entries()]
        for name in [] if any(map(is_image_name, names)) else names:
            if reason := _explain_member(name):
                raise DataError(f"{path} holds {name!r}, which {reason}")


def _explain_file(file: Path) -> str:
    """Return why a file is not read, with the next step; empty if its format is not one of those known here."""
    suffix = file_suffix(file.name)
    if suffix in OTHER_ARCHIVES:
        return (
            f"is a {OTHER_ARCHIVES[suffix]} archive, which is not read; unpack it and pass the folder, or pack it "
            "again as zip or tar"
        )
    if PACKED_CONTAINER.search(file.name):
        return f"is compressed; unpack it, for example with 'gzip -dk {file.name}', and pass the unpacked file"
    is_pickle_name = suffix in PICKLE_SUFFIXES or CIFAR_PICKLE.fullmatch(file.name)
    if is_pickle_name and _read_first_byte(file) == PICKLE_MARK:
        return _explain_pickle(file.name)
    return "; ".join(_explain_arrays(file)) if is_array_file(file.name) else ""


def _explain_member(name: str) -> str:
    """Return why a member of an archive is not read; empty if nothing is known."""
    suffix = file_suffix(name)
    if CIFAR_PICKLE.fullmatch(base_name(name)) or suffix in PICKLE_SUFFIXES:
        return _explain_pickle(base_name(name))
    if suffix in CONTAINER_SUFFIXES:
        return "is read from a disk only; unpack the archive and pass the folder"
    return ""


def _read_first_byte(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(1)
    except OSError:
        return b""


def _explain_pickle(name: str) -> str:
    if CIFAR_PICKLE.fullmatch(name):
        return (
            "is a Python pickle of CIFAR-10, which is never loaded because a pickle can run any program; use the "
            "binary version (cifar-10-binary.tar.gz, unpacked), or write the images into class folders with torchvision"
        )
    return (
        "may be a Python pickle, which is never loaded because it can run any program; save the arrays with "
        "numpy.savez(FILE, images=…, labels=…)"
    )


def _explain_arrays(file: Path) -> Iterator[str]:
    """Yield one reason: the arrays that an array file holds, and what was expected of them."""
    try:
        datasets, skipped_reasons = open_datasets(file), skipped_datasets(file)
    except ReadError as error:
        yield str(error).removeprefix(f"{file} ")
        return
    arrays = [f"{name!r} {array_shape(datasets[name])}" for name in list(datasets)[:MAX_NAMED_DATASETS]]
    arrays += [
        f"{name!r} {reason.partition(',')[0]}" for name, reason in list(skipped_reasons.items())[:MAX_NAMED_DATASETS]
    ]
    n_more = len(datasets) + len(skipped_reasons) - len(arrays)
    arrays += [f"{n_more} more"] if n_more else []
    yield (
        f"holds no images with labels: found {', '.join(arrays) or 'no arrays'}; expected images (n, h, w) or "
        "(n, h, w, channels) and labels with n rows; name them under [[data.arrays]] if they are in several files"
    )
