"""Balanced class weights balance the classes in training, also beside weights of groups, for heads and networks."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import featx
from featx.finetuning.task import build_task
from featx.heads.folds import TrainRows
from featx.heads.job import HeadJob
from featx.specs.finetuning import FinetuneSpec
from featx.specs.head import HeadSpec
from featx.study.study import Study
from featx.tables.embedding_table import Embeddings
from featx.tables.sample_weights import balancing_factors, class_weights, compute_row_weights, multiply_weights
from featx.tables.target_values import ClassTargets
from featx.tables.truth import Truth
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_recipe


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """Extract images of two classes, the larger of which has nearly all images of the larger group."""
    folder = tmp_path_factory.mktemp("weights")
    ids = make_images(folder / "images", n_each=40)[:54]
    groups = ["common" if number % 40 < 36 and number < 40 else "rare" for number in range(len(ids))]
    rows = [(name, name.split("/")[0], group) for name, group in zip(ids, groups, strict=True)]
    pd.DataFrame(rows, columns=["path", "class", "site"]).to_csv(folder / "images/labels.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for variable in ("FEATX_RECIPE", "FEATX_CACHE", "FEATX_LOCAL_CACHE", "FEATX_RUNS"):
            patch.delenv(variable, raising=False)
        Path("featx.toml").write_text(
            toy_recipe(data=LABEL_TABLE, groups={"site": {"column": "site"}}, split={"test": 0, "val": 0.2}, head=None)
        )
        featx.extract()
        open_study = Study.open(None)
        featx.leaks()
        yield open_study


def head_rows(study: Study, **fields: str) -> TrainRows:
    spec = HeadSpec(name="logreg", **fields)  # type: ignore[arg-type]
    ids = {part: study.ids(part) for part in ("train", "val", "test")}

    def read_nothing() -> Embeddings:
        raise AssertionError

    return HeadJob(study, "class", spec, (), read_nothing, ids, study.labels("class")).rows_without_features


def test_a_head_balances_classes_under_group_weights(study: Study) -> None:
    rows = head_rows(study, class_weight="balanced", group_weight="site")
    data = rows.training_data()
    assert data.weights is not None
    totals = np.bincount(data.y, weights=data.weights)
    np.testing.assert_allclose(totals, totals.mean())
    assert data.weights.mean() == pytest.approx(1)
    # Decisions are those of rows without group weights.
    assert rows.decision_rule == head_rows(study, class_weight="balanced").decision_rule


def test_a_network_balances_classes_under_group_weights(study: Study) -> None:
    spec = FinetuneSpec(backbone="toy", weights="none", class_weight="balanced")
    task = build_task(study, "class", spec, ["site"])
    totals = np.bincount(task.objective.targets.numpy(), weights=task.objective.weights.numpy())
    np.testing.assert_allclose(totals, totals.mean(), rtol=1e-5)
    assert task.decision == build_task(study, "class", spec, []).decision


def test_soft_labels_are_balanced_by_their_shares() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet((4, 1, 0.5), 60)
    ids = np.arange(60).astype(str).astype(object)
    truth = Truth(ids, shares.argmax(1), tuple("abc"), rng.uniform(0.1, 2, 60), shares)
    groups = np.where(shares[:, 0] > 0.7, "x", "y").astype(object)
    weights = compute_row_weights(truth, groups)
    factors = balancing_factors("balanced", truth, weights)
    trained_weights = multiply_weights(class_weights("head", "balanced", truth, weights), factors)
    assert trained_weights is not None
    np.testing.assert_allclose((weights @ shares) * trained_weights, 60 / 3)
    rows = TrainRows(
        np.zeros((60, 1), np.float32),
        ClassTargets(truth.names, truth.codes, truth.weights, shares),
        weights,
        class_weights=class_weights("head", "balanced", truth, weights),
        balancing_factors=factors,
    )
    data = rows.take(np.arange(60)).training_data()
    np.testing.assert_allclose(np.bincount(data.y, weights=data.weights), 60 / 3)


def test_named_weights_and_rows_without_groups_have_no_factors() -> None:
    truth = Truth(np.arange(9).astype(str).astype(object), np.repeat([0, 1], [6, 3]), ("a", "b"))
    weights = compute_row_weights(truth, np.repeat(["x", "y"], [5, 4]).astype(object))
    assert balancing_factors({"a": 2.0}, truth, weights) is None
    assert balancing_factors("none", truth, weights) is None
    assert balancing_factors("balanced", truth, compute_row_weights(truth)) is None
