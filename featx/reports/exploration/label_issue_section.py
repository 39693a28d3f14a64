"""Section of likely wrong labels: a gallery with the nearest neighbours beside each image."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from featx.exploration.explore import Exploration
from featx.exploration.label_analyses import N_SHOWN_NEIGHBOURS
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Component, Gallery, GalleryItem, Picture, Section, Text

# Number of images of each target in the gallery.
MAX_SHOWN = 40
# Number of images that are shown if no label is likely wrong.
N_DOUBTFUL = 8


def build_label_section(exploration: Exploration, thumbnails: Thumbnails) -> Section:
    """Return the section of likely wrong labels; a note if they were not searched."""
    result = exploration.results["label_issues"]
    components: list[Component] = [Text(note, "note") for note in result.notes]
    for target, facts in result.facts.items():
        table = result.tables["label_issues"]
        components += _target(table[table["target"] == target], target, facts, thumbnails)
    return Section("Likely wrong labels", components)


def _target(table: pd.DataFrame, target: str, facts: Mapping[str, Any], thumbnails: Thumbnails) -> list[Component]:
    wrong_rows = table[table["is_likely_wrong"]]
    parts = " and ".join(facts["parts"]) or "all images"
    summary = (
        f"{facts['n_likely_wrong']} of {facts['n_labels']} labels of {target!r} are likely wrong: for the model and "
        f"for the nearest neighbours another class is more likely. About {facts['n_estimated']} labels are estimated "
        "to be wrong; images between two classes count as well, so that classes that overlap increase this estimate."
    )
    method = (
        f"Labels of {parts} were used; labels of the sealed test part never are. Each label is compared with the "
        "labels of the 20 nearest images, without copies of the image and images of its group, and with "
        f"probabilities of {facts['probabilities']}, for images that it was not trained on. Quality is the "
        "probability of the given label by both. Look at each image before its label is changed."
    )
    issues = wrong_rows.head(MAX_SHOWN) if len(wrong_rows) else table.head(N_DOUBTFUL)
    kind = "likely wrong labels" if len(wrong_rows) else "most doubtful labels, none of which is likely wrong"
    caption = (
        f"The first {len(issues)} of {len(wrong_rows) or len(table)} {kind}, the most doubtful first. The first "
        "picture is the image, the others are its nearest neighbours. label_issues.csv has all."
    )
    items = [_item(row, thumbnails) for row in issues.to_dict("records")]
    return [Text(summary, "summary"), Text(method, "note"), Gallery(f"label_issues_{target}", caption, items)]


def _item(row: Mapping[Any, Any], thumbnails: Thumbnails) -> GalleryItem:
    neighbours = [
        (row[f"neighbour_{number}"], row[f"neighbour_{number}_label"])
        for number in range(1, N_SHOWN_NEIGHBOURS + 1)
        # A frame holds nan for images with fewer neighbours.
        if pd.notna(row.get(f"neighbour_{number}"))
    ]
    pictures = [thumbnails.picture(row["id"])]
    pictures += [
        _neighbour_picture(thumbnails.picture(neighbour_id), neighbour_id, label) for neighbour_id, label in neighbours
    ]
    lines = [
        f"labelled {row['label']}, quality {row['quality']:.2g}",
        f"suggested {row['suggested_label']} ({row['suggested_probability']:.0%})",
        f"neighbours: {', '.join(str(label) for _, label in neighbours) or 'none'}",
    ]
    tags = {"label": str(row["label"]), "suggested label": str(row["suggested_label"]), "part": str(row["part"])}
    return GalleryItem(row["id"], pictures, lines, tags)


def _neighbour_picture(picture: Picture, image_id: str, label: str) -> Picture:
    return replace(picture, name=f"neighbour {image_id}, labelled {label}")
