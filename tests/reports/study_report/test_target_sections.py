"""Sections about ensembles, settings, labels and numbers, from facts of small studies.

Modules: reports.study_report.influence_section, reports.study_report.label_section, reports.study_report.disagreements.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

import featx
from featx.artifacts.artifact import read_ensemble_body
from featx.artifacts.header import read_header
from featx.evaluation.evaluate import evaluate
from featx.evaluation.intervals import Resamples
from featx.reports.page.components import Component, Details, Figure, Section, Table, Text, ThresholdCounts
from featx.reports.pictures import load_pictures
from featx.reports.study_report.disagreements import GAINED, LOST, find_disagreements
from featx.reports.study_report.ensemble_section import build_ensembles
from featx.reports.study_report.facts import TargetFacts
from featx.reports.study_report.influence_section import build_influences
from featx.reports.study_report.label_section import label_components
from featx.reports.study_report.number_section import number_components
from featx.reports.study_report.run_images import PictureBudget
from featx.study.run_metrics import HeadMetrics
from featx.study.study import Study
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_recipe

XGBOOST = {"name": "xgboost", "trials": 1, "folds": 3, "space": {"n_estimators": [5, 10]}}


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, TargetFacts]]:
    """Yield the facts of a target of each kind, with heads on two embeddings and ensembles."""
    home = tmp_path_factory.mktemp("targets")
    ids = make_images(home / "images", n_each=50)
    rng = np.random.default_rng(0)
    is_light = np.array([name.startswith("light") for name in ids])
    table = {"path": ids, "tone": np.where(is_light ^ (rng.random(100) < 0.2), "light", "dark")}
    table |= {"bright": (is_light ^ (rng.random(100) < 0.2)).astype(int), "rare": (rng.random(100) < 0.2).astype(int)}
    table |= {"level": is_light + rng.normal(0, 0.3, 100), "site": rng.choice(["north", "south"], 100)}
    pd.DataFrame(table).to_csv(home / "images" / "labels.csv", index=False)
    kinds = {
        "tone": {"column": "tone"},
        "marks": {"columns": ["bright", "rare"], "kind": "labels"},
        "level": {"column": "level", "kind": "numbers"},
    }
    embeddings = [{"backbone": "toy", "weights": "none"}, {"backbone": "toy", "weights": "none", "tap": "0.1"}]
    logreg = {"name": "logreg", "trials": 3, "folds": 3, "embeddings": "search", "target": "tone", "metric": "log_loss"}
    heads = [XGBOOST, logreg, {"name": "ridge", "trials": 1, "folds": 3, "target": "level"}]
    recipe = toy_recipe(
        data=LABEL_TABLE, targets=kinds, embedding=embeddings, head=heads, split={"val": 0.5}, groups={"site": "site"}
    )
    (home / "featx.toml").write_text(recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        featx.extract()
        featx.fit()
        featx.ensemble(target="tone")
        study = Study.open(None)
        yield {table.target: TargetFacts.collect(study, table) for table in evaluate(study.recipe)}


def tables(components: list[Component] | Section) -> dict[str, Table]:
    parts = components.components if isinstance(components, Section) else components
    return {component.name: component for component in parts if isinstance(component, Table)}


def test_disagreements_are_those_where_decisions_differ(targets: dict[str, TargetFacts]) -> None:
    facts, budget = targets["tone"], PictureBudget()
    disagreements = find_disagreements(facts, budget)
    assert disagreements is not None
    ensemble, member = disagreements.ensemble, disagreements.member
    decisions = [run.targets.decisions(run.outputs) for run in (ensemble, member)]
    assert sum(disagreements.counts.values()) == (decisions[0] != decisions[1]).sum()
    for row, reason in disagreements.rows.items():
        right = [bool(codes[row] == ensemble.targets.y[row]) for codes in decisions]
        assert {GAINED: [True, False], LOST: [False, True]}[reason] == right
    section = build_ensembles(facts, disagreements, load_pictures(facts.study, list(budget.ids)))
    assert section is not None
    assert ("tone-disagreements" in {getattr(part, "name", "") for part in section.components}) == bool(
        disagreements.rows
    )


def test_weights_are_those_of_the_ensemble_files(targets: dict[str, TargetFacts]) -> None:
    facts = targets["tone"]
    section = build_ensembles(facts, None, {})
    assert section is not None
    weights = tables(section)["tone-weights"]
    ensembles = {run.label: run for run in facts.runs if run.folder.is_ensemble}
    labels = {run.label: run.name for run in facts.runs}
    for position, column in enumerate(weights.columns[1:], start=1):
        body = read_ensemble_body(*read_header(ensembles[column.name].folder.path))
        shares = dict(zip(body["members"], np.array(body["weights"]) / sum(body["weights"]), strict=True))
        for row in weights.rows:
            assert row[position] == pytest.approx(shares.get(labels[row[0]], 0.0))
    assert build_ensembles(targets["level"], None, {}) is None


def test_embeddings_that_trees_and_searches_used_are_listed(targets: dict[str, TargetFacts]) -> None:
    facts = targets["tone"]
    section = build_influences(facts)
    assert section is not None
    gains = tables(section)["tone-gains"]
    assert sum(row[1] for row in gains.rows) == pytest.approx(100, abs=0.01)
    assert len(gains.rows) == 2
    searched = tables(section)["tone-searched-embeddings"]
    (metrics,) = (run.folder.metrics for run in facts.runs if run.folder.name.startswith("logreg"))
    assert isinstance(metrics, HeadMetrics)
    assert sum(row[1] for row in searched.rows) == len(metrics.search.trials)
    assert metrics.search.metric == "log_loss"
    assert min(row[2] for row in searched.rows) == -metrics.search.score
    assert {row[3] for row in searched.rows} == {"log loss"}
    settings = tables(section)["tone-settings"]
    assert any(row[0] == "head logreg" for row in settings.rows)


def test_each_label_has_its_scores_and_thresholds(targets: dict[str, TargetFacts]) -> None:
    run = targets["marks"].chosen
    intervals = {name: [(0.0, 1.0), (0.25, 0.75)] for name in ("precision", "recall", "f1")}
    parts = label_components(targets["marks"], run, intervals)
    assert len(parts) == 2
    for column, part in enumerate(parts):
        assert isinstance(part, Details)
        expected = average_precision_score(run.targets.y[:, column], run.outputs[:, column])
        assert f"average precision {expected:.4f}" in part.title
        text, threshold = part.components
        assert isinstance(text, Text)
        assert isinstance(threshold, ThresholdCounts)
        tp, fp, _, _ = threshold.counts[threshold.chosen]
        assert (tp + fp) == (run.outputs[:, column] >= 0.5).sum()
    assert "0.2500 … 0.7500" in parts[1].components[0].text  # type: ignore[union-attr]


def test_errors_of_numbers_are_shown_by_band_and_group(targets: dict[str, TargetFacts]) -> None:
    run = targets["level"].chosen
    components = number_components(targets["level"], run, Resamples.of(len(run.ids)))
    figures = [component.name for component in components if isinstance(component, Figure)]
    assert [name.removeprefix(f"level-{run.name}-level-") for name in figures] == [
        "agreement",
        "residuals",
        "residuals-by-site",
    ]
    (bands,) = tables(components).values()
    assert sum(row[1] for row in bands.rows) == len(run.ids)
    total = sum(row[1] * row[2] for row in bands.rows) / len(run.ids)
    assert total == pytest.approx(run.evaluation.scores["mae"])


def test_the_page_of_all_kinds_is_written(targets: dict[str, TargetFacts], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(targets["tone"].study.recipe.folder)
    page = Path(featx.report().report).read_text()
    assert page.count(">Runs in detail (val)<") >= 3
    assert "Errors by band of the true value of level." in page
    assert "average precision" in page
