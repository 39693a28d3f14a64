"""Sections about the study as a whole."""

from pathlib import Path

import featx
from featx.reports.page.components import Table
from featx.reports.study_report.study_sections import build_images
from featx.study.study import Study


def test_ignored_files_are_no_images_without_an_embedding(toy_home: Path) -> None:
    Path("images/README.txt").write_text("about the images")
    Path("images/dark/broken.png").write_bytes(b"no image")
    featx.extract()
    components = build_images(Study.open(None), {}).components
    tables = {component.name: component for component in components if isinstance(component, Table)}
    assert [row[:2] for row in tables["failures"].rows] == [["dark/broken.png", "unreadable"]]
    assert tables["failures"].caption == "1 of 1 images without an embedding."
    assert [row[1] for row in tables["ignored"].rows] == [1]
