"""The page of an exploration: a summary of the highlights, and one section for each analysis."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.errors import DataError
from featx.exploration.analysis import Highlight
from featx.exploration.explore import Exploration
from featx.reports.exploration.page_sections import SECTIONS
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Component, Items, Section, Text
from featx.reports.page.page import Page
from featx.specs.split import PARTS

PAGE = "explore.html"
TABLES = "explore"


@dataclass(frozen=True)
class WrittenExploration:
    """Files of an exploration, and its highlights.

    Attributes
    ----------
    recipe
        Name of the recipe; of the one that ``featx init`` would write, if there is none.
    source
        Source of the images.
    n_images
        Number of explored images.
    highlights
        Notable results, the most important first.
    notes
        Limits of the exploration, and why analyses were left out.
    facts
        Name of an analysis → its numbers and texts.
    tables
        Name of a table → number of its rows.
    page
        Path of ``explore.html``.
    folder
        Path of the folder with the tables, each as a Parquet and a CSV file.
    """

    recipe: str
    source: str
    n_images: int
    highlights: list[Highlight]
    notes: list[str]
    facts: Mapping[str, Mapping[str, Any]]
    tables: Mapping[str, int]
    page: str
    folder: str


def check_writable(folder: Path) -> None:
    """Check that files can be written into a folder, which is made if it does not exist.

    Raises
    ------
    DataError
        they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_writable = os.access(folder, os.W_OK)
    except OSError:
        is_writable = False
    if not is_writable:
        raise DataError(f"{str(folder)!r} is no folder that can be written; name another one")


def write_exploration(exploration: Exploration, folder: Path) -> WrittenExploration:
    """Write ``explore.html`` and the tables into a folder.

    Parameters
    ----------
    exploration
        The exploration.
    folder
        Folder of the page; the tables go to ``explore/`` in it.

    Raises
    ------
    OSError
        the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    exploration.write_tables(folder / TABLES)
    build_explore_page(exploration).write(folder / PAGE)
    images = exploration.images
    return WrittenExploration(
        recipe=images.recipe.name,
        source=images.recipe.data.source,
        n_images=len(images),
        highlights=exploration.highlights,
        notes=exploration.notes,
        facts={name: result.facts for name, result in exploration.results.items()},
        tables={name: len(table) for name, table in exploration.tables.items()},
        page=str(folder / PAGE),
        folder=str(folder / TABLES),
    )


def build_explore_page(exploration: Exploration) -> Page:
    """Return the page of an exploration."""
    thumbnails = Thumbnails(exploration.images)
    sections = [_summary(exploration)]
    sections += [build(exploration, thumbnails) for name, build in SECTIONS.items() if name in exploration.results]
    images = exploration.images
    return Page(
        f"Exploration of {images.recipe.name}",
        f"{len(images):,} images of {images.recipe.data.source}",
        sections,
    )


def _summary(exploration: Exploration) -> Section:
    components: list[Component] = [Text(_lead(exploration), "summary")]
    texts = [highlight.text for highlight in exploration.highlights]
    components.append(Items(texts) if texts else Text("No notable results."))
    components += [Text(note, "note") for note in exploration.notes]
    return Section("Summary", components)


def _lead(exploration: Exploration) -> str:
    """Return one sentence with the numbers of images, classes and parts."""
    images = exploration.images
    texts = [f"{len(images):,} images"]
    for target, truth in images.truths.items():
        noun = {"classes": "classes", "labels": "labels", "numbers": "numbers"}[truth.kind]
        texts.append(f"{target}: {len(truth.names)} {noun}")
    parts = [f"{part} {int((images.parts == part).sum()):,}" for part in PARTS if (images.parts == part).any()]
    return "; ".join(texts) + (f"; parts: {', '.join(parts)}." if parts else "; no split.")
