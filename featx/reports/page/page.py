"""A page as one HTML file that needs no other file and no network, and its figures and tables as files."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from featx.file_names import file_name
from featx.files.atomic import atomic_file, write_text
from featx.files.spreadsheets import write_csv
from featx.progress import ProgressCallback, no_progress
from featx.reports.page.components import (
    Component,
    ConfusionMatrix,
    Details,
    Figure,
    Map,
    Picture,
    Section,
    Table,
    ThresholdCounts,
)
from featx.reports.page.figure_style import inline_svg, png_file, svg_file
from featx.text.sanitising import sanitise_text, sanitise_value

TEMPLATES = "page/templates"
# Number of characters of a name that fits into a column of a table.
MAX_UNBROKEN_LENGTH = 16
_NAME_PARTS = re.compile(r"[^/,=_+]*[/,=_+]+|[^/,=_+]+")


@dataclass(frozen=True)
class Page:
    """A page of sections.

    Attributes
    ----------
    title, subtitle
        Title, and one line below it.
    sections
        Sections in the order of the contents.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]

    def render(self) -> str:
        """Return the page as HTML: styles, scripts, figures and pictures are inside it."""
        pool = _PicturePool()
        environment = Environment(
            loader=PackageLoader("featx.reports", TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_sanitise,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.globals["picture_class"] = pool.class_of
        environment.globals["svg"] = lambda figure: Markup(inline_svg(figure.figure, file_name(figure.name)))
        environment.filters["anchor"] = file_name
        environment.filters["breakable"] = _breakable
        body = environment.get_template("body.html").render(page=self)
        source = environment.loader
        assert source is not None
        style, *scripts = (
            Markup(source.get_source(environment, name)[0])
            for name in ("page.css", "page.js", *(["map.js"] if self._has_map else []))
        )
        return environment.get_template("page.html").render(
            page=self, body=Markup(body), style=style, scripts=scripts, pictures=pool.classes
        )

    @property
    def _has_map(self) -> bool:
        return any(isinstance(component, Map) for component in _flatten(self.sections))

    def write(self, path: Path) -> None:
        """Write the page to a file."""
        write_text(path, self.render())

    def write_assets(self, folder: Path, progress: ProgressCallback = no_progress) -> list[Path]:
        """Write each figure as a PNG and an SVG file and each table as a CSV file, and return their paths.

        Confusion matrices and counts at thresholds are tables too.

        Parameters
        ----------
        progress
            Callback for the progress of the stage ``assets``.
        """
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        components = list(_flatten(self.sections))
        for number, component in enumerate(components, start=1):
            asset = component.still if isinstance(component, Map) else component
            asset = asset.table if isinstance(asset, ConfusionMatrix | ThresholdCounts) else asset
            if isinstance(asset, Figure):
                paths += _write_figure(asset, folder)
            elif isinstance(asset, Table):
                paths.append(folder / f"{file_name(asset.name)}.csv")
                names = [column.name for column in asset.columns]
                write_csv(paths[-1], pd.DataFrame([list(row) for row in asset.rows], columns=names))
            progress("assets", number, len(components))
        return paths


def _write_figure(figure: Figure, folder: Path) -> list[Path]:
    paths = [folder / f"{file_name(figure.name)}{suffix}" for suffix in (".png", ".svg")]
    for path, convert in zip(paths, (png_file, svg_file), strict=True):
        with atomic_file(path) as private:
            private.write_bytes(convert(figure.figure))
    return paths


@dataclass
class _PicturePool:
    """Pictures of a page, each stored once: a picture that is shown several times has one CSS class."""

    classes: dict[str, str] = field(default_factory=dict)

    def class_of(self, picture: Picture) -> str:
        """Return the CSS class that shows a picture."""
        return self.classes.setdefault(picture.uri, f"p{len(self.classes)}")


def _flatten(sections: Sequence[Section]) -> Iterator[Component]:
    """Yield all components of sections, those inside others too."""
    for section in sections:
        yield from _flatten_components(section.components)
        yield from _flatten(section.sections)


def _flatten_components(components: Sequence[Component]) -> Iterator[Component]:
    for component in components:
        yield component
        if isinstance(component, Details):
            yield from _flatten_components(component.components)


def _breakable(text: str) -> str:
    """Return a text in which long names may be broken after separators; else a browser breaks them anywhere."""
    if max(map(len, text.split()), default=0) <= MAX_UNBROKEN_LENGTH:
        return text
    return Markup("<wbr>").join(escape(part) for part in _NAME_PARTS.findall(sanitise_text(text)))


def _sanitise(value: Any) -> Any:
    """Return a text without control characters and secrets; HTML that a template made stays."""
    return sanitise_value(value) if isinstance(value, str) and not isinstance(value, Markup) else value
