"""Section of weak segments with their images."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from featx.exploration.explore import Exploration
from featx.reports.exploration.frame_tables import frame_table
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Component, Gallery, GalleryItem, Section, Text

# Numbers of weak segments with pictures, of pictures of each, and of segments in the table.
MAX_SEGMENTS, MAX_IMAGES = 8, 8
HEADINGS = {
    "is_weak": "weak",
    "n_images": "images",
    "mean_error": "mean error",
    "other_error": "mean error elsewhere",
    "p_holm": "p (Holm)",
}
FORMATS = {"mean_error": ".3f", "other_error": ".3f", "p_holm": ".2g"}


def build_segment_section(exploration: Exploration, thumbnails: Thumbnails) -> Section:
    """Return the segments in which the best run's error is significantly higher, with their images."""
    result = exploration.results["segments"]
    components: list[Component] = [Text(note, "note") for note in result.notes]
    for target, facts in result.facts.items():
        segments, members = (
            table[table["target"] == target].drop(columns="target").reset_index(drop=True)
            for table in (result.tables["weak_segments"], result.tables["weak_segment_images"])
        )
        components += _target(target, facts, segments, members, thumbnails)
    return Section("Weak segments", components)


def _target(
    target: str, facts: Mapping[str, Any], segments: pd.DataFrame, members: pd.DataFrame, thumbnails: Thumbnails
) -> list[Component]:
    part = "out-of-fold predictions" if facts["part"] == "oof" else "the part val"
    summary = (
        f"In {facts['n_weak']} of {facts['n_segments']} segments, the error of {facts['run']} on {target!r} is "
        f"significantly higher than elsewhere; its mean error is {facts['mean_error']:.3f}."
    )
    method = (
        f"{facts['n_images']} images of {part} were used; labels of the sealed test part never are. Segments are "
        "clusters of the embedding (k-means, named by their most frequent true values), groups of the recipe, and "
        "bands of the properties of images, all made without the errors. Each is tested against all other images by "
        "permuting units: images of one group, and copies. p is corrected by Holm's method for all segments."
    )
    table = frame_table(
        f"weak_segments {target}",
        "Segments, the weak ones first. The error of classes is the share of wrong predictions.",
        segments.drop(columns="run"),
        HEADINGS,
        FORMATS,
    )
    components: list[Component] = [Text(summary, "summary"), Text(method, "note"), table]
    shown_members = members.groupby(["grouping", "segment"], sort=False).head(MAX_IMAGES)
    all_names = list(dict.fromkeys(zip(shown_members["grouping"], shown_members["segment"], strict=True)))
    names = all_names[:MAX_SEGMENTS]
    items = [
        _item(row, thumbnails)
        for row in shown_members.to_dict("records")
        if (row["grouping"], row["segment"]) in set(names)
    ]
    if items:
        caption = (
            f"Images with the largest errors of {len(names)} of {len(all_names)} weak segments, at most {MAX_IMAGES} "
            "of each."
        )
        components.append(Gallery(f"weak_segment_images_{target}", caption, items))
    return components


def _item(row: Mapping[Any, Any], thumbnails: Thumbnails) -> GalleryItem:
    segment = f"{row['grouping']} {row['segment']}"
    lines = [segment, f"true: {row['true_value']}", f"predicted: {row['prediction']}", f"error {row['error']:.3g}"]
    return GalleryItem(row["id"], [thumbnails.picture(row["id"])], lines, {"segment": segment})
