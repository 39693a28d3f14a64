"""The page of predictions: chosen images, filters, scores, and memory that does not grow with the number of images."""

import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.images.contents import file_uri
from featx.metrics.share_intervals import wilson_interval
from featx.predictors.prediction import Prediction
from featx.reports.page.components import ConfusionMatrix, Details, Gallery, Table, Text
from featx.reports.page.page import Page
from featx.reports.prediction_gallery import DISAGREE, RIGHT, WRONG, PredictionGallery

HOSTILE = "<script>alert(1)</script>[/red]\x1b[2J\u202e"
CLASSES = ("cat", HOSTILE)


def prediction(
    codes: list[int], label: str, true: list[str | None] | None = None, score: float = 0.5, uri: str = ""
) -> Prediction:
    """Return predicted classes of images, with a probability of 0.8 each."""
    names = [f"{number}.png" for number in range(len(codes))]
    proba = np.full((len(codes), 2), 0.2)
    proba[np.arange(len(codes)), codes] = 0.8
    uris = [uri] * len(codes) if uri else []
    return Prediction(
        names, proba, CLASSES, {}, [], target="kind", label=label, true=true or (), selection_score=score, uris=uris
    )


def images_of(page: Page) -> Gallery:
    """Return the gallery of a page."""
    (gallery,) = (item for section in page.sections for item in section.components if isinstance(item, Gallery))
    return gallery


def test_wrong_images_come_first_and_can_be_filtered() -> None:
    gallery = PredictionGallery()
    true: list[str | None] = ["cat", "cat", None, None]
    best_prediction = prediction([0, 1, 0, 1], "best", true, score=0.9)
    gallery.add({"b": prediction([0, 0, 1, 1], "other", true, score=0.1), "a": best_prediction})
    image_gallery = images_of(gallery.page())
    assert [item.id for item in image_gallery.items] == ["1.png", "2.png", "3.png", "0.png"]
    assert [item.tags.get("result") for item in image_gallery.items] == [WRONG, DISAGREE, None, RIGHT]
    assert image_gallery.filters.keys() == {"prediction", "result"}
    assert image_gallery.items[0].lines == ["true: cat", f"best: {HOSTILE} 0.80", "other: cat 0.80"]


def test_predictions_of_many_runs_are_grouped_by_class() -> None:
    gallery = PredictionGallery()
    runs = {
        name: prediction([code], name, score=score)
        for score, (name, code) in enumerate(zip("abcdef", [0, 1, 1, 0, 1, 1], strict=True))
    }
    gallery.add(runs)
    (item,) = images_of(gallery.page()).items
    assert item.lines == [
        f"f: {HOSTILE} 0.80",
        f"3 others {HOSTILE}: e 0.80, c 0.80, b 0.80",
        "2 others cat: d 0.80, a 0.80",
    ]


def test_the_summary_counts_the_images_of_each_class() -> None:
    gallery = PredictionGallery()
    gallery.add({"a": prediction([0, 0, 1], "best")})
    gallery.add({"a": prediction([0], "best")})
    texts = [item.text for item in gallery.page().sections[0].components if isinstance(item, Text)]
    assert texts == [
        "4 images were predicted, all could be read.",
        f"kind: best predicts cat for 3, {HOSTILE} for 1 images.",
    ]


def test_scores_have_intervals_and_confusion_matrices() -> None:
    gallery = PredictionGallery()
    for _ in range(2):
        gallery.add({"a": prediction([0] * 9 + [1], "best", ["cat"] * 10)})
    (section,) = [section for section in gallery.page().sections if section.title == "Scores: kind"]
    table, details = section.components
    assert isinstance(table, Table)
    assert table.rows == [["best", pytest.approx(0.9), *map(pytest.approx, wilson_interval(0.9, 20)), 20]]
    assert isinstance(details, Details)
    (matrix,) = details.components
    assert isinstance(matrix, ConfusionMatrix)
    assert matrix.counts == [[18, 2], [0, 0]]


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), "teal").save(tmp_path / "image.png")
    gallery = PredictionGallery()
    gallery.add({"a": prediction([1], HOSTILE, [HOSTILE], uri=file_uri(str(tmp_path / "image.png")))})
    gallery.write(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<script>alert(1)" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "data:image/jpeg;base64," in page


def test_a_page_of_many_images_is_small_and_states_what_it_shows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (160, 160, 3), dtype=np.uint8)).save(tmp_path / "noise.png")
    gallery = PredictionGallery(max_images=100)
    n_batches, n_batch = 12, 200
    true: list[str | None] = ["cat"] * n_batch
    peaks = []
    for number in range(n_batches):
        codes = rng.integers(0, 2, n_batch).tolist()
        uri = file_uri(str(tmp_path / "noise.png"))
        if number == 2:
            tracemalloc.start()
        gallery.add({"a": prediction(codes, "best", true, uri=uri)})
        if number > 2:
            peaks.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    # After the first batches nothing but counts is kept.
    assert peaks[-1] - peaks[0] < 200_000
    gallery.write(tmp_path / "page.html")
    caption = images_of(gallery.page()).caption
    counts = re.fullmatch(
        r"100 of 2,400 images: 50 of ([\d,]+) that the best run predicts wrongly, 50 of ([\d,]+) that the best run "
        r"predicts rightly\. The first prediction is that of the best run\.",
        caption,
    )
    assert counts is not None
    assert sum(int(count.replace(",", "")) for count in counts.groups()) == 2_400
    assert (tmp_path / "page.html").stat().st_size < 4_000_000
