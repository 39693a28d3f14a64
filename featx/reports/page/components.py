"""Components of pages as data: texts, lists, tables, figures and galleries; the templates turn them into HTML."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from matplotlib.figure import Figure as MatplotlibFigure

from featx.reports.page.map_encoding import atlas_columns, encode_map

TextStyle = Literal["plain", "note", "summary", "warning", "code"]
MISSING = "–"
# Number of classes up to which a confusion matrix shows shares beside counts. Columns of that width do not fit into a
# page if there are more.
MAX_WIDE_CLASSES = 12
# Width in inches from which on a figure keeps its size on a phone and can be scrolled, so that its text stays legible.
MIN_SCROLLED_WIDTH = 6.0


@dataclass(frozen=True)
class Text:
    """Paragraph.

    Attributes
    ----------
    text
        Plain text; it is escaped when the page is written.
    style
        ``plain``, ``note`` (small and grey), ``summary`` (the answer to the reader's question), ``warning``, or
        ``code``, whose lines are kept.
    """

    template: ClassVar[str] = "text.html"
    text: str
    style: TextStyle = "plain"


@dataclass(frozen=True)
class Items:
    """List of texts."""

    template: ClassVar[str] = "items.html"
    texts: Sequence[str]


@dataclass(frozen=True)
class Column:
    """Column of a table.

    Attributes
    ----------
    name
        Heading, with the unit if there is one.
    number_format
        Format of numbers, such as ``.4f``; empty for texts.
    description
        Explanation that the heading shows on demand.
    is_shown
        Whether the column is shown until the reader chooses otherwise.
    """

    name: str
    number_format: str = ""
    description: str = ""
    is_shown: bool = True

    @property
    def is_number(self) -> bool:
        """Whether values are aligned as numbers."""
        return bool(self.number_format)

    def show(self, value: Any) -> str:
        """Return a value as text; None and nan are a dash."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return MISSING
        return format(value, self.number_format) if self.is_number and not isinstance(value, str) else str(value)


@dataclass(frozen=True)
class Table:
    """Table that the reader can sort, and whose columns the reader can choose.

    Attributes
    ----------
    name
        Name that is unique on the page, and of the CSV file among the assets.
    caption
        What the rows are.
    columns
        Columns, the first of which names the row.
    rows
        Values of each row: texts, numbers, or None.
    hints
        (row, column) → text that the cell shows on demand, such as an interval.
    highlighted
        Positions of the highlighted rows.
    """

    template: ClassVar[str] = "table.html"
    name: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    hints: Mapping[tuple[int, int], str] = field(default_factory=dict)
    highlighted: frozenset[int] = frozenset()

    @property
    def hidden(self) -> list[int]:
        """Positions of the columns that are not shown at first."""
        return [position for position, column in enumerate(self.columns) if not column.is_shown]


@dataclass(frozen=True)
class Figure:
    """Figure of matplotlib.

    Attributes
    ----------
    name
        Name that is unique on the page, and of the files among the assets.
    caption
        What the figure shows and how it is read.
    description
        Alternative text.
    figure
        Figure in the style of `featx.reports.page.figure_style`.
    """

    template: ClassVar[str] = "figure.html"
    name: str
    caption: str
    description: str
    figure: MatplotlibFigure

    @property
    def is_scrolled(self) -> bool:
        """Whether the figure is scrolled on a narrow screen; a smaller figure is scaled."""
        return bool(self.figure.get_figwidth() >= MIN_SCROLLED_WIDTH)


@dataclass(frozen=True)
class Picture:
    """Small picture of one image.

    Attributes
    ----------
    uri
        JPEG, PNG or WebP as a data URI; empty if there is none.
    note
        Reason why there is no picture; empty otherwise.
    name
        Alternative text; by default the id of the image beside which the picture is.
    """

    uri: str = ""
    note: str = ""
    name: str = ""


@dataclass(frozen=True)
class GalleryItem:
    """Image of a gallery: one or several pictures with lines of text.

    Attributes
    ----------
    id
        Id of the image, which is shown, and is the alternative text of the pictures.
    pictures
        Pictures side by side.
    lines
        Texts below the id.
    tags
        Name of a filter → value of this image.
    """

    id: str
    pictures: Sequence[Picture]
    lines: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Gallery:
    """Images that the reader can filter by their tags.

    Attributes
    ----------
    name
        Name that is unique on the page.
    caption
        What the images are, and how many of all are shown.
    items
        Images in order.
    is_even
        Whether all pictures of an image have one size; otherwise, of three or more, the first one is larger.
    """

    template: ClassVar[str] = "gallery.html"
    name: str
    caption: str
    items: Sequence[GalleryItem]
    is_even: bool = False

    @property
    def filters(self) -> dict[str, list[str]]:
        """Name of each filter → its values in alphabetical order; filters with one value are left out."""
        names = dict.fromkeys(name for item in self.items for name in item.tags)
        values = {name: sorted({item.tags[name] for item in self.items if name in item.tags}) for name in names}
        return {name: choices for name, choices in values.items() if len(choices) > 1}


@dataclass(frozen=True)
class Details:
    """Components that are closed until the reader opens them."""

    template: ClassVar[str] = "details.html"
    title: str
    components: "Sequence[Component]"
    is_open: bool = False


@dataclass(frozen=True)
class ConfusionMatrix:
    """Confusion matrix whose cells lead to their images.

    Attributes
    ----------
    name
        Name that is unique on the page.
    caption
        Which predictions were counted.
    classes
        Names of the classes.
    counts
        (k, k) counts or sums of weights; row = true class, column = predicted class.
    images
        (true, predicted) → images of this cell that are shown.
    """

    template: ClassVar[str] = "confusion_matrix.html"
    name: str
    caption: str
    classes: Sequence[str]
    counts: Sequence[Sequence[float]]
    images: Mapping[tuple[int, int], Sequence[GalleryItem]] = field(default_factory=dict)

    @property
    def table(self) -> Table:
        """The counts as a table: true classes in rows, predicted classes in columns."""
        columns = [Column("true class"), *(Column(name, ".10g") for name in self.classes)]
        rows = [[name, *counts] for name, counts in zip(self.classes, self.counts, strict=True)]
        return Table(self.name, self.caption, columns, rows)

    @property
    def is_dense(self) -> bool:
        """Whether cells are narrow: they show counts above 0, and shares on demand."""
        return len(self.classes) > MAX_WIDE_CLASSES

    def share(self, true: int, predicted: int) -> float:
        """Return the share of a true class that was predicted as a class; 0 for a class without rows."""
        total = sum(self.counts[true])
        return self.counts[true][predicted] / total if total else 0.0

    def share_text(self, true: int, predicted: int) -> str:
        """Return the share as text; a share above 0 is not shown as 0 %."""
        percent = 100 * self.share(true, predicted)
        return "<1 %" if 0 < percent < 0.5 else f"{percent:.0f} %"


@dataclass(frozen=True)
class ThresholdCounts:
    """Counts of two classes at each threshold of the probability; the reader moves the threshold.

    Attributes
    ----------
    name
        Name that is unique on the page.
    caption
        Which predictions were counted.
    positive
        Class whose probability is compared with the threshold.
    thresholds
        Thresholds in increasing order.
    counts
        True positives, false positives, false negatives and true negatives at each threshold.
    chosen
        Position of the threshold that the run decides by.
    """

    template: ClassVar[str] = "threshold_counts.html"
    name: str
    caption: str
    positive: str
    thresholds: Sequence[float]
    counts: Sequence[tuple[float, float, float, float]]
    chosen: int

    @property
    def table(self) -> Table:
        """The counts as a table, one row per threshold."""
        names = ("true positives", "false positives", "false negatives", "true negatives")
        columns = [Column("threshold", ".2f"), *(Column(name, ".10g") for name in names)]
        rows = [[threshold, *counts] for threshold, counts in zip(self.thresholds, self.counts, strict=True)]
        return Table(self.name, self.caption, columns, rows)


@dataclass(frozen=True)
class Map:
    """Map of images in two dimensions: the reader moves, zooms, points at images and selects them.

    Attributes
    ----------
    name
        Name that is unique on the page.
    caption
        What was projected, and how.
    ids
        Id of each image.
    points
        (n, 2) positions of the images.
    colours
        Name of a colouring → the value of each image; None for no value.
    atlas
        WebP image of the pictures of all images in rows of equal square tiles, as a data URI; empty if there is none.
    tile_px
        Side of a tile in pixels.
    still
        Figure of the same points, for readers without JavaScript.
    """

    template: ClassVar[str] = "map.html"
    name: str
    caption: str
    ids: Sequence[str]
    points: Sequence[tuple[float, float]]
    colours: Mapping[str, Sequence[str | None]]
    atlas: str
    tile_px: int
    still: Figure

    @property
    def data(self) -> dict[str, Any]:
        """Content of the map for its script; positions and colours are base64 of 16-bit numbers."""
        return encode_map(self.ids, self.points, self.colours) | {
            "atlas": self.atlas,
            "tile": self.tile_px,
            "columns": atlas_columns(len(self.ids)),
        }


Component = Text | Items | Table | Figure | Gallery | Details | ConfusionMatrix | ThresholdCounts | Map


@dataclass(frozen=True)
class Section:
    """Section of a page, listed in its contents.

    Attributes
    ----------
    title
        Title in the contents.
    components
        Components in order.
    sections
        Sections inside this one.
    """

    title: str
    components: Sequence[Component] = ()
    sections: "Sequence[Section]" = ()
