"""Layout of tables in the terminal: which columns fit, how wide they are, and where their texts are broken."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len

from featx.cli.text import longest_piece, wrap_cells
from featx.text.sanitising import sanitise_text, sanitise_value

# Number of characters between two columns of a table.
COLUMN_GAP = 2
# Cells that a column of texts gets at least, if it has so much text, and at most, before other columns are hidden.
MIN_TEXT_CELLS, MAX_PIECE_CELLS = 16, 30
MISSING_CELLS = frozenset({"–", ""})
# Beginnings of first columns that mark a row or indent it; further lines of the row are indented by as much, and more.
ROW_MARKS = ("* ", "  ")


@dataclass(frozen=True)
class Column:
    """Column of a table.

    Attributes
    ----------
    name
        Heading.
    rank
        Importance: columns of higher rank are hidden first; None for the position among the columns.
    is_text
        Whether the values are texts, which are left-aligned and may take several lines.
    """

    name: str
    rank: int | None = None
    is_text: bool = False


@dataclass(frozen=True)
class TableCells:
    """Texts of a table, without control characters and secrets.

    Attributes
    ----------
    columns
        The columns, the first of which names the rows.
    rows
        The text of each cell.
    """

    columns: tuple[Column, ...]
    rows: list[list[str]]

    @classmethod
    def of(cls, columns: Sequence[str | Column], rows: Sequence[Sequence[str]]) -> "TableCells":
        """Return the cells of the columns that have a value in some row."""
        safe_columns = [
            replace(item, name=sanitise_text(item.name)) if isinstance(item, Column) else Column(sanitise_text(item))
            for item in columns
        ]
        ranked_columns = [
            replace(item, rank=number if item.rank is None else item.rank) for number, item in enumerate(safe_columns)
        ]
        filled_indices = [
            i for i in range(len(ranked_columns)) if not i or any(row[i] not in MISSING_CELLS for row in rows)
        ]
        first_column, *next_columns = [ranked_columns[i] for i in filled_indices]
        texts = [[sanitise_value(row[i]) for i in filled_indices] for row in rows]
        return cls((replace(first_column, is_text=True), *next_columns), texts)

    def natural_width(self, index: int) -> int:
        """Return the number of cells of a column whose texts each take one line."""
        return max(map(cell_len, (self.columns[index].name, *(row[index] for row in self.rows))))

    def least_width(self, index: int, available_width: int) -> int:
        """Return the number of cells of a column whose heading, and texts if it has any, take several lines.

        The names of the rows, which one may want to type, are broken only if they take half of the available width.
        """
        column, values = self.columns[index], [row[index] for row in self.rows]
        heading = max(map(cell_len, column.name.split(" ")))
        if not column.is_text:
            return max([heading, 1, *map(cell_len, values)])
        if not index:
            return max(heading, min(max([1, *map(cell_len, values)]), available_width // 2))
        longest = max([1, *map(longest_piece, values)])
        return max(heading, min(max(longest, MIN_TEXT_CELLS), MAX_PIECE_CELLS, self.natural_width(index)))


@dataclass(frozen=True)
class TablePart:
    """Columns that are printed side by side.

    Attributes
    ----------
    columns
        Positions of the columns.
    widths
        Number of cells of each.
    """

    columns: tuple[int, ...]
    widths: tuple[int, ...]


def choose_columns(cells: TableCells, available_width: int) -> TablePart:
    """Return the columns that fit into `available_width` cells: the first one, and the others by rank."""
    order = sorted(range(1, len(cells.columns)), key=lambda index: (cells.columns[index].rank or 0, index))
    indices = [0]
    for index in order:
        total_width = sum(cells.least_width(i, available_width) for i in (*indices, index)) + COLUMN_GAP * len(indices)
        if total_width <= available_width:
            indices.append(index)
    if len(indices) == 1 and order:
        # Even the two most important columns are too wide: their texts are broken wherever it is necessary.
        indices.append(order[0])
    return _part(cells, sorted(indices), available_width)


def all_columns(cells: TableCells, available_width: int) -> list[TablePart]:
    """Return all columns in as many parts as fit the available width; each part begins with the first column."""
    groups = [[0]]
    for index in range(1, len(cells.columns)):
        gaps_width = COLUMN_GAP * len(groups[-1])
        total_width = sum(cells.least_width(i, available_width) for i in (*groups[-1], index)) + gaps_width
        if len(groups[-1]) > 1 and total_width > available_width:
            groups.append([0])
        groups[-1].append(index)
    return [_part(cells, group, available_width) for group in groups]


def _part(cells: TableCells, indices: Sequence[int], available_width: int) -> TablePart:
    """Return columns with their widths: that of the names and those of headings grow first up to what they need."""
    widths = {index: cells.least_width(index, available_width) for index in indices}
    gaps = COLUMN_GAP * (len(indices) - 1)
    remaining_width = available_width - gaps - sum(widths.values())
    if remaining_width < 0:
        widths = _shrink(widths, available_width - gaps)
    for index in sorted(indices, key=lambda index: index > 0 and cells.columns[index].is_text):
        added_width = min(cells.natural_width(index) - widths[index], max(remaining_width, 0))
        widths[index] += max(added_width, 0)
        remaining_width -= max(added_width, 0)
    return TablePart(tuple(indices), tuple(widths[index] for index in indices))


def _shrink(widths: dict[int, int], available_width: int) -> dict[int, int]:
    """Return widths whose sum is at most the available width, the widest columns made narrower; each keeps a cell."""
    share = available_width
    while share > 1 and sum(min(width, share) for width in widths.values()) > available_width:
        share -= 1
    return {index: min(width, share) for index, width in widths.items()}


def draw(cells: TableCells, part: TablePart) -> Iterator[tuple[bool, str]]:
    """Yield the lines of a part of a table, each with whether it is of the headings."""
    headings = [column.name for column in cells.columns]
    for number, row in enumerate([headings, *cells.rows]):
        columns = []
        for index, width in zip(part.columns, part.widths, strict=True):
            lines = wrap_cells(row[index], width, _indent(row[index], width) if not index and number else "")
            columns.append([_padded(line, width, cells.columns[index].is_text) for line in lines])
        for line in range(max(map(len, columns))):
            texts = [
                lines[line] if line < len(lines) else " " * width
                for lines, width in zip(columns, part.widths, strict=True)
            ]
            yield not number, (" " * COLUMN_GAP).join(texts).rstrip()


def _indent(text: str, width: int) -> str:
    """Return the beginning of the further lines of a row's name."""
    mark = next((mark for mark in ROW_MARKS if text.startswith(mark)), "")
    return " " * (len(mark) + 2) if width > MIN_TEXT_CELLS else ""


def _padded(text: str, width: int, is_text: bool) -> str:
    padding = " " * (width - cell_len(text))
    return text + padding if is_text else padding + text
