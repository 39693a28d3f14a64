"""Specs of the places where images and labels are."""

import codecs
from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from featx.registry import READERS
from featx.specs.base import LabelText, Spec, check_registered


class LabelsSpec(Spec):
    """The labels of images: a table with one row per image, or a pattern of the images' names.

    Attributes
    ----------
    file
        CSV, TSV, text, Parquet, Excel, JSON or JSON-lines file, relative to the source; for an archive, inside it or
        beside it. Several files with the same columns: part → file, ``{ train = "train.csv", test = "test.csv" }``,
        which gives each image the label ``split``.
    name
        Pattern of the images' names instead of a table: ``"{age:int}_{sex}_{date}"`` for ``26_f_2017.jpg``,
        ``"{class}/{patient}/{image}"`` for folders. Each name in braces becomes a label column, of whole numbers with
        ``:int`` and of numbers with ``:float``. A pattern without ``/`` is compared with the name without its folders
        and ending, a pattern with ``/`` with the path without its ending.
    join
        Other tables with the same column of paths, whose columns are added.
    columns
        Column names of a text table without a header line.
    encoding
        Encoding of a text table; detected by default.
    separator
        Separator between the columns of a text table; detected by default.
    quote
        Quote around the cells of a text table; detected by default.
    skip_lines
        Number of lines above the header of a text table, empty ones included; detected by default.
    decimal
        Character before decimals in a text table; by default detected in each column by all its rows, where commas that
        may separate thousands leave a column as text.
    sheet
        Name of the sheet of an Excel file; by default the first one.
    text
        Columns of a text table or an Excel file whose cells stay text as they are written, such as codes: ``1.10``.
    path
        Name of the column with the images' paths.
    root
        Folder or archive that these paths are relative to; itself relative to the source. Several files may have one
        root each: part → root.
    strip_folders
        Number of folders at the beginning of each path that are left out, for paths of another machine.
    suffix
        Ending of the images' names that the paths lack, such as ``.jpg``; ``*`` for any ending of an image.
    match
        ``path``: a path leads from `root` to its image. ``end``: it is the end of its image's path below `root`, and
        of no other image's. ``number``: it is the name of its image apart from zeros in front of numbers, ``1`` for
        ``001.png``, or the only number of that name, ``1`` for ``scan_001.png``.
    """

    file: str | dict[str, str] | None = None
    name: LabelText | None = None
    join: tuple[str, ...] = ()
    columns: tuple[LabelText, ...] | None = None
    encoding: str | None = None
    separator: Literal["comma", "tab", "semicolon", "pipe", "whitespace"] | None = None
    quote: Literal["double", "single"] | None = None
    skip_lines: Annotated[int, Field(ge=0)] | None = None
    decimal: Literal["point", "comma"] | None = None
    sheet: str | None = None
    text: tuple[LabelText, ...] = ()
    path: LabelText = "path"
    root: str | dict[str, str] = "."
    strip_folders: Annotated[int, Field(ge=0)] = 0
    suffix: str = ""
    match: Literal["path", "end", "number"] = "path"

    @field_validator("columns")
    @classmethod
    def _check_columns_are_unique(cls, columns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if columns is not None and len(set(columns)) < len(columns):
            raise ValueError(f"expected different names, found {list(columns)!r}")
        return columns

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, encoding: str | None) -> str | None:
        try:
            return encoding and codecs.lookup(encoding).name
        except LookupError as error:
            raise ValueError(f"found {encoding!r}, expected an encoding such as 'utf-8' or 'cp1252'") from error

    @model_validator(mode="after")
    def _check_one_origin(self) -> "LabelsSpec":
        if (self.file is None) == (self.name is None):
            raise ValueError("expected either 'file' (a table) or 'name' (a pattern of the images' names)")
        if isinstance(self.root, dict) and (not isinstance(self.file, dict) or set(self.root) != set(self.file)):
            raise ValueError("expected the parts of 'root' to be those of 'file'")
        return self

    @property
    def tables(self) -> dict[str | None, tuple[str, str]]:
        """File and root of each table, by the part of its images; the part is None for a single table."""
        files = self.file if isinstance(self.file, dict) else {None: self.file or ""}
        return {part: (file, self.root[part] if isinstance(self.root, dict) else self.root)  # type: ignore[index]
                for part, file in files.items()}  # fmt: skip

    @property
    def files(self) -> tuple[str, ...]:
        """All files of the labels."""
        return (*(file for file, _ in self.tables.values() if file), *self.join)


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
        Table that names the images, or pattern of their names; without it, images are in one sub-folder per class.
    parts
        Lists of the images of the parts beside other labels, one for each part:
        ``{ file = { train = "train.txt", test = "test.txt" }, columns = ["path"] }``; or a table with paths and a
        column of parts. They become the label ``split``. Images in no list are train if there is no list for train,
        and are left out otherwise.
    arrays
        Datasets of array files.
    reader
        Name registered in ``featx.readers``; by default ``table`` or ``names`` with `labels`, ``arrays`` with `arrays`,
        otherwise ``folder``.
    drop_unlabelled
        Whether images without a label are left out. By default they are embedded, but there is no split, and
        ``featx fit`` refuses the recipe.
    keep
        Label column → values that are studied; images with other values, or none, are left out:
        ``{ cell = ["mono"] }``.
    sample
        Number of images of the study that are kept, drawn by a hash of their ids, so that the same images are kept
        everywhere; by default all.
    external
        Whether HDF5 datasets whose values are in other files (external storage, virtual datasets) are read. The author
        of such a file chooses which files of this machine are read, and their content reaches reports.
    """

    source: str
    labels: LabelsSpec | None = None
    parts: LabelsSpec | None = None
    arrays: tuple[ArraySpec, ...] = ()
    reader: str | None = None
    drop_unlabelled: bool = False
    keep: dict[str, Annotated[tuple[LabelText, ...], Field(min_length=1)]] = Field(default_factory=dict)
    sample: Annotated[int, Field(ge=1)] | None = None
    external: bool = False

    @field_validator("reader")
    @classmethod
    def _check_reader(cls, name: str | None) -> str | None:
        return None if name is None else check_registered(READERS, name)

    @property
    def reader_name(self) -> str:
        """Name of the reader: the given one, or the one that fits the other fields."""
        if self.labels is not None:
            return self.reader or ("table" if self.labels.name is None else "names")
        return self.reader or ("arrays" if self.arrays else "folder")

    def with_text_columns(self, columns: Collection[str]) -> "ReaderSpec":
        """Return the spec with further columns of the label table that stay text."""
        if self.labels is None or not columns:
            return self
        text = tuple(dict.fromkeys((*self.labels.text, *columns)))
        return self.model_copy(update={"labels": self.labels.model_copy(update={"text": text})})
