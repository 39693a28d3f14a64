"""Section of what was recognised: images, files that are no images, and images that cannot be used."""

from featx.exploration.explore import Exploration
from featx.reports.exploration.frame_tables import frame_table
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Component, Items, Section, Text


def build_recognition_section(exploration: Exploration, thumbnails: Thumbnails) -> Section:
    """Return the section with the numbers of images and files."""
    result = exploration.results["recognition"]
    facts = result.facts
    components: list[Component] = [
        Text(f"{facts['n_found']:,} images were found in {facts['source']} by the reader {facts['reader']}."),
    ]
    if sentences := [*facts["choice"], *facts["warnings"]]:
        components.append(Items(sentences))
    if facts["n_unreadable"]:
        components.append(
            frame_table("unreadable", "Images that cannot be used, and why.", result.tables["unreadable"])
        )
    if facts["n_ignored"]:
        components.append(frame_table("ignored", "Files that are no images of the study.", result.tables["ignored"]))
    return Section("What was found", components)
