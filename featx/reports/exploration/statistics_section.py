"""Section of sizes, file types, modes and pixel statistics."""

import numpy as np
import pandas as pd

from featx.exploration.class_counts import class_members
from featx.exploration.explore import Exploration
from featx.exploration.explored_images import ExploredImages
from featx.reports.exploration.count_figures import MAX_DENSITIES, plot_densities, plot_histograms, plot_sizes
from featx.reports.exploration.frame_tables import frame_table
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Component, Figure, Section, Text

MEASURES = {
    "brightness": "brightness (0 to 1)",
    "contrast": "contrast (sd of grey levels)",
    "colourfulness": "colourfulness",
    "entropy_bits": "entropy (bits)",
    "sharpness": "sharpness",
    "border_share": "uniform border (share of area)",
}


def build_statistics_section(exploration: Exploration, thumbnails: Thumbnails) -> Section:
    """Return sizes, file types and pixel statistics, over all images and by class."""
    result = exploration.results["statistics"]
    properties = exploration.images.properties.dropna(subset=["width_px"])
    if not len(properties):
        return Section("Sizes and pixels", [Text(note, "note") for note in result.notes])
    sections = [_size_section(exploration, properties), _pixel_section(exploration, properties)]
    return Section("Sizes and pixels", (), sections)


def _size_section(exploration: Exploration, properties: pd.DataFrame) -> Section:
    tables = exploration.results["statistics"].tables
    sizes = tables["sizes"]
    components: list[Component] = []
    if len(sizes) == 1:
        width, height = sizes.iloc[0][["width_px", "height_px"]].astype(int)
        components.append(Text(f"All {len(properties):,} images are {width} × {height} px."))
    else:
        components += _size_figures(properties)
        headings = {"width_px": "width (px)", "height_px": "height (px)", "n": "images"}
        components.append(frame_table("sizes", "Sizes of the images, the most frequent first.", sizes, headings))
    headings = {"file_type": "file type", "n": "images"}
    components.append(frame_table("file_types", "Types and colour modes of the files.", tables["file_types"], headings))
    return Section("Sizes, aspect ratios and file types", components)


def _size_figures(properties: pd.DataFrame) -> list[Component]:
    widths, heights = properties["width_px"].to_numpy(), properties["height_px"].to_numpy()
    columns = {
        "width": (widths, "px"),
        "aspect ratio": (properties["aspect_ratio"].to_numpy(), "width / height"),
        "file size": (properties["file_bytes"].to_numpy() / 1024, "KiB"),
    }
    median_px = f"the median width is {np.median(widths):.0f} px, the median height {np.median(heights):.0f} px"
    n_sizes = len(np.unique(np.column_stack([widths, heights]), axis=0))
    return [
        Figure(
            "size scatter",
            "Width and height; larger points are more images.",
            f"Scatter plot of {n_sizes} different sizes.",
            plot_sizes(widths, heights),
        ),
        Figure(
            "size histograms",
            "Distribution of width, aspect ratio and file size.",
            f"Histograms; {median_px}.",
            plot_histograms(columns),
        ),
    ]


def _pixel_section(exploration: Exploration, properties: pd.DataFrame) -> Section:
    headings = {"n": "images", "label": "class"}
    table = exploration.results["statistics"].tables["channel_statistics"]
    components: list[Component] = [
        frame_table(
            "channel_statistics",
            "Mean and standard deviation (sd) of the pixels of each channel, levels in 0 to 1.",
            table,
            headings,
            dict.fromkeys([str(name) for name in table.columns if str(name).endswith(("_mean", "_sd"))], ".4f"),
        )
    ]
    columns = {name: label for name, label in MEASURES.items() if np.ptp(properties[name].to_numpy()) > 0}
    if columns:
        components.append(_density_figure(exploration.images, properties, columns))
    return Section("Pixels by channel and class", components)


def _density_figure(images: ExploredImages, properties: pd.DataFrame, columns: dict[str, str]) -> Figure:
    """Return the densities of properties by class of the first target, or of all images without classes."""
    target = next(iter(images.truths), "")
    members = class_members(images, target) if target else {}
    values_by_class = {}
    for label, ids in list(members.items())[:MAX_DENSITIES]:
        rows = properties.loc[properties.index.intersection(pd.Index(ids))]
        if 1 < len(rows) < len(properties):
            values_by_class[label] = {name: rows[name].to_numpy() for name in columns}
    caption = "Densities of measured properties."
    if values_by_class:
        caption = f"Densities of measured properties, by class of {target}: {len(values_by_class)} of {len(members)}."
    values = values_by_class or {"all images": {name: properties[name].to_numpy() for name in columns}}
    description = f"Densities of {', '.join(columns)} for {len(values)} groups of images."
    return Figure("property densities", caption, description, plot_densities(columns, values))
