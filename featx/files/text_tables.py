"""Tables of text: encoding, separator, quotes and lines above the table are detected, or stated by the caller."""

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
from pyarrow import csv as arrow_csv

from featx.files.column_types import convert_columns
from featx.files.legacy_encodings import detect_legacy_encoding
from featx.files.parsing import ParseError, parse_with

SEPARATORS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|", "whitespace": " "}
# Separators in the order in which equally good ones are chosen: a comma may also be a decimal comma.
DETECTED_SEPARATORS = ("tab", "semicolon", "comma", "pipe", "whitespace")
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
# Number of bytes and of lines from which the format is detected.
SAMPLE_BYTES = 1 << 18
SAMPLE_LINES = 50
# Share of the sampled lines that must have the same number of cells.
MIN_EQUAL_WIDTHS = 0.9
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
COUNT_LINE = re.compile(r"\s*\d+\s*")
# Lines above a table without any cell; spreadsheet programs write separators into empty rows.
EMPTY_LINES = re.compile(r"\A(?:[ \t,;|]*(?:\r\n|\n|\r))+")


@dataclass(frozen=True)
class TextFormat:
    """The format of a table of text.

    Attributes
    ----------
    encoding
        Name of a codec of Python.
    separator
        A key of `SEPARATORS`.
    quote
        Character around cells that contain separators.
    skip_lines
        Number of lines above the header, or above the first row without a header: comments, a count, ``sep=;``. Empty
        lines below them are left out in any case.
    decimal
        Character before the decimals of a number; None decides by the rows of each column.
    """

    encoding: str = "utf-8"
    separator: str = "comma"
    quote: str = '"'
    skip_lines: int = 0
    decimal: str | None = None


def detect_encoding(content: bytes) -> str:
    """Return the encoding of a text: by its byte order mark, UTF-16 without a mark, UTF-8, or by its words."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if content.startswith(mark):
            return encoding
    n_zeros = content[:SAMPLE_BYTES].count(0)
    if 4 * n_zeros > len(content[:SAMPLE_BYTES]) > 0:
        return "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return detect_legacy_encoding(content)
    return "utf-8"


def detect_format(content: bytes) -> TextFormat:
    r"""Return the format of a table of text.

    Examples
    --------
    >>> detect_format(b"# made by x\nfile;age\na.png;1,5\n")
    TextFormat(encoding='utf-8', separator='semicolon', quote='"', skip_lines=1, decimal=None)
    """
    encoding = detect_encoding(content)
    sample = content[: SAMPLE_BYTES - SAMPLE_BYTES % 4].decode(encoding, errors="ignore")
    numbered_lines = [
        (number, line) for number, line in enumerate(re.split(r"\r\n|\n|\r", sample), 1) if line.strip(" \t,;|")
    ][:SAMPLE_LINES]
    lines = [line for _, line in numbered_lines]
    if len(content) > SAMPLE_BYTES and len(lines) > 1 and len(lines) < SAMPLE_LINES:
        lines = lines[:-1]
    quote = _detect_quote(lines)
    stated_separator = next(
        (name for name, text in SEPARATORS.items() if lines and _find_stated_separator(lines[0]) == text), None
    )
    n_skipped = _count_lines_above(lines, quote)
    rows = lines[n_skipped:]
    separator = stated_separator or _detect_separator(rows, quote)
    return TextFormat(encoding, separator, quote, numbered_lines[n_skipped - 1][0] if n_skipped else 0)


def _find_stated_separator(line: str) -> str | None:
    match = SEPARATOR_LINE.fullmatch(line)
    return match[1] if match else None


def _detect_quote(lines: Sequence[str]) -> str:
    text = "\n".join(lines)
    n_single = len(re.findall(r"(?:^|[,;|\t ])'[^'\n]*'(?=[,;|\t ]|$)", text, re.MULTILINE))
    return "'" if '"' not in text and n_single >= len(lines) > 0 else '"'


def _count_lines_above(lines: Sequence[str], quote: str) -> int:
    """Return the number of lines above a table: ``sep=;``, comments, or one number that counts the rows."""
    n = 0
    while n < len(lines) - 1:
        is_comment = lines[n].lstrip().startswith("#") and not _has_width_of_next(lines, n, quote)
        is_count = bool(COUNT_LINE.fullmatch(lines[n])) and len(re.split(r"[,;|\t ]+", lines[n + 1].strip())) > 1
        if not (is_comment or is_count or _find_stated_separator(lines[n])):
            break
        n += 1
    return n


def _has_width_of_next(lines: Sequence[str], n: int, quote: str) -> bool:
    """Whether a line has as many cells as the next one, so that it may be a header that begins with ``#``."""
    following_lines = [line for line in lines[n + 1 :] if not line.lstrip().startswith("#")]
    separator = _detect_separator(following_lines, quote)
    widths = [len(cells) for cells in split_cells([lines[n], *following_lines[:1]], separator, quote)]
    return len(widths) == 2 and widths[0] == widths[1] > 1


def split_cells(lines: Iterable[str], separator: str, quote: str = '"') -> list[list[str]]:
    """Return the cells of each line; runs of spaces and tabs are one separator if the separator is whitespace."""
    if separator == "whitespace":
        lines = (re.sub(r"[ \t]+", " ", line).strip() for line in lines)
    try:
        return list(csv.reader(lines, delimiter=SEPARATORS[separator], quotechar=quote, skipinitialspace=True))
    except csv.Error:
        return []


def _detect_separator(lines: Sequence[str], quote: str) -> str:
    """Return the first separator that gives the header and most rows the same number of cells, two or more.

    If there is none, a header may have one cell less than the rows: R writes no name above the names of rows.
    """
    widths = {name: [len(cells) for cells in split_cells(lines, name, quote)] for name in DETECTED_SEPARATORS}
    for n_unnamed in (0, 1):
        for separator, (header, *rows) in ((name, n_cells) for name, n_cells in widths.items() if n_cells):
            width, n = Counter(rows or [header]).most_common(1)[0]
            if width > 1 and n >= MIN_EQUAL_WIDTHS * len(rows) and header == width - n_unnamed:
                return separator
    return "comma"


def parse_text_table(
    content: bytes, text_format: TextFormat, columns: Sequence[str] | None = None, text_columns: Collection[str] = ()
) -> pd.DataFrame:
    """Return the table of a text; each column has one type (`featx.files.column_types.convert_columns`).

    Parameters
    ----------
    content
        The bytes of the text.
    text_format
        Its format.
    columns
        Names of the columns of a text without a header; by default the first line names them. A header with one name
        less than the rows have cells names all but the first column, as R writes it.
    text_columns
        Names of columns that stay text.

    Raises
    ------
    ParseError
        The text has another encoding, or rows have another number of cells than the header.
    """
    try:
        text = content.decode(text_format.encoding)
    except (UnicodeError, LookupError) as error:
        raise ParseError(f"is not text in {text_format.encoding}: {error}") from error
    lines = text.lstrip("\ufeff")
    for _ in range(text_format.skip_lines):
        lines = _drop_first_line(lines)
    lines = EMPTY_LINES.sub("", lines)
    separator = SEPARATORS[text_format.separator]
    if text_format.separator == "whitespace" or re.search(rf"{re.escape(separator)}[ \t]+{text_format.quote}", lines):
        lines, separator = _rewrite_with_tabs(lines, text_format), "\t"
    names, has_header = _read_column_names(lines, separator, text_format.quote, columns)
    if has_header:
        lines = _drop_header(lines, separator, text_format.quote)
    table = _parse_rows(lines.encode(), separator, text_format.quote, names)
    # Between separators that are commas, a cell with a comma is a list in quotes.
    decimal = text_format.decimal or ("." if text_format.separator == "comma" else None)
    frame = convert_columns(table, decimal, text_columns)
    unnamed_numbers = [number for number, name in enumerate(names, 1) if has_header and name == f"column{number}"]
    empty_columns = [f"column{number}" for number in unnamed_numbers if frame[f"column{number}"].isna().all()]
    return frame.drop(columns=empty_columns)


def _drop_first_line(text: str) -> str:
    match = re.search(r"\r\n|\n|\r", text)
    return text[match.end() :] if match else ""


def _drop_header(text: str, separator: str, quote: str) -> str:
    """Return a text without its first row, which may span several lines if a quoted name does."""
    stream = io.StringIO(text[:SAMPLE_BYTES], newline="")
    next(csv.reader(stream, delimiter=separator, quotechar=quote), None)
    return text[stream.tell() :]


def _rewrite_with_tabs(text: str, text_format: TextFormat) -> str:
    """Return a text with tabs for its separators, and without spaces around cells."""
    if text_format.separator == "whitespace" and text_format.quote not in text:
        return "\n".join(re.sub(r"[ \t]+", "\t", line.strip()) for line in re.split(r"\r\n|\n|\r", text))
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter="\t", quotechar=text_format.quote, lineterminator="\n")
    rows = re.split(r"\r\n|\n|\r", text)
    writer.writerows(cells for cells in split_cells(rows, text_format.separator, text_format.quote) if cells)
    return stream.getvalue()


def _read_column_names(
    text: str, separator: str, quote: str, columns: Sequence[str] | None
) -> tuple[tuple[str, ...], bool]:
    """Return the names of the columns, and whether the first row holds them.

    Raises
    ------
    ParseError
        The text is empty.
    """
    stream = io.StringIO(text[:SAMPLE_BYTES], newline="")
    try:
        reader = csv.reader(stream, delimiter=separator, quotechar=quote)
        rows = [cells for cells, _ in zip(reader, range(SAMPLE_LINES), strict=False) if cells]
    except csv.Error as error:
        raise ParseError(f"is not a table of text: {error}") from error
    if not rows:
        raise ParseError("is empty")
    widths = {len(cells) for cells in rows[1:]}
    if columns is not None:
        width = Counter(len(cells) for cells in rows).most_common(1)[0][0]
        if len(columns) != width:
            raise ParseError(f"has {width} columns, expected {len(columns)}: {', '.join(columns)}")
        return tuple(columns), False
    header = [cell.strip() for cell in rows[0]]
    if widths == {len(header) + 1}:
        ends_with_separator = not any(cells[-1].strip() for cells in rows[1:])
        header = [*header, ""] if ends_with_separator else ["", *header]
    return tuple(name or f"column{number}" for number, name in enumerate(header, start=1)), True


def _parse_rows(content: bytes, separator: str, quote: str, names: Sequence[str]) -> pa.Table:
    """Return the rows as text.

    Raises
    ------
    ParseError
        Rows have another number of cells than there are names, or a quote is not closed.
    """
    if not content.strip():
        return pa.table([pa.array([], pa.string())] * len(names), names=list(names))
    invalid_rows: list[tuple[int, int]] = []

    def note_invalid_row(row: arrow_csv.InvalidRow) -> str:
        invalid_rows.append((row.number or len(invalid_rows) + 1, row.actual_columns))
        return "skip"

    # Columns are numbered, because two may have the same name.
    numbers = [str(number) for number in range(len(names))]
    table = parse_with(
        "a table of text",
        lambda: arrow_csv.read_csv(
            io.BytesIO(content),
            arrow_csv.ReadOptions(column_names=numbers, use_threads=False, block_size=1 << 24),
            arrow_csv.ParseOptions(
                delimiter=separator, quote_char=quote, newlines_in_values=True, invalid_row_handler=note_invalid_row
            ),
            arrow_csv.ConvertOptions(column_types=dict.fromkeys(numbers, pa.string()), strings_can_be_null=False),
        ),
    )
    if invalid_rows:
        number, width = invalid_rows[0]
        raise ParseError(
            f"has {len(invalid_rows)} rows with another number of cells than the {len(names)} columns, first row "
            f"{number} with {width}"
        )
    if content.count(quote.encode()) % 2 and "\n" in str(table.column(len(names) - 1)[-1]):
        raise ParseError(f"is not a table of text: a quote ({quote}) is not closed")
    return table.rename_columns(list(names))
