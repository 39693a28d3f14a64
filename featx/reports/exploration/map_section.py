"""Section of principal components and of the map of embeddings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as MatplotlibFigure

from featx.exploration.explore import Exploration
from featx.exploration.map_analysis import ERROR, GROUP, LABEL
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Component, Figure, Map, Section, Text
from featx.reports.page.figure_style import PALETTE, add_legend, make_figure, shorten_name
from featx.reports.page.map_encoding import make_atlas

# Number of images up to which there is a map of single images; beyond it there is a density.
MAX_MAP_IMAGES = 20_000
# Side of the pictures on the map, in pixels, and the number of images up to which they are larger.
TILE_PX, LARGE_TILE_PX, MAX_LARGE_TILES = 24, 32, 6000
# Number of points of a scatter plot: an even sample of more.
MAX_SCATTER_POINTS = 5000
# Number of classes with a colour; all others share one.
MAX_COLOURS = 7
NO_VALUE = "none"
METHODS = {"tsne": "t-SNE", "umap": "UMAP", "pca": "the first two principal components"}


def build_map_section(exploration: Exploration, thumbnails: Thumbnails) -> Section:
    """Return principal components of pixels and embeddings, and the map of embeddings."""
    result = exploration.results["map"]
    components: list[Component] = [Text(note, "note") for note in result.notes]
    if "map" not in result.tables:
        return Section("Map and principal components", components)
    table = result.tables["map"]
    sections = []
    if "x" in table:
        placed_rows = table[table["x"].notna()].reset_index(drop=True)
        sections.append(Section("Map of the embedding", _map(exploration, placed_rows)))
    sections += [
        Section(f"Principal components of {title}", _components(exploration, name, title))
        for name, title in (("embedding", "the embedding"), ("pixel", "the pixels"))
        if f"{name}_components" in result.tables
    ]
    return Section("Map and principal components", components, sections)


def _map(exploration: Exploration, table: pd.DataFrame) -> list[Component]:
    facts = exploration.results["map"].facts
    method = METHODS[facts["method"]]
    n_images, n_fitted = int(facts["n_images"]), int(facts["n_fitted"])
    text = f"{n_images:,} images of the embedding {facts['embedding']} by {method}."
    if n_fitted < n_images:
        text += (
            f" {n_fitted} of them, an even sample, were projected; each of the others is at the mean position of its "
            "five nearest projected images."
        )
    text += (
        " Near images are similar for the network; distances between far groups mean little. map.parquet has the "
        "positions, labels and groups; Embedding Atlas opens it: embedding-atlas map.parquet --x x --y y --text id"
    )
    components: list[Component] = [Text(text)]
    if len(table) > MAX_MAP_IMAGES:
        note = f"More than {MAX_MAP_IMAGES} images are shown as a density; open map.parquet to see single images."
        return [*components, Text(note, "note"), _density(table, method)]
    names = _colourings(table)
    tile_px = LARGE_TILE_PX if len(table) <= MAX_LARGE_TILES else TILE_PX
    pictures = _tiles(exploration, table["id"])
    caption = (
        "Drag to move, wheel or pinch to zoom, point at an image to see it. Lasso, or Shift and drag, selects "
        "images; the list below has their ids. Keys: arrows move the box, [ and ] change its size, Enter selects, + "
        "and - zoom, 0 shows all, Escape clears."
    )
    map_component = Map(
        "embedding_map",
        caption,
        table["id"].tolist(),
        list(zip(table["x"], table["y"], strict=True)),
        {title: _texts(table[column]) for column, title in names.items()},
        make_atlas(pictures, tile_px) if any(pictures) else "",
        tile_px,
        _static_map(table, method, next(iter(names), "")),
    )
    return [*components, map_component]


def _tiles(exploration: Exploration, ids: "pd.Series[Any]") -> list[bytes | None]:
    images = exploration.images
    return [images.tiles.get(images.digests[row]) for row in images.rows(ids.to_numpy(object))]


def _colourings(table: pd.DataFrame) -> dict[str, str]:
    """Return column → name of each colouring with at least two values, labels first."""
    titles = {LABEL: "label", ERROR: "error of the best run:", GROUP: "group"}
    names = {
        column: f"{title} {column.removeprefix(prefix)}"
        for prefix, title in titles.items()
        for column in map(str, table)
        if column.startswith(prefix)
    }
    names["part"] = "part"
    return {column: title for column, title in names.items() if table[column].nunique(dropna=False) > 1}


def _texts(values: "pd.Series[Any]") -> list[str | None]:
    return [None if value is None or value != value else str(value) or None for value in values]


def _static_map(table: pd.DataFrame, method: str, column: str) -> Figure:
    figure = _scatter(table, "x", "y", column, (f"{method}, first axis (no unit)", f"{method}, second axis (no unit)"))
    return Figure(
        "embedding_map_figure",
        "Map of the embedding; positions have no unit.",
        f"Scatter plot of {len(table)} images by {method}, coloured by {column or 'nothing'}.",
        figure,
    )


def _density(table: pd.DataFrame, method: str) -> Figure:
    figure, (axes,) = make_figure(1, 6.5, 5.0)
    cells = axes.hexbin(table["x"], table["y"], gridsize=80, bins="log", cmap="viridis", mincnt=1, rasterized=True)
    axes.set_xlabel(f"{method}, first axis (no unit)")
    axes.set_ylabel(f"{method}, second axis (no unit)")
    figure.colorbar(cells, label="images in a cell")
    return Figure(
        "embedding_density",
        "Number of images in each cell of the map, on a logarithmic scale.",
        f"Density of {len(table)} images by {method}.",
        figure,
    )


def _components(exploration: Exploration, name: str, title: str) -> list[Component]:
    result = exploration.results["map"]
    shares = result.tables[f"{name}_components"]
    cumulative = result.facts[f"{name}_variance_shares"]
    text = (
        f"Of the variance of {title}, 2 components explain {cumulative['2']:.0%}, 10 components "
        f"{cumulative['10']:.0%} and 50 components {cumulative['50']:.0%}."
    )
    figure, (axes,) = make_figure(1, 5.2, 3.2)
    axes.plot(shares["component"], shares["cumulative_share"], color=PALETTE[0], label="cumulative")
    axes.bar(shares["component"], shares["variance_share"], color=PALETTE[1], label="single component")
    axes.set_xlabel("number of the component")
    axes.set_ylabel("explained variance (share)")
    axes.set_ylim(0, 1)
    add_legend(axes)
    variance = Figure(f"{name}_variance", f"Explained variance of principal components of {title}.", text, figure)
    table = result.tables["map"]
    columns = [f"{name}_pc1", f"{name}_pc2"]
    if not set(columns) <= set(table):
        return [Text(text), variance]
    column = next(iter(_colourings(table)), "")
    plotted_rows = table[table[columns[0]].notna()]
    labels = tuple(
        f"component {number} ({share:.0%} of the variance)"
        for number, share in enumerate(shares["variance_share"][:2], 1)
    )
    scatter = Figure(
        f"{name}_scatter",
        f"First two principal components of {title}.",
        f"Scatter plot of {len(plotted_rows)} images along two components, coloured by {column or 'nothing'}.",
        _scatter(plotted_rows, columns[0], columns[1], column, labels),
    )
    return [Text(text), variance, scatter]


def _scatter(table: pd.DataFrame, x: str, y: str, column: str, labels: Sequence[str]) -> MatplotlibFigure:
    """Return a scatter plot of an even sample, coloured by the most frequent values of a column."""
    sample = table.iloc[np.unique(np.linspace(0, len(table) - 1, MAX_SCATTER_POINTS, dtype=int))]
    figure, (axes,) = make_figure(1, 6.5, 5.0)
    values = (
        pd.Series([text or NO_VALUE for text in _texts(sample[column])]) if column else pd.Series(["all"] * len(sample))
    )
    frequent_values = sorted(values.value_counts().index[:MAX_COLOURS])
    names = values.where(values.isin(frequent_values), "others")
    for number, name in enumerate(dict.fromkeys([*frequent_values, *names])):
        rows = (names == name).to_numpy()
        colour = PALETTE[number % len(PALETTE)]
        axes.scatter(
            sample[x][rows], sample[y][rows], s=5, alpha=0.6, color=colour, label=shorten_name(name), rasterized=True
        )
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    if column:
        add_legend(axes)
    return figure
