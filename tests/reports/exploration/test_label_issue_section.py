"""Section of likely wrong labels."""

import pandas as pd

from featx.exploration.analysis import AnalysisResult
from featx.exploration.explore import Exploration
from featx.reports.exploration.label_issue_section import build_label_section
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Gallery
from tests.exploration.explored import make_explored


def test_images_with_few_neighbours_are_shown_with_these() -> None:
    images = make_explored(["a.png", "b.png"], ["cat", "dog"])
    table = pd.DataFrame(
        {
            **{"id": ["a.png", "b.png"], "target": "class", "part": "train", "label": ["cat", "dog"]},
            **{"suggested_label": "dog", "is_likely_wrong": True, "quality": 0.1, "suggested_probability": 0.9},
            # The second image has no neighbour: pandas makes nan of None in a column of texts.
            **{"neighbour_1": ["b.png", None], "neighbour_1_label": ["dog", None]},
        }
    )
    facts = {"n_labels": 2, "n_likely_wrong": 2, "n_estimated": 2, "probabilities": "a run", "parts": ["train"]}
    result = AnalysisResult({"label_issues": table}, {"class": facts})
    section = build_label_section(Exploration(images, {"label_issues": result}), Thumbnails(images))
    gallery = section.components[-1]
    assert isinstance(gallery, Gallery)
    assert [len(item.pictures) for item in gallery.items] == [2, 1]
    assert [item.lines[-1] for item in gallery.items] == ["neighbours: dog", "neighbours: none"]
