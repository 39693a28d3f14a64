"""The page of an exploration: a summary of what stands out, and one section for each analysis."""

from pathlib import Path

from featx.exploration.explore import Exploration
from featx.reports.exploration.page_sections import SECTIONS
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Component, Items, Section, Text
from featx.reports.page.page import Page

FILE = "explore.html"


def build_explore_page(exploration: Exploration) -> Page:
    """Return the page of an exploration."""
    thumbnails = Thumbnails(exploration.images)
    sections = [_summary(exploration)]
    sections += [build(exploration, thumbnails) for name, build in SECTIONS.items() if name in exploration.results]
    images = exploration.images
    return Page(
        f"Exploration of {images.recipe.name}",
        f"{len(images)} images of {images.recipe.data.source}",
        sections,
    )


def write_explore_page(exploration: Exploration, folder: Path) -> Path:
    """Write ``explore.html`` into a folder, and return its path."""
    path = folder / FILE
    build_explore_page(exploration).write(path)
    return path


def _summary(exploration: Exploration) -> Section:
    components: list[Component] = []
    texts = [highlight.text for highlight in exploration.highlights]
    components.append(Items(texts) if texts else Text("Nothing stands out.", "summary"))
    components += [Text(note, "note") for note in exploration.notes]
    return Section("Summary", components)
