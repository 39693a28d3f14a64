"""Where images and labels are, written down."""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from featx.registry import READERS
from featx.specs.base import Spec, known_name


class LabelsSpec(Spec):
    """A table with one row an image.

    Attributes
    ----------
    file
        CSV, TSV or Parquet; relative to the source; where that is an archive, inside it or beside it.
    columns
        Names of the columns of a text table without a header line.
    separator
        Between the columns of a text table; found by looking where it is not said.
    path
        The column with the images' paths.
    root
        The folder or archive that these paths start from; relative to the source.
    """

    file: str
    columns: tuple[str, ...] | None = None
    separator: Literal["comma", "tab", "semicolon", "whitespace"] | None = None
    path: str = "path"
    root: str = "."

    @field_validator("columns")
    @classmethod
    def _columns_differ(cls, columns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if columns is not None and len(set(columns)) < len(columns):
            raise ValueError(f"expected different names, found {list(columns)!r}")
        return columns


class ArraySpec(Spec):
    """One dataset of images with its labels, in array files.

    Attributes
    ----------
    images
        ``FILE`` or ``FILE#DATASET``; files are relative to the source, or to its folder where it is a file.
    labels
        Column → the same for a dataset with as many rows.
    split
        The part that all its images belong to: the value of the column ``split``.
    """

    images: str
    labels: dict[str, str] = Field(default_factory=dict)
    split: str | None = None


class ReaderSpec(Spec):
    """Where the images and their labels are.

    Attributes
    ----------
    source
        A folder, an archive, ``ARCHIVE!FOLDER`` inside it, or an array file, relative to the recipe;
        ``package:NAME/FOLDER`` inside an installed Python package; or a URL such as ``s3://bucket/prefix``.
    labels
        The table that names the images; without it, images stand in one sub-folder a class.
    arrays
        The datasets of array files.
    reader
        A name of ``featx.readers``; by default ``table`` where there are labels, ``arrays`` where there are arrays,
        and ``folder`` elsewhere.
    drop_unlabelled
        Leave out images that lack a label instead of stopping at them.
    external
        Read HDF5 datasets whose values lie in other files (external storage, virtual datasets). Whoever made such a
        file chooses which files of this machine are read, and their content reaches reports.
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
    def _reader_is_known(cls, name: str | None) -> str | None:
        return None if name is None else known_name(READERS, name)

    @property
    def reader_name(self) -> str:
        """The reader asked for, or the one that fits."""
        return self.reader or ("table" if self.labels else "arrays" if self.arrays else "folder")
