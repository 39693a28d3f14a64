"""Analyses of embeddings from an extracted study to tables and sections of the page.

Modules: exploration.embedded_images, exploration.labelled_vectors, exploration.label_analyses,
exploration.outlier_analysis, exploration.run_errors, exploration.map_analysis, exploration.segment_analysis,
reports.exploration.map_section, reports.exploration.segment_section, reports.exploration.label_issue_section,
reports.exploration.outlier_section,
reports.exploration.separability_section.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markupsafe import escape

import featx
from featx.exploration.explore import Exploration, explore
from featx.exploration.labelled_vectors import NO_CLASSES, all_vectors, class_vectors
from featx.exploration.run_errors import best_run_errors, error_texts
from featx.exploration.segment_analysis import analyse_segments
from featx.progress import no_progress
from featx.reports.exploration import frame_tables, map_section
from featx.reports.exploration.explore_page import build_explore_page
from featx.reports.exploration.separability_section import build_separability_section
from featx.reports.exploration.thumbnails import Thumbnails
from featx.reports.page.components import Text
from featx.tables.target_values import TargetValues
from featx.tables.truth import Numbers, Truth
from tests.conftest import make_images
from tests.exploration.digit_study import NOISE, WRONG, make_digit_study
from tests.recipes import LABEL_TABLE, toy_heads, toy_recipe

EMBEDDING_ANALYSES = ("label_issues", "outliers", "separability")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_digit_study(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def exploration(recipe: Path) -> Exploration:
    return explore(recipe=recipe)


def test_planted_wrong_labels_are_the_most_doubtful(exploration: Exploration) -> None:
    table = exploration.tables["label_issues"]
    first = table.head(5).set_index("id")
    assert set(WRONG) <= set(first.index)
    assert (first.loc[list(WRONG), "suggested_label"] == "1").all()
    assert first.loc[list(WRONG), "is_likely_wrong"].all()
    assert (first.loc[list(WRONG), "neighbour_share"] < 0.5).all()
    assert table["quality"].is_monotonic_increasing
    facts = exploration.results["label_issues"].facts["class"]
    assert facts["probabilities"].startswith("a logistic regression")
    assert facts["n_labels"] == len(table) == len(exploration.images)


def test_noise_is_among_the_first_outliers(exploration: Exploration) -> None:
    table = exploration.tables["outliers"]
    assert NOISE in set(table["id"].head(3))
    assert table["score"].is_monotonic_decreasing
    typical = exploration.tables["typical_images"]
    assert typical.groupby("class").size().to_dict() == {"0": 8, "1": 8, "4": 8}
    assert NOISE not in set(typical["id"])


def test_digits_are_separable(exploration: Exploration) -> None:
    facts = exploration.results["separability"].facts["class"]
    assert facts["accuracy"] > 0.8 > facts["majority_share"]
    assert set(exploration.tables["class_separability"]["class"]) == {"0", "1", "4"}


def test_sections_show_the_images_with_their_neighbours(exploration: Exploration) -> None:
    page = build_explore_page(exploration).render()
    for title in ("Likely wrong labels", "Outliers and typical images", "Separability of classes"):
        assert f">{title}<" in page
    table = exploration.tables["label_issues"].set_index("id")
    neighbour = table.loc[WRONG[0], "neighbour_1"]
    assert f'aria-label="neighbour {neighbour}, labelled 1"' in page
    assert f'aria-label="{NOISE}"' in page


def test_neighbours_are_searched_once(exploration: Exploration) -> None:
    (labelled,) = class_vectors(exploration.images, no_progress)
    assert all_vectors(exploration.images, no_progress) is labelled


def test_without_embeddings_the_analyses_say_so(toy_home: Path) -> None:
    exploration = explore()
    for name in EMBEDDING_ANALYSES:
        result = exploration.results[name]
        assert result.notes == exploration.images.notes != ()
        assert not result.tables
    assert str(escape(exploration.images.notes[0])) in build_explore_page(exploration).render()


def test_the_map_has_positions_labels_and_parts(exploration: Exploration) -> None:
    table = exploration.tables["map"]
    assert {"id", "x", "y", "embedding_pc1", "pixel_pc1", "part", "label.class"} <= set(table)
    assert not table[["x", "y"]].isna().any().any()
    assert set(table["label.class"]) == {"0", "1", "4"}
    facts = exploration.results["map"].facts
    assert facts["method"] == "tsne"
    assert facts["embedding_variance_shares"]["2"] <= facts["embedding_variance_shares"]["10"] <= 1
    shares = exploration.tables["pixel_components"]["cumulative_share"]
    assert shares.is_monotonic_increasing


def test_the_page_has_a_map_with_pictures(exploration: Exploration) -> None:
    page = build_explore_page(exploration).render()
    assert "class ImageMap" in page
    assert '"atlas": "data:image/webp' in page
    assert "embedding-atlas map.parquet --x x --y y --text id" in page


def test_captions_name_the_files_of_the_tables(fitted: Exploration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_tables, "MAX_ROWS", 1)
    names = set(re.findall(r"rows; (.+?)\.csv has all", build_explore_page(fitted).render()))
    assert {"class_counts", "class_separability"} <= names <= set(fitted.tables)


def test_no_bound_is_stated_where_no_image_has_a_neighbour(exploration: Exploration) -> None:
    result = exploration.results["separability"]
    facts = {"class": {**result.facts["class"], "accuracy": np.nan, "nearest_error": np.nan, "lowest_error": np.nan}}
    results = {"separability": replace(result, facts=facts)}
    section = build_separability_section(Exploration(exploration.images, results), Thumbnails(exploration.images))
    texts = [component.text for component in section.components if isinstance(component, Text)]
    assert texts[0].startswith("No labelled image of 'class' has a neighbour")
    assert not any("Cover and Hart" in text for text in texts)


def test_many_images_are_a_density(exploration: Exploration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_section, "MAX_MAP_IMAGES", 10)
    page = build_explore_page(exploration).render()
    assert "class ImageMap" not in page
    assert 'id="embedding_density"' in page


@pytest.fixture(scope="module")
def fitted(recipe: Path) -> Exploration:
    featx.fit(recipe=recipe)
    return explore(recipe=recipe, projection="pca")


def test_probabilities_of_a_run_are_used_if_there_is_one(fitted: Exploration) -> None:
    result = fitted.results["label_issues"]
    assert result.facts["class"]["probabilities"].startswith("logreg")
    assert set(WRONG) <= set(result.tables["label_issues"]["id"].head(5))


def test_the_map_has_the_errors_of_the_best_run(fitted: Exploration) -> None:
    table = fitted.tables["map"].set_index("id")
    assert set(table["error.class"]) == {"right", "wrong"}
    assert (table.loc[list(WRONG), "error.class"] == "wrong").any()
    assert fitted.results["map"].facts["method"] == "pca"
    errors = best_run_errors(fitted.images, "class")
    assert errors is not None
    assert errors.part == "val"
    assert set(fitted.images.parts[fitted.images.rows(errors.ids)]) == {"val"}


def test_segments_are_those_of_the_best_run_on_the_selection_rows(
    fitted: Exploration, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = fitted.results["segments"].facts["class"]
    assert facts["run"].startswith("logreg")
    assert facts["part"] == "val"
    # With limits for this small study, segments with larger errors count as weak.
    monkeypatch.setattr("featx.evaluation.group_scores.MIN_GROUP_ROWS", 5)
    monkeypatch.setattr("featx.exploration.weak_segments.ALPHA", 2)
    result = analyse_segments(fitted.images, no_progress)
    members = result.tables["weak_segment_images"]
    weak = result.tables["weak_segments"].query("is_weak")
    assert len(weak)
    assert (weak["mean_error"] > weak["other_error"]).all()
    assert members.groupby(["grouping", "segment"]).size().sum() == weak["n_images"].sum()
    assert set(fitted.images.parts[fitted.images.rows(members["id"].to_numpy(object))]) == {"val"}
    is_wrong = members["true_value"] != members["prediction"]
    assert (members["error"] == is_wrong).all()
    page = build_explore_page(replace(fitted, results={**fitted.results, "segments": result})).render()
    assert re.search(r"largest errors of (\d+) of \d+ weak segments", page)


@pytest.mark.parametrize("unit", [1, 0.001])
def test_errors_of_numbers_are_in_quarters(unit: float) -> None:
    targets = TargetValues.of(Numbers(np.array(list("abcd"), dtype=object), np.zeros((4, 1)), ("age",)))
    texts = error_texts(targets, 1000 + unit * np.arange(4.0)[:, None]).tolist()
    assert texts[0].startswith("error < 1000")
    assert len(set(texts)) == 4


def test_right_decisions_of_soft_labels_are_right() -> None:
    shares = np.array([[2 / 3, 1 / 3], [1 / 3, 2 / 3], [1, 0]])
    truth = Truth(np.array(list("abc"), dtype=object), np.array([0, 1, 0]), ("no", "yes"), shares=shares)
    outputs = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    assert error_texts(TargetValues.of(truth), outputs).tolist() == ["right", "right", "wrong"]


def test_numbers_are_bands_on_the_map(home: Path) -> None:
    make_images(home / "images")
    names = sorted(path.relative_to(home / "images").as_posix() for path in (home / "images").rglob("*.png"))
    pd.DataFrame({"path": names, "age": range(len(names))}).to_csv(home / "images" / "labels.csv", index=False)
    targets = {"age": {"column": "age", "kind": "numbers"}}
    Path("featx.toml").write_text(toy_recipe(data=LABEL_TABLE, targets=targets, head=toy_heads("ridge")))
    featx.extract()
    exploration = explore(projection="pca")
    labels = exploration.tables["map"]["label.age"]
    assert labels.nunique() == 6, "five bands, and the sealed part"
    assert set(exploration.tables["outliers"]["label"]) == {""}
    assert exploration.results["label_issues"].notes == (NO_CLASSES,)
    assert "class ImageMap" in build_explore_page(exploration).render()
