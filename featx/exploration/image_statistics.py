"""Statistics of all images: sizes, aspect ratios, file types, modes, and the pixels of each channel by class."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from featx.exploration.analysis import AnalysisResult, Highlight
from featx.exploration.class_counts import class_members
from featx.exploration.explored_images import ExploredImages
from featx.progress import ProgressCallback
from featx.tables.ids import Ids

CHANNELS = ("red", "green", "blue")
ALL = "all images"


def summarise_properties(images: ExploredImages, progress: ProgressCallback) -> AnalysisResult:
    """Return the tables of sizes, file types and channels, and the properties of each image."""
    properties = images.properties.dropna(subset=["width_px"])
    tables = {
        "image_properties": _property_table(images),
        "sizes": _count(properties, ["width_px", "height_px"]).astype({"width_px": "int64", "height_px": "int64"}),
        "file_types": _count(properties, ["file_type", "mode"]),
        "channel_statistics": pd.DataFrame(list(_channel_rows(images))),
    }
    if not len(properties):
        return AnalysisResult(tables, {"n_measured": 0}, notes=("no image could be decoded",))
    facts = {
        "n_measured": len(properties),
        "n_sizes": len(tables["sizes"]),
        "median_width_px": float(properties["width_px"].median()),
        "median_height_px": float(properties["height_px"].median()),
        "n_bytes": int(properties["file_bytes"].sum()),
    }
    types = tables["file_types"]["file_type"].unique()
    highlights = []
    if len(types) > 1:
        highlights.append(Highlight(f"files are of {len(types)} types: {', '.join(types)}", is_warning=False))
    return AnalysisResult(tables, facts, tuple(highlights))


def _property_table(images: ExploredImages) -> pd.DataFrame:
    """Return all properties of each image, with its part and its known labels."""
    table = pd.DataFrame({"id": images.ids, "digest": images.digests, "part": images.parts})
    for target in images.truths:
        table[f"label.{target}"] = images.label_texts(target).to_numpy(object)
    return pd.concat([table, images.properties.reset_index(drop=True)], axis=1)


def _count(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return the number and the share of images with each combination of values, the most frequent first."""
    counts = frame.groupby(columns, sort=True).size().sort_values(ascending=False, kind="stable").reset_index(name="n")
    return counts.assign(share=counts["n"] / max(1, len(frame)))


def _channel_rows(images: ExploredImages) -> Iterator[dict[str, Any]]:
    yield {"target": "", "label": ALL, **channel_moments(images.properties)}
    for target in images.truths:
        for label, ids in class_members(images, target).items():
            yield {"target": target, "label": label, **channel_moments(images.properties, ids)}


def channel_moments(properties: pd.DataFrame, ids: Ids | None = None) -> dict[str, float]:
    """Return mean and standard deviation of each channel over the pixels of all images, which weigh the same.

    Parameters
    ----------
    properties
        Properties by id.
    ids
        Ids of the images; None for all.
    """
    measured_rows = (properties if ids is None else properties.reindex(pd.Index(np.asarray(ids, dtype=object)))).dropna(
        subset=["red_mean"]
    )
    moments: dict[str, float] = {"n": len(measured_rows)}
    for channel in CHANNELS:
        means, deviations = measured_rows[f"{channel}_mean"].to_numpy(), measured_rows[f"{channel}_sd"].to_numpy()
        mean = float(means.mean()) if len(measured_rows) else math.nan
        # The variance of all pixels is the mean of the images' second moments, minus the square of the mean.
        variance = float((deviations**2 + means**2).mean()) - mean**2 if len(measured_rows) else math.nan
        moments |= {
            f"{channel}_mean": mean,
            f"{channel}_sd": math.sqrt(max(0.0, variance)) if len(measured_rows) else mean,
        }
    return moments
