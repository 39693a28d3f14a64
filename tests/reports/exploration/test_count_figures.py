"""Figures and sections of counts and statistics.

Modules: reports.exploration.count_sections, reports.exploration.statistics_section.
"""

import numpy as np
import pytest

from featx.exploration.analyses import ANALYSES
from featx.exploration.explore import Exploration
from featx.exploration.explored_images import ExploredImages
from featx.progress import no_progress
from featx.reports.exploration.count_figures import MAX_BARS, MAX_SLICES, kernel_density, plot_counts
from featx.reports.exploration.count_sections import build_count_section, build_sample_section
from featx.reports.exploration.statistics_section import build_statistics_section
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Figure, Gallery, Section, Table, Text
from featx.reports.page.figure_style import INK
from featx.reports.page.page import Page
from tests.exploration.explored import make_explored

NAMES = ("counts", "samples", "statistics")


def explored(images: ExploredImages) -> Exploration:
    return Exploration(images, {name: ANALYSES[name](images, no_progress) for name in NAMES})


def test_a_density_integrates_to_one_and_follows_the_values() -> None:
    values = np.random.default_rng(0).normal(0, 1, 5000)
    grid = np.linspace(-6, 6, 200)
    density = kernel_density(values, grid)
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=0.01)
    exact_density = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
    assert np.abs(density - exact_density).max() < 0.03


def test_many_bars_are_cut_and_small_slices_summed() -> None:
    figure = plot_counts({f"class {number}": {"train": number + 1} for number in range(60)}, "class")
    bars, pie = figure.axes
    assert len(bars.patches) == MAX_BARS
    assert len(pie.patches) == MAX_SLICES
    # Texts in another colour than the ink would be invisible on a dark page.
    assert {text.get_color() for text in (*bars.texts, *pie.texts)} == {INK}


def test_names_with_formulas_and_markup_are_drawn_as_they_are() -> None:
    images = make_explored(["a", "b"], ["$x^2$", "<script>alert(1)</script>"], groups={"[/red]": ["‮right", "\x1b[31m"]})
    exploration = explored(images)
    page = Page("names", "", [build_count_section(exploration, Thumbnails(images))]).render()
    assert "<script>alert(1)" not in page
    assert "\x1b" not in page


def test_sections_show_figures_with_texts_and_tables() -> None:
    ids = [f"{n}.png" for n in range(12)]
    rng = np.random.default_rng(0)
    properties = {name: rng.uniform(1, 9, 12) for name in ("width_px", "height_px", "brightness", "contrast")}
    images = make_explored(ids, ["x", "y"] * 6, groups={"site": list("aaabbbcccddd")}, properties=properties)
    exploration, thumbnails = explored(images), Thumbnails(images)
    sections = [build_count_section(exploration, thumbnails), build_statistics_section(exploration, thumbnails)]
    figures = [item for section in sections for item in flatten(section) if isinstance(item, Figure)]
    assert {figure.name for figure in figures} == {
        *("counts class", "groups site", "size scatter", "size histograms", "property densities"),
    }
    assert all(figure.description for figure in figures)
    axes = [axes for figure in figures for axes in figure.figure.axes if axes.axison]
    assert all(item.get_xlabel() and item.get_ylabel() for item in axes)
    (gallery,) = build_sample_section(exploration, thumbnails).components
    assert isinstance(gallery, Gallery)
    assert gallery.filters == {"class": ["x", "y"]}
    tables = [item for section in sections for item in flatten(section) if isinstance(item, Table)]
    assert len({table.name for table in tables}) == len(tables) >= 5


def test_images_without_measurements_have_a_note() -> None:
    images = make_explored(["a"], properties={"width_px": [np.nan]})
    (component,) = build_statistics_section(explored(images), Thumbnails(images)).components
    assert component == Text("no image could be decoded", "note")


def flatten(section: Section) -> list[object]:
    return [*section.components, *(item for inner in section.sections for item in flatten(inner))]
