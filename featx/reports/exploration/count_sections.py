"""Sections of counts by class, part and group, and of random samples of each class."""

from collections.abc import Mapping

import pandas as pd

from featx.exploration.class_counts import LABELLED_PARTS, MAX_SAMPLED_CLASSES, class_members
from featx.exploration.explore import Exploration
from featx.reports.exploration.count_figures import MAX_BARS, plot_counts
from featx.reports.exploration.frame_tables import frame_table
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Component, Figure, Gallery, GalleryItem, Section, Text
from featx.specs.split import PARTS

LABELLED = "labelled"
COUNT_HEADINGS = {"n": "images", "label": "class", "share": "share of images"}


def build_count_section(exploration: Exploration, thumbnails: Thumbnails) -> Section:
    """Return the counts of each target, of the parts and of the groups."""
    result = exploration.results["counts"]
    components: list[Component] = [Text(note, "note") for note in result.notes]
    parts = result.tables["part_counts"]
    if len(parts):
        components.append(frame_table("part_counts", "Images of each part of the split.", parts, COUNT_HEADINGS))
    sections = [_target_section(exploration, target) for target in exploration.images.truths]
    sections += [_group_section(exploration, grouping) for grouping in exploration.images.groups]
    return Section("Classes, parts and groups", components, sections)


def _target_section(exploration: Exploration, target: str) -> Section:
    tables = exploration.results["counts"].tables
    rows = tables["class_counts"].query("target == @target").drop(columns="target")
    has_parts = bool(rows[list(LABELLED_PARTS)].to_numpy().any())
    rows = rows if has_parts else rows.drop(columns=list(LABELLED_PARTS))
    components: list[Component] = []
    if len(rows):
        figure = plot_counts(_stacked(rows, "label", LABELLED_PARTS if has_parts else ()), "class")
        sorted_rows = rows.sort_values("n", kind="stable")
        largest, smallest = sorted_rows.iloc[-1], sorted_rows.iloc[0]
        components.append(
            Figure(
                f"counts {target}",
                f"Labelled images of each class of {target}, as counts and as shares."
                + (f" The first {MAX_BARS} of {len(rows)} classes." if len(rows) > MAX_BARS else ""),
                f"Bars and pie of the classes of {target}: from {smallest['n']} images of {smallest['label']} to "
                f"{largest['n']} of {largest['label']}.",
                figure,
            )
        )
        caption = f"Labelled images of each class of {target}."
        components.append(frame_table(f"class_counts {target}", caption, rows, COUNT_HEADINGS))
    numbers = tables.get("target_numbers", pd.DataFrame({"target": []})).query("target == @target")
    if len(numbers):
        components.append(
            frame_table(f"target_numbers {target}", f"Values of {target}.", numbers.drop(columns="target"))
        )
    return Section(f"Target {target}", components)


def _stacked(rows: pd.DataFrame, name: str, parts: tuple[str, ...]) -> Mapping[str, Mapping[str, int]]:
    """Return the counts of each row by part, or in one part where there is no split."""
    if not parts:
        return {str(row[name]): {LABELLED: int(row["n"])} for row in rows.to_dict("records")}
    return {str(row[name]): {part: int(row[part]) for part in parts} for row in rows.to_dict("records")}


def _group_section(exploration: Exploration, grouping: str) -> Section:
    tables = exploration.results["counts"].tables
    rows = tables["group_counts"].query("grouping == @grouping").drop(columns="grouping")
    components: list[Component] = []
    if len(rows):
        parts = tuple(part for part in PARTS if rows[part].any())
        components.append(
            Figure(
                f"groups {grouping}",
                f"Images of each group of {grouping}, the largest first"
                + (f": {MAX_BARS} of {len(rows)} groups." if len(rows) > MAX_BARS else "."),
                f"Bars and pie of {len(rows)} groups of {grouping}; the largest has {rows['n'].max()} images.",
                plot_counts(_stacked(rows, "group", parts), grouping),
            )
        )
    group_counts = tables["class_by_group"].query("grouping == @grouping")
    for target in group_counts["target"].unique():
        target_counts = group_counts[group_counts["target"] == target]
        labels = list(dict.fromkeys(target_counts["label"]))
        table = target_counts.pivot(index="group", columns="label", values="n")[labels]
        caption = f"Labelled images of each class of {target} in the largest groups of {grouping}."
        # A class may be called "group" too.
        table.insert(0, "group", table.index, allow_duplicates=True)
        components.append(
            frame_table(f"class_by_group {target} by {grouping}", caption, table, {label: label for label in labels})
        )
    return Section(f"Groups of {grouping}", components)


def _sampled_classes(exploration: Exploration, target: str) -> str:
    n_classes = len(class_members(exploration.images, target))
    if n_classes <= MAX_SAMPLED_CLASSES:
        return f"each class of {target}"
    return f"each of the first {MAX_SAMPLED_CLASSES} of {n_classes} classes of {target}"


def build_sample_section(exploration: Exploration, thumbnails: Thumbnails) -> Section:
    """Return random images of each class."""
    samples = exploration.results["samples"].tables["samples"]
    images = exploration.images
    components: list[Component] = []
    for target in map(str, samples["target"].unique()):
        rows = samples[samples["target"] == target]
        items = [
            GalleryItem(
                image_id,
                [thumbnails.picture(image_id)],
                [label] if label else [],
                {target: label} if label else {},
            )
            for image_id, label in zip(rows["id"], rows["label"], strict=True)
        ]
        caption = f"Random images of {_sampled_classes(exploration, target)}" if target else "Random images"
        components.append(Gallery(f"samples {target}", f"{caption}: {len(items)} of {len(images):,}.", items))
    return Section("Random samples", components)
