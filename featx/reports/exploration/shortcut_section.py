"""Section of shortcuts: scores of all properties, and images with and without each shortcut."""

from featx.exploration.explore import Exploration
from featx.exploration.shortcuts import MIN_FILE_AUROC, MIN_PICTURE_AUROC
from featx.reports.exploration.frame_tables import frame_table
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Component, Gallery, GalleryItem, Section, Text

MAX_GALLERIES = 4
EXPLANATION = (
    "A shortcut is a property that predicts the label although it has nothing to do with it; a model that learns it is "
    "useless on other images. AUROC: area under the ROC curve of the class that the property separates best from all "
    "others, on held-out images; 0.5 is chance. p: permutation test, corrected for the number of properties. "
    f"Properties of files are reported from {MIN_FILE_AUROC:g} on. Those of pictures, which also follow from what is "
    f"shown, from {MIN_PICTURE_AUROC:g} on."
)
HEADINGS = {
    "label": "class",
    "auroc": "AUROC",
    "p_holm": "p (corrected)",
    "is_shortcut": "shortcut",
    "of": "property of the",
}


def build_shortcut_section(exploration: Exploration, thumbnails: Thumbnails) -> Section:
    """Return the scores of all properties, and example images of the shortcuts."""
    result = exploration.results["shortcuts"]
    table, examples = result.tables["shortcuts"], result.tables["shortcut_examples"]
    components: list[Component] = [Text(note, "note") for note in result.notes]
    if not len(table):
        return Section("Shortcuts", components)
    components.append(Text(EXPLANATION))
    components += [Text(highlight.text, "warning") for highlight in result.highlights]
    if not result.highlights:
        components.append(Text("No property predicts the label well enough to be a shortcut."))
    formats = {"auroc": ".3f", "p": ".3f", "p_holm": ".3f"}
    components.append(frame_table("shortcuts", "Properties, the best predictors first.", table, HEADINGS, formats))
    for row in table[table["is_shortcut"]].head(MAX_GALLERIES).to_dict("records"):
        shortcut_examples = examples[(examples["target"] == row["target"]) & (examples["property"] == row["property"])]
        items = [
            GalleryItem(
                example["id"],
                [thumbnails.picture(example["id"])],
                [
                    row["label"] if example["has_label"] else f"not {row['label']}",
                    f"{row['property']}: {example['value']}",
                ],
                {"class": row["label"] if example["has_label"] else "others"},
            )
            for example in shortcut_examples.to_dict("records")
        ]
        caption = f"Random images of {row['label']} and others, with their value of {row['property']}."
        components.append(Gallery(f"shortcut {row['target']} {row['property']}", caption, items))
    return Section("Shortcuts", components)
