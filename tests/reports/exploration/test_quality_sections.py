"""Sections of quality checks and copies."""

import numpy as np
import pandas as pd

from featx.exploration.analysis import AnalysisResult
from featx.exploration.explore import Exploration
from featx.exploration.quality_checks import check_quality
from featx.progress import no_progress
from featx.reports.exploration.quality_sections import (
    MAX_SHOWN_PER_CHECK,
    build_copy_section,
    build_quality_section,
)
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Gallery, Table, Text
from featx.reports.pictures import UNREADABLE
from tests.exploration.explored import make_explored


def test_each_check_shows_its_most_suspicious_images() -> None:
    n = 200
    ids = [f"{number}.png" for number in range(n)]
    border = np.zeros(n)
    border[:18] = np.linspace(0.9, 0.2, 18)
    images = make_explored(ids, properties={"border_share": border, "entropy_bits": [5.0] * n})
    result = {"quality": check_quality(images, no_progress)}
    table, gallery = build_quality_section(Exploration(images, result), Thumbnails(images)).components
    assert isinstance(table, Table)
    assert isinstance(gallery, Gallery)
    assert gallery.caption == "12 of 18 findings, at most 12 of each check."
    assert [item.id for item in gallery.items] == ids[:MAX_SHOWN_PER_CHECK]
    assert gallery.items[0].lines == ["framed by a border", "border share 0.9"]
    assert gallery.items[0].pictures[0].note == UNREADABLE


def test_pairs_are_shown_side_by_side_with_their_parts() -> None:
    images = make_explored(["a.png", "b.png"])
    row = ("b.png", "val", "a.png", "train", "near", 0.99612, True, True)
    columns = ["id", "part", "copy", "copy_part", "kind", "similarity", "in_several_parts", "labels_differ"]
    facts = {"n_exact": 0, "n_near": 1, "n_in_several_parts": 1, "n_labels_differ": 1}
    result = AnalysisResult({"copies": pd.DataFrame([row], columns=columns)}, facts)
    section = build_copy_section(Exploration(images, {"copies": result}), Thumbnails(images))
    text, gallery, table = section.components
    assert isinstance(text, Text)
    assert isinstance(gallery, Gallery)
    assert len(gallery.items[0].pictures) == 2
    assert list(gallery.items[0].lines) == [
        *("copy: a.png", "near, similarity 0.9961", "val and train", "labels differ"),
    ]
    assert isinstance(table, Table)
    assert table.rows[0][-1] == "yes"


def test_a_study_without_copies_says_so() -> None:
    images = make_explored(["a.png"])
    result = AnalysisResult({"copies": pd.DataFrame()})
    components = build_copy_section(Exploration(images, {"copies": result}), Thumbnails(images)).components
    assert components == [Text("No two images show the same picture.")]
    result = AnalysisResult({"copies": pd.DataFrame()}, notes=("a note",))
    components = build_copy_section(Exploration(images, {"copies": result}), Thumbnails(images)).components
    assert components == [Text("a note", "note"), Text("No copies were found by this search.")]
