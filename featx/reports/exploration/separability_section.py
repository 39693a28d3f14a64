"""Section of the separability of classes: recall by votes of neighbours, silhouettes, and confused classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from featx.exploration.explore import Exploration
from featx.reports.exploration.frame_tables import frame_table
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Component, Figure, Section, Text
from featx.reports.page.figure_style import PALETTE, make_figure, shorten_name

# Number of classes in the figure.
MAX_CLASSES = 40
# Number of pairs of confused classes in the table.
MAX_PAIRS = 12


def build_separability_section(exploration: Exploration, thumbnails: Thumbnails) -> Section:
    """Return the section of the separability of classes; a note if it was not measured."""
    result = exploration.results["separability"]
    components: list[Component] = [Text(note, "note") for note in result.notes]
    for target, facts in result.facts.items():
        classes, pairs = (
            table[table["target"] == target].drop(columns="target").reset_index(drop=True)
            for table in (result.tables["class_separability"], result.tables["confused_classes"])
        )
        components += _target(target, facts, classes, pairs)
    return Section("Separability of classes", components)


def _summary(target: str, facts: Mapping[str, Any]) -> list[Component]:
    """Return the results of the vote and what they bound; a note if no image has a neighbour to vote for it."""
    if np.isnan(facts["accuracy"]):
        text = (
            f"No labelled image of {target!r} has a neighbour that is neither a copy of it nor of its group, so that "
            "the vote of neighbours is not defined."
        )
        return [Text(text, "note")]
    summary = (
        f"In the embedding {facts['embedding']}, the 10 nearest images vote for the right class of {target!r} for "
        f"{facts['accuracy']:.1%} of {facts['n_images']:,} images; always predicting the largest class is right for "
        f"{facts['majority_share']:.1%}. The mean silhouette is {facts['silhouette']:.2f}."
    )
    bound = (
        "What this bounds: heads on this embedding are usually better than the vote, so that "
        f"{facts['accuracy']:.1%} is rather a lower limit. The nearest neighbour is wrong for "
        f"{facts['nearest_error']:.1%}; with many images, at most twice the lowest error that any classifier of "
        f"these vectors can have, so that about {facts['lowest_error']:.1%} of errors remain whatever the head "
        "(Cover and Hart 1967). Wrong labels are part of it; another embedding or fine-tuning can lower it."
    )
    return [Text(summary, "summary"), Text(bound)]


def _target(target: str, facts: Mapping[str, Any], classes: pd.DataFrame, pairs: pd.DataFrame) -> list[Component]:
    table = frame_table(
        f"class_separability {target}",
        "Recall and precision of the vote of the 10 nearest images without copies and images of the same group, and "
        "mean silhouette, from -1 (nearer to another class) to 1 (far from all others), by class.",
        classes.sort_values("recall", kind="stable"),
        {"n_images": "images"},
        {"recall": ".3f", "precision": ".3f", "silhouette": ".3f"},
    )
    confused = frame_table(
        f"confused_classes {target}",
        "Classes whose images have neighbours mostly of another class, the largest share of the class first; "
        "confused_classes.csv has all.",
        pairs.head(MAX_PAIRS),
        {"n_images": "images", "share": "share of the class"},
        {"share": ".3f"},
    )
    figures = [] if np.isnan(facts["accuracy"]) else [_figure(target, classes)]
    return [*_summary(target, facts), *figures, table, *([confused] if len(pairs) else [])]


def _figure(target: str, classes: pd.DataFrame) -> Figure:
    shown_classes = classes.sort_values("recall", kind="stable").head(MAX_CLASSES)[::-1]
    figure, (recall, silhouette) = make_figure(2, 5.0, 0.8 + 0.22 * len(shown_classes))
    positions = np.arange(len(shown_classes))
    for axes, column, label in (
        (recall, "recall", "recall of the vote (share)"),
        (silhouette, "silhouette", "mean silhouette (-1 to 1)"),
    ):
        axes.barh(positions, shown_classes[column], color=PALETTE[0] if column == "recall" else PALETTE[1])
        axes.set_yticks(positions, [shorten_name(str(name)) for name in shown_classes["class"]])
        axes.set_ylabel("class")
        axes.set_xlabel(label)
    recall.set_xlim(0, 1)
    worst_class = shown_classes.iloc[-1]
    return Figure(
        f"separability_{target}",
        f"Recall of the vote and mean silhouette of {len(shown_classes)} classes of {target!r}, the worst at the top.",
        f"Two bar charts by class; the lowest recall is {worst_class['recall']:.2f}, of {worst_class['class']}.",
        figure,
    )
