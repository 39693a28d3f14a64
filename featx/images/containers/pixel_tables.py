"""CSV files whose rows are the pixels of images: one column of numbers separated by spaces, or one column per pixel."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.errors import DataError, ReadError
from featx.files.atomic import file_state
from featx.images.contents import check_size, file_uri
from featx.images.names import find_part, part_of, split_words
from featx.images.readers import Listing, list_files, list_other_files
from featx.images.split_columns import join_labels
from featx.images.trees import Entry
from featx.locations import resolve_source
from featx.specs.data import ReaderSpec

CSV_SUFFIX = ".csv"
# Columns of single pixels: pixel0, pixel_0, 1x1 (row × column).
PIXEL_COLUMN = re.compile(rb"(pixel_?\d+|\d+x\d+)", re.IGNORECASE)
PIXELS_COLUMN = re.compile(rb"pixels?", re.IGNORECASE)
# A cell with quotes, in which two quotes stand for one, or a cell without; then the separator.
CELL = re.compile(rb'(?:"((?:[^"]|"")*)"|([^,]*))(,|$)')
WHOLE_NUMBER = re.compile(r"[+-]?(0|[1-9]\d{0,17})")
NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d*)?([eE][+-]?\d+)?")
# Pixels of the smallest picture, 8 × 8.
MIN_PIXELS = 64
MAX_LINE_BYTES = 64 << 20
UTF8_MARK = b"\xef\xbb\xbf"
MAX_PIXEL_VALUE = 255


@dataclass(frozen=True)
class PixelLayout:
    """The columns of a CSV file that hold the pixels of each row.

    Attributes
    ----------
    n_columns
        Number of columns.
    first, last
        Numbers of the first and the last column of pixels; equal if one cell holds all pixels.
    shape
        Shape of each image, (h, w) or (h, w, 3).
    names
        Name by number of the other columns.
    """

    n_columns: int
    first: int
    last: int
    shape: tuple[int, ...]
    names: dict[int, str]


class PixelTableReader:
    """Reads rows of CSV files as images; the columns beside the pixels are the labels."""

    rank = 5

    def recognise(self, source: str, labels: str | None, target: str | None = None) -> ReaderSpec | None:
        """Return how to read the source if its CSV files hold pixels, otherwise None."""
        if labels is not None:
            return None
        layouts = [find_layout(file) for file in list_files(Path(source), (CSV_SUFFIX,))]
        return ReaderSpec(source=source, reader="pixels") if any(layouts) else None

    def read(self, data: ReaderSpec, folder: Path) -> Listing:
        """Return all rows of the CSV files with their labels; the pixels are not parsed."""
        source = Path(resolve_source(data.source, folder))
        if not source.exists():
            raise DataError(f"data.source: {data.source!r} does not exist; expected CSV files with pixels")
        entries: list[Entry] = []
        frames: list[pd.DataFrame] = []
        rules: dict[str, str] = {}
        for file in list_files(source, (CSV_SUFFIX,)):
            layout = find_layout(file)
            if layout is None or not layout.names:
                rules[file.name] = "is a table without labels" if layout else "is a table without pixels"
                continue
            rows, frame = _list_rows(file, layout)
            entries += rows
            frames.append(frame)
        rules |= list_other_files(source, (CSV_SUFFIX,))
        return Listing.from_entries(entries, join_labels(frames), rules).with_complete_split()


def read_pixels(location: str) -> NDArray[np.uint8]:
    """Return the image in ``/path/to/file.csv//FIRST-LAST/HxW/OFFSET+LENGTH``.

    FIRST and LAST are the columns of pixels, OFFSET and LENGTH are the place of the row's line in bytes. Errors are
    those of `featx.images.sources.read_content`.
    """
    path, _, row_path = location.partition("//")
    columns, shape_text, place = row_path.split("/")
    first_column, last_column = map(int, columns.split("-"))
    shape = tuple(map(int, shape_text.split("x")))
    offset, n_bytes = map(int, place.split("+"))
    check_size(n_bytes)
    try:
        with Path(path).open("rb") as stream:
            stream.seek(offset)
            line = stream.read(n_bytes)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ReadError(error.strerror or str(error)) from error
    cells = _split_line(line)
    pixels = cells[first_column].split() if first_column == last_column else cells[first_column : last_column + 1]
    try:
        values = np.array([int(cell) for cell in pixels])
    except (ValueError, IndexError) as error:
        raise ReadError(f"holds a pixel that is no whole number: {error}") from error
    if len(values) != math.prod(shape):
        raise ReadError(f"has {len(values)} pixels, expected {' × '.join(map(str, shape))}")
    if values.min() < 0 or values.max() > MAX_PIXEL_VALUE:
        raise ReadError(f"has pixels from {values.min()} to {values.max()}, expected 0 to {MAX_PIXEL_VALUE}")
    return values.astype(np.uint8).reshape(shape)


def find_layout(file: Path) -> PixelLayout | None:
    """Return where the pixels are in a CSV file, judged by its first two lines; None if it holds no pixels.

    Raises
    ------
    DataError
        it holds pixels, but their number fits no picture.
    """
    try:
        lines = [line for _, line in islice(_iterate_lines(file), 2)]
    except OSError:
        return None
    header, row = (_split_line(line) for line in [*lines, b"", b""][:2])
    header = [name.removeprefix(UTF8_MARK).strip() for name in header]
    pixel_columns = [number for number, name in enumerate(header) if PIXEL_COLUMN.fullmatch(name)]
    joined_columns = [
        number for number, name in enumerate(header) if PIXELS_COLUMN.fullmatch(name) and number < len(row)
    ]
    if len(pixel_columns) >= MIN_PIXELS and pixel_columns[-1] - pixel_columns[0] == len(pixel_columns) - 1:
        first_column, last_column, n_pixels = pixel_columns[0], pixel_columns[-1], len(pixel_columns)
    elif len(joined_columns) == 1 and len(row[joined_columns[0]].split()) >= MIN_PIXELS:
        first_column = last_column = joined_columns[0]
        n_pixels = len(row[first_column].split())
    else:
        return None
    names = {
        number: name.decode("utf-8", "backslashreplace")
        for number, name in enumerate(header)
        # A column without a name is the row number that pandas writes.
        if not first_column <= number <= last_column and name
    }
    return PixelLayout(len(header), first_column, last_column, _find_shape(n_pixels, file), names)


def _find_shape(n_pixels: int, file: Path) -> tuple[int, ...]:
    """Return the shape of a square picture, grey or, if the file's name says RGB, with three channels last.

    Raises
    ------
    DataError
        there is no such picture.
    """
    side = math.isqrt(n_pixels)
    if side * side == n_pixels:
        return side, side
    side = math.isqrt(n_pixels // 3)
    if 3 * side * side == n_pixels and "rgb" in split_words(file.stem):
        return side, side, 3
    raise DataError(
        f"{file} holds {n_pixels} pixels in each row; expected a square picture, or three channels with 'RGB' in the "
        "name of the file; write other pictures as an array, for example with numpy.savez"
    )


def _split_line(line: bytes) -> list[bytes]:
    """Return the cells of a line of a CSV file.

    Examples
    --------
    >>> _split_line(b'3,"70 80",,"a ""b"", c"')
    [b'3', b'70 80', b'', b'a "b", c']
    """
    if b'"' not in line:
        return line.split(b",")
    cells, position = [], 0
    while match := CELL.match(line, position):
        cells.append(match[2] if match[1] is None else match[1].replace(b'""', b'"'))
        position = match.end()
        if not match[3]:
            break
    return cells


def _iterate_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the offset and the content of each line that is not empty; the first one is the header."""
    with file.open("rb") as stream:
        offset = 0
        while line := stream.readline(MAX_LINE_BYTES):
            content = line.rstrip(b"\r\n")
            if content.removeprefix(UTF8_MARK).strip():
                yield offset, content
            offset += len(line)


def _list_rows(file: Path, layout: PixelLayout) -> tuple[list[Entry], pd.DataFrame]:
    """Return the rows of a CSV file as images, and their labels.

    Raises
    ------
    DataError
        a line has another number of cells than the header.
    """
    state = file_state(file)
    shape = "x".join(map(str, layout.shape))
    uri = f"pixels:{file_uri(str(file.absolute()))}//{layout.first}-{layout.last}/{shape}/"
    entries: list[Entry] = []
    cells_by_column: dict[int, list[str]] = {number: [] for number in layout.names}
    for offset, line in islice(_iterate_lines(file), 1, None):
        cells = _split_line(line)
        if len(cells) != layout.n_columns:
            raise DataError(
                f"{file}: row {len(entries) + 1} has {len(cells)} cells, the header has {layout.n_columns}; expected "
                "one line per image, separated by commas"
            )
        for number, values in cells_by_column.items():
            values.append(cells[number].decode("utf-8", "backslashreplace").strip())
        name = f"{file.name}#{len(entries)}"
        entries.append(Entry(name, f"{uri}{offset}+{len(line)}", state[1:] if state else None))
    columns = {name: _to_column(cells_by_column[number]) for number, name in layout.names.items()}
    return entries, _add_parts(pd.DataFrame(columns, index=range(len(entries))), file)


def _to_column(texts: Sequence[str]) -> NDArray[np.generic]:
    """Return cells as numbers if all are written as numbers (``007`` is not), otherwise as text."""
    if texts and all(map(WHOLE_NUMBER.fullmatch, texts)):
        return np.array([int(text) for text in texts], dtype=object).astype(np.int64, casting="unsafe")
    if any(texts) and all(not text or NUMBER.fullmatch(text) for text in texts):
        return np.array([float(text) if text else math.nan for text in texts])
    return np.array([text or None for text in texts], dtype=object)


def _add_parts(frame: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Return the labels with a column ``split``: from a column of parts, such as ``Usage``, or from the file's name."""
    for name in frame.columns:
        if frame[name].dtype == object or frame[name].dtype.kind not in "iuf":
            parts = [None if value is None else part_of(str(value)) for value in frame[name]]
            words = {part for part, is_gap in zip(parts, frame[name].isna(), strict=True) if not is_gap}
            if None not in words and "train" in words and (len(words) > 1 or None not in parts):
                return frame.drop(columns=name).assign(split=np.array(parts, dtype=object))
    part = find_part(file.name)
    return frame.assign(split=part) if part and "split" not in frame else frame
