"""Section of outliers and of typical images of each class."""

from typing import Any

import pandas as pd

from featx.exploration.explore import Exploration
from featx.exploration.outliers import MIN_OUTLIER_SCORE
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Component, Gallery, GalleryItem, Section, Text

# Numbers of images in the galleries.
MAX_OUTLIERS = 40
N_TYPICAL_PER_CLASS = 4
MAX_TYPICAL = 120
# Number of images that are shown if none is an outlier.
N_DISTANT = 8


def build_outlier_section(exploration: Exploration, thumbnails: Thumbnails) -> Section:
    """Return the section of outliers and typical images; a note without embeddings."""
    result = exploration.results["outliers"]
    components: list[Component] = [Text(note, "note") for note in result.notes]
    if result.tables:
        components += _outliers(result.tables["outliers"], int(result.facts["n_outliers"]), thumbnails)
        components.append(_typical(result.tables["typical_images"], thumbnails))
    return Section("Outliers and typical images", components)


def _outliers(table: pd.DataFrame, n_outliers: int, thumbnails: Thumbnails) -> list[Component]:
    text = (
        f"{n_outliers:,} of {len(table):,} images are outliers: their mean distance to the 10 nearest images of all "
        f"classes is more than {MIN_OUTLIER_SCORE} robust standard deviations above the median of their class. "
        "Damaged files, other subjects and rare views are outliers; a wrong label alone is not."
    )
    shown_rows = table.head(min(n_outliers, MAX_OUTLIERS) or N_DISTANT)
    caption = f"The {len(shown_rows)} most distant images, compared with their class. outliers.csv has all distances."
    items = [
        GalleryItem(
            row["id"],
            [thumbnails.picture(row["id"])],
            [_labelled(row["label"]), f"score {row['score']:.1f}, distance {row['distance']:.2f}"],
            {"label": str(row["label"])},
        )
        for row in shown_rows.to_dict("records")
    ]
    return [Text(text, "summary"), Gallery("outliers_shown", caption, items)]


def _typical(table: pd.DataFrame, thumbnails: Thumbnails) -> Gallery:
    shown_rows = table[table["rank"] <= N_TYPICAL_PER_CLASS].head(MAX_TYPICAL)
    items = [
        GalleryItem(row["id"], [thumbnails.picture(row["id"])], [_labelled(row["class"])], {"class": str(row["class"])})
        for row in shown_rows.to_dict("records")
    ]
    caption = (
        f"The {N_TYPICAL_PER_CLASS} most typical images of each class: those with the smallest mean distance to all "
        f"images of their class. {len(shown_rows)} images are shown; typical_images.csv has more."
    )
    return Gallery("typical_images_shown", caption, items)


def _labelled(label: Any) -> str:
    return f"class {label}" if label else ""
