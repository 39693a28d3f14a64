"""Sections of quality checks and of copies, with the pictures of the images."""

from featx.exploration.explore import Exploration
from featx.reports.exploration.frame_tables import frame_table
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Component, Gallery, GalleryItem, Section, Text

# Images of each check, and pairs of copies, that are shown; the tables have all.
MAX_SHOWN_PER_CHECK = 12
MAX_SHOWN_PAIRS = 24


def build_quality_section(exploration: Exploration, thumbnails: Thumbnails) -> Section:
    """Return the checks with their rules, and the images that fail them, the most suspicious first."""
    tables = exploration.results["quality"].tables
    issues = tables["quality_issues"]
    caption = "Checks; an image is listed if its value is also unusual among all images."
    headings = {"n": "images"}
    components: list[Component] = [frame_table("quality_checks", caption, tables["quality_checks"], headings)]
    shown_issues = issues.groupby("check", sort=False).head(MAX_SHOWN_PER_CHECK)
    items = [
        GalleryItem(
            row["id"],
            [thumbnails.picture(row["id"])],
            [row["check"], f"{row['property'].replace('_', ' ')} {row['value']:.3g}"],
            {"check": row["check"]},
        )
        for row in shown_issues.to_dict("records")
    ]
    if items:
        text = f"{len(items)} of {len(issues)} findings, at most {MAX_SHOWN_PER_CHECK} of each check."
        components.append(Gallery("quality issues", text, items))
    else:
        components.append(Text("No image fails a check."))
    return Section("Image quality", components)


def build_copy_section(exploration: Exploration, thumbnails: Thumbnails) -> Section:
    """Return pairs of copies side by side, those in different parts of the split first."""
    result = exploration.results["copies"]
    table = result.tables["copies"]
    components: list[Component] = [Text(note, "note") for note in result.notes]
    if not len(table):
        text = "No copies were found by this search." if result.notes else "No two images show the same picture."
        return Section("Copies", [*components, Text(text)])
    facts = result.facts
    components.append(
        Text(
            f"{facts['n_exact']} pairs are equal files, {facts['n_near']} show the same picture in different files; "
            f"{facts['n_in_several_parts']} pairs are in different parts of the split, {facts['n_labels_differ']} have "
            "different labels."
        )
    )
    items = [
        GalleryItem(
            row["id"],
            [thumbnails.picture(row["id"]), thumbnails.picture(row["copy"])],
            [
                f"copy: {row['copy']}",
                f"{row['kind']}, similarity {row['similarity']:.4f}",
                *([_parts_text(row["part"], row["copy_part"])] if row["part"] else []),
                *(["labels differ"] if row["labels_differ"] else []),
            ],
            {"kind": row["kind"], "parts": "different" if row["in_several_parts"] else "one part"},
        )
        for row in table.head(MAX_SHOWN_PAIRS).to_dict("records")
    ]
    components.append(Gallery("copies shown", f"The first {len(items)} of {len(table)} pairs.", items))
    components.append(frame_table("copies", "Pairs of copies.", table))
    return Section("Copies", components)


def _parts_text(part: str, copy_part: str) -> str:
    return f"both in {part}" if part == copy_part else f"{part} and {copy_part}"
