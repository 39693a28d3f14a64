"""Specs of the places where images and labels are."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from featx.registry import READERS
from featx.specs.base import Spec, check_registered


class LabelsSpec(Spec):
    """A table of labels with one row per image.

    Attributes
    ----------
    file
        CSV, TSV or Parquet file, relative to the source; for an archive, inside it or beside it.
    columns
        Column names of a text table without a header line.
    separator
        Separator between the columns of a text table; detected by default.
    path
        Name of the column with the images' paths.
    root
        Folder or archive that these paths are relative to; itself relative to the source.
    """

    file: str
    columns: tuple[str, ...] | None = None
    separator: Literal["comma", "tab", "semicolon", "whitespace"] | None = None
    path: str = "path"
    root: str = "."

    @field_validator("columns")
    @classmethod
    def _check_columns_are_unique(cls, columns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if columns is not None and len(set(columns)) < len(columns):
            raise ValueError(f"expected different names, found {list(columns)!r}")
        return columns


class ArraySpec(Spec):
    """One dataset of images with its labels, in array files.

    Attributes
    ----------
    images
        ``FILE`` or ``FILE#DATASET``; files are relative to the source, or to its folder if the source is a file.
    labels
        Label column → ``FILE`` or ``FILE#DATASET`` of an array with one row per image.
    split
        Part that all its images belong to; becomes the value of the column ``split``.
    row_axis
        Axis that counts the images: ``first``, or ``last`` as in MATLAB files, (h, w, channels, n).
    """

    images: str
    labels: dict[str, str] = Field(default_factory=dict)
    split: str | None = None
    row_axis: Literal["first", "last"] = "first"


class ReaderSpec(Spec):
    """The source of images and labels, and the reader for it.

    Attributes
    ----------
    source
        A folder, an archive, ``ARCHIVE!FOLDER`` inside it, or an array file, relative to the recipe;
        ``package:NAME/FOLDER`` inside an installed Python package; or a URL such as ``s3://bucket/prefix``.
    labels
        Table that names the images; without it, images are in one sub-folder per class.
    arrays
        Datasets of array files.
    reader
        Name registered in ``featx.readers``; by default ``table`` with `labels`, ``arrays`` with `arrays`, otherwise
        ``folder``.
    drop_unlabelled
        Whether images without a label are left out; by default they are an error.
    external
        Whether HDF5 datasets whose values are in other files (external storage, virtual datasets) are read. The author
        of such a file chooses which files of this machine are read, and their content reaches reports.
    """

    added_later: ClassVar[Mapping[str, object]] = {"arrays": [], "drop_unlabelled": False, "external": False}

    source: str
    labels: LabelsSpec | None = None
    arrays: tuple[ArraySpec, ...] = ()
    reader: str | None = None
    drop_unlabelled: bool = False
    external: bool = False

    @field_validator("reader")
    @classmethod
    def _check_reader(cls, name: str | None) -> str | None:
        return None if name is None else check_registered(READERS, name)

    @property
    def reader_name(self) -> str:
        """Name of the reader: the given one, or the one that fits the other fields."""
        return self.reader or ("table" if self.labels else "arrays" if self.arrays else "folder")
