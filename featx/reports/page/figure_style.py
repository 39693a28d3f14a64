"""One style for all figures: a colour-blind-safe palette, and conversion to SVG and PNG."""

import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from featx.text.sanitising import sanitise_text

# Colour of axes and texts. In a page it becomes the colour of the text, which depends on light or dark display.
INK = "#1d2733"
GRID = "#8a97a5"
# Palette of Okabe and Ito, which people with any colour vision can distinguish; black is left out for dark pages.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#999999", "#b8a90c")
PNG_DPI = 150
# Length of a name in characters; longer names are shortened.
MAX_NAME_LENGTH = 60
STYLE: Any = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "grid.alpha": 0.25,
    "grid.color": GRID,
    "legend.fontsize": 8,
    "legend.framealpha": 0.0,
    "legend.labelcolor": INK,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "featx",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}
_REFERENCE = re.compile(r'(\bid="|href="#|url\(#)')


def make_figure(n: int = 1, width: float = 5.2, height: float = 3.6, max_columns: int = 2) -> tuple[Figure, list[Any]]:
    """Return a figure in the style of all figures with n axes in rows, each of a width and a height in inches."""
    n_columns = min(max_columns, n)
    n_rows = math.ceil(n / n_columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width * n_columns, height * n_rows), layout="constrained")
        return figure, [figure.add_subplot(n_rows, n_columns, number) for number in range(1, n + 1)]


def shorten_name(name: str, max_length: int = MAX_NAME_LENGTH) -> str:
    """Return a name for a figure: on one line, and without its middle if it is long."""
    text, half = sanitise_text(name), max_length // 2
    return text if len(text) <= max_length else f"{text[:half]}…{text[-half:]}"


def add_legend(axes: Any, location: str = "best") -> None:
    """Add a legend in the style of all figures, in which a $ in a name does not start a formula."""
    with matplotlib.rc_context(STYLE):
        for text in axes.legend(loc=location).get_texts():
            text.set_parse_math(False)


def inline_svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element without the header of a file; its ids begin with a name, unique on a page."""
    text = svg_file(figure).decode()
    element = text[text.index("<svg") :].replace(INK, "currentColor")
    return _REFERENCE.sub(rf"\g<1>{name}-", element)


def svg_file(figure: Figure) -> bytes:
    """Return a figure as the content of an SVG file, equal for equal figures."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE), _without_glyph_warnings():
        metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        # `Figure.savefig` would draw the figure twice.
        FigureCanvasSVG(figure).print_svg(buffer, metadata=metadata)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def png_file(figure: Figure) -> bytes:
    """Return a figure on white as the content of a PNG file."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE), _without_glyph_warnings():
        figure.savefig(buffer, format="png", dpi=PNG_DPI, facecolor="white")
    return buffer.getvalue()


@contextmanager
def _without_glyph_warnings() -> Iterator[None]:
    """Draw names with characters that matplotlib's font lacks without a warning: browsers have other fonts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        warnings.filterwarnings("ignore", r"Matplotlib currently does not support .* natively", UserWarning)
        yield
