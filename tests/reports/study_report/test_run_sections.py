"""Sections of runs show the images, counts and curves of the predictions.

Modules: reports.study_report.class_tables, reports.study_report.probability_figures, reports.study_report.run_images.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score

import featx
from featx.evaluation.evaluate import evaluate
from featx.reports.page.components import ConfusionMatrix, Details, Gallery, Table, ThresholdCounts
from featx.reports.pictures import load_pictures
from featx.reports.study_report.class_tables import confusion_components, confusion_table, threshold_counts
from featx.reports.study_report.facts import TargetFacts
from featx.reports.study_report.probability_figures import (
    MAX_CURVE_POINTS,
    plot_precision_recall,
    plot_roc,
    thin_out,
)
from featx.reports.study_report.run_images import MISTAKE, RIGHT, UNSURE, PictureBudget, certainties, choose_images
from featx.reports.study_report.run_sections import build_run_sections
from featx.study.study import Study
from featx.tables.decision_rule import DecisionRule
from featx.tables.target_values import ClassTargets, LabelTargets
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_heads, toy_recipe


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TargetFacts]:
    """Yield the facts of two heads on images of which a quarter has a random label."""
    home = tmp_path_factory.mktemp("runs")
    ids = make_images(home / "images", n_each=50)
    rng = np.random.default_rng(0)
    labels = [rng.choice(["dark", "light"]) if rng.random() < 0.25 else name.partition("/")[0] for name in ids]
    pd.DataFrame({"path": ids, "tone": labels}).to_csv(home / "images" / "labels.csv", index=False)
    recipe = toy_recipe(
        data=LABEL_TABLE, targets={"tone": {"column": "tone"}}, head=toy_heads("logreg", "rf"), split={"val": 0.5}
    )
    (home / "featx.toml").write_text(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        featx.extract()
        featx.fit()
        study = Study.open(None)
        (evaluation,) = evaluate(study.recipe)
        yield TargetFacts.collect(study, evaluation)


def test_cells_have_the_images_that_they_count(facts: TargetFacts) -> None:
    run, pictures = facts.chosen, choose_images([facts], PictureBudget())[0][facts.chosen.name]
    matrix = confusion_matrix(run.targets.y, run.targets.decisions(run.outputs))
    assert sorted(pictures.cells) == [(i, j) for i, j in np.ndindex(2, 2) if matrix[i, j]]
    certainty = certainties(run)
    for (true, predicted), rows in pictures.cells.items():
        assert (run.targets.y[list(rows)] == true).all()
        assert (run.targets.decisions(run.outputs)[list(rows)] == predicted).all()
        assert (np.diff(certainty[list(rows)]) <= 0).all()
        assert len(rows) == min(matrix[true, predicted], 8)


def test_the_gallery_has_mistakes_unsure_and_right_predictions(facts: TargetFacts) -> None:
    run = facts.chosen
    gallery = choose_images([facts], PictureBudget())[0][run.name].gallery
    is_right = run.targets.are_right(run.outputs)
    certainty = certainties(run)
    rows = {
        reason: [row for row, row_reason in gallery.items() if row_reason == reason]
        for reason in (MISTAKE, UNSURE, RIGHT)
    }
    assert not is_right[rows[MISTAKE]].any()
    assert is_right[rows[RIGHT]].all()
    assert certainty[rows[MISTAKE]].min() >= np.sort(certainty[~is_right])[-len(rows[MISTAKE])]
    assert all(rows.values())


def test_few_pictures_go_to_the_chosen_run_first(facts: TargetFacts) -> None:
    budget = PictureBudget(max_pictures=10)
    (pictures,) = choose_images([facts], budget)
    assert len(budget.ids) == 10
    chosen_pictures = pictures[facts.chosen.name]
    assert len(chosen_pictures.gallery) == 10
    for run in facts.runs:
        rows = [*pictures[run.name].gallery, *(row for cell in pictures[run.name].cells.values() for row in cell)]
        assert set(run.ids[rows]) <= set(budget.ids), "images that others show cost nothing"


def test_the_chosen_run_is_open_and_others_are_closed(facts: TargetFacts) -> None:
    budget = PictureBudget()
    (pictures,) = choose_images([facts], budget)
    section = build_run_sections(facts, pictures, load_pictures(facts.study, list(budget.ids)))
    chosen_section, other_sections = section.sections
    assert chosen_section.title == facts.chosen.label
    assert all(isinstance(component, Details) and not component.is_open for component in other_sections.components)
    (matrix,) = (component for component in chosen_section.components if isinstance(component, ConfusionMatrix))
    assert matrix.counts == facts.chosen.evaluation.confusion
    (gallery,) = (component for component in chosen_section.components if isinstance(component, Gallery))
    assert set(gallery.filters) == {"shown", "true class", "predicted class"}
    (threshold,) = (component for component in chosen_section.components if isinstance(component, ThresholdCounts))
    (_, false_negatives), (false_positives, _) = (matrix.counts[1][::-1], matrix.counts[0][::-1])
    tp, fp, fn, tn = threshold.counts[threshold.chosen]
    assert (tp, fp, fn, tn) == (matrix.counts[1][1], false_positives, false_negatives, matrix.counts[0][0])


def test_counts_at_a_threshold_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    proba = rng.random(60).round(2)
    targets = ClassTargets(("no", "yes"), rng.integers(0, 2, 60), rng.random(60))
    component = threshold_counts("t", "", replace(targets, decision=DecisionRule(weights=(1, 3))), proba, 1)
    assert component.thresholds[component.chosen] == 0.25
    assert "weights" in component.caption
    for threshold, counts in zip(component.thresholds, component.counts, strict=True):
        is_yes = proba >= threshold
        expected = [
            targets.row_weights[(targets.y == true) & (is_yes == predicted)].sum()
            for true, predicted in ((1, True), (0, True), (1, False), (0, False))
        ]
        assert counts == pytest.approx(expected, abs=2e-3)


def test_the_largest_confusions_come_first() -> None:
    table = confusion_table("c", "a run", ["a", "b", "c"], [[5, 0, 3], [1, 9, 0], [0, 0, 2]])
    assert table.rows == [["a", "c", 3.0, 37.5], ["b", "a", 1.0, 10.0]]


def test_only_the_chosen_run_has_a_whole_matrix_of_many_classes(facts: TargetFacts) -> None:
    many_classes = replace(facts, evaluation=replace(facts.evaluation, classes=[f"c{number}" for number in range(21)]))
    counts = (np.eye(21) * 9 + np.eye(21, k=1)).tolist()
    parts = {}
    for run in facts.runs:
        planted = replace(run, evaluation=replace(run.evaluation, confusion=counts))
        parts[run.is_chosen] = [type(component) for component in confusion_components(many_classes, planted, {})]
    assert parts == {True: [Table, ConfusionMatrix], False: [Table]}


def test_areas_of_curves_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (80, 2))
    targets, outputs = LabelTargets(("x", "y"), labels), rng.random((80, 2))
    roc, recall = plot_roc("roc", targets, outputs), plot_precision_recall("pr", targets, outputs)
    assert roc is not None
    assert recall is not None
    areas = [roc_auc_score(labels[:, i], outputs[:, i]) for i in (0, 1)]
    precisions = [average_precision_score(labels[:, i], outputs[:, i]) for i in (0, 1)]
    for figure, values in ((roc, areas), (recall, precisions)):
        legend = [text.get_text() for text in figure.figure.axes[0].get_legend().get_texts()]
        assert sorted(legend) == sorted(f"{name} ({value:.3f})" for name, value in zip("xy", values, strict=True))


def test_one_class_has_no_curves() -> None:
    targets = ClassTargets(("a", "b"), np.zeros(9, dtype=np.int64))
    assert plot_roc("roc", targets, softmax(np.random.default_rng(0).normal(size=(9, 2)), axis=1)) is None


def test_curves_of_many_points_keep_their_ends() -> None:
    x, y = thin_out(np.arange(5000.0), np.arange(5000.0) ** 2)
    assert len(x) <= MAX_CURVE_POINTS
    assert (x[0], x[-1], y[-1]) == (0, 4999, 4999**2)
