"""Section of network inputs."""

import numpy as np
import pandas as pd

from featx.exploration.analysis import AnalysisResult
from featx.exploration.explore import Exploration
from featx.exploration.network_inputs import COLUMNS, PLAIN
from featx.reports.exploration.inputs_section import build_inputs_section
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Gallery, Text
from featx.specs.embedding import Preprocessing
from tests.exploration.explored import make_explored


def test_each_image_is_shown_with_all_its_views() -> None:
    images = make_explored(["a.png"])
    rows = [("0.png", "net", "a.png", "train", PLAIN), ("1.png", "net", "a.png", "train", "epoch 1")]
    arrays = {file: np.full((8, 8, 3), 90, np.uint8) for file in ("0.png", "1.png")}
    half = (0.5, 0.5, 0.5)
    facts = {"net": Preprocessing(size_px=8, mean=half, std=half).model_dump(mode="json")}
    result = AnalysisResult({"network_inputs": pd.DataFrame(rows, columns=COLUMNS)}, facts, (), ("a note",), arrays)
    section = build_inputs_section(Exploration(images, {"network_inputs": result}), Thumbnails(images))
    note, text, gallery = section.components
    assert note == Text("a note", "note")
    assert isinstance(text, Text)
    assert "8 × 8 px" in text.text
    assert isinstance(gallery, Gallery)
    assert [len(item.pictures) for item in gallery.items] == [2]
    assert gallery.items[0].lines == [f"{PLAIN}, epoch 1"]
