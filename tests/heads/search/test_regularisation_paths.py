"""What trials share changes no answer: a path's answers are those of whole Pipelines fitted anew."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from featx.heads.builtin import HeadTask
from featx.heads.fitting import decisions, fitted
from featx.heads.folds import TrainRows
from featx.heads.search.distributed_search import _Ledger
from featx.heads.search.fold_cache import FoldCache, SharedArrays
from featx.heads.search.journal import new_study
from featx.heads.search.search import CrossValidation, SearchSpace, _about_memory
from featx.metrics.scores import GREATER_IS_BETTER
from featx.registry import HEADS
from featx.specs.head import HeadSpec
from featx.tables.ids import Kind
from featx.tables.target_values import TargetValues

FIVE_FOLDS = HeadSpec(name="rf")

SETTINGS = {
    "logreg": [{"scaling": "standard"}, {"scaling": "pca", "components": 20}],
    "ridge": [{"scaling": "l2"}, {"scaling": "pca", "components": 20}],
    "svm": [
        {"kernel": "rbf", "scaling": "standard", "C": 2.0, "gamma": 0.7},
        {"kernel": "linear", "scaling": "pca", "components": 20, "C": 0.02},
    ],
    "knn": [{"scaling": "none"}, {"scaling": "pca", "components": 20}],
    "lda": [{"scaling": "none"}, {"scaling": "pca", "components": 20}],
    "rf": [{"max_features": 0.2, "min_samples_leaf": 2}],
}
KINDS: dict[str, Kind] = {
    "classes": "classes",
    "two": "classes",
    "soft": "classes",
    "labels": "labels",
    "numbers": "numbers",
}


def rows_of(what: str, n: int = 260) -> TrainRows:
    """Return digits as classes, labels (which digits they are close to), or numbers."""
    x, y = load_digits(return_X_y=True)
    x = (x[:n] + np.random.default_rng(1).normal(0, 0.01, (n, x.shape[1]))).astype(np.float32)  # no two distances equal
    y = y[:n].astype(np.int64)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, n)
    if what == "labels":
        facts = TargetValues(
            "labels", ("odd", "large", "round"), np.stack([y % 2, y > 4, np.isin(y, [0, 6, 8, 9])], 1).astype(int)
        )
    elif what == "numbers":
        facts = TargetValues("numbers", ("value", "ink"), np.stack([y.astype(float), x.sum(1, dtype=float)], 1))
    elif what == "soft":
        share = np.clip(y / 9, 0, 1)
        facts = TargetValues(
            "classes", ("small", "large"), (share > 0.5).astype(np.int64), shares=np.stack([1 - share, share], 1)
        )
    else:
        facts = (
            TargetValues("classes", ("0", "1", "2"), y % 3)
            if what == "classes"
            else TargetValues("classes", ("e", "o"), y % 2)
        )
    return TrainRows(x, facts, weights)


@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize("name", SETTINGS)
def test_a_path_answers_as_pipelines_fitted_anew_do(name: str, what: str) -> None:
    rows = rows_of(what)
    if name in {"knn", "lda"}:
        if what == "soft":
            pytest.skip(f"{name} takes no soft labels, and says so")
        rows = TrainRows(rows.x, rows.facts)
    if name in {"logreg", "lda"} and what == "numbers":
        pytest.skip(f"{name} learns no numbers, and says so")
    head = HEADS.get(name)(HeadTask(*rows.x.shape, rows.facts.n_outputs, 0, rows.facts.kind))
    assert head.path is not None
    fold = rows.folds(3, 0)[0]
    work = FoldCache(0, rows, fold, SharedArrays(1e9))
    values = head.path.values if name != "rf" else (5, 20)
    for params in SETTINGS[name]:
        found = list(head.path.along(params, work, values))
        assert len(found) == len(values)
        for value, outputs in zip(values, found, strict=True):
            whole = params | ({head.path.name: value} if head.path.name else {})
            model = fitted(head, whole, work.learn, "none", FIVE_FOLDS)
            expected = decisions(model, work.held)
            if rows.facts.kind == "classes":  # a looser solver, begun elsewhere, differs on rows between two classes
                least = 0.95 if name == "logreg" else 0.98
                assert (outputs.argmax(1) == expected.argmax(1)).mean() > least
            elif name != "logreg":  # of equally near rows either may be the last that counts
                assert np.isclose(outputs, expected, rtol=2e-3, atol=5e-3 * expected.std()).mean() > 0.98
            else:
                assert ((outputs > 0.5) == (expected > 0.5)).mean() > 0.95


@pytest.mark.parametrize("what", KINDS)
def test_boosted_trees_on_shared_bins_score_as_those_fitted_anew(what: str) -> None:
    rows = rows_of(what, 600)
    head = HEADS.get("xgboost")(HeadTask(*rows.x.shape, rows.facts.n_outputs, 0, rows.facts.kind))
    assert head.path is not None
    work = FoldCache(0, rows, rows.folds(3, 0)[0], SharedArrays(1e9))
    (outputs,) = head.path.along(dict(head.start), work, (50,))
    model = fitted(head, dict(head.start) | {"n_estimators": 50}, work.learn, "none", FIVE_FOLDS)
    of = GREATER_IS_BETTER[rows.facts.kind]["r2" if what == "numbers" else "accuracy"]
    assert of(work.held.facts, outputs) == pytest.approx(of(work.held.facts, decisions(model, work.held)), abs=0.05)


def test_each_number_of_rounds_is_answered_by_as_many_trees() -> None:
    """Rare labels: the error is that of the majority from the first round on, and says nothing about later ones."""
    x = np.random.default_rng(0).normal(size=(600, 20)).astype(np.float32)
    y = (x[:, :3].sum(1) + np.random.default_rng(1).normal(size=600) > 3.6).astype(np.int64)
    rows = TrainRows(x, TargetValues("classes", ("no", "yes"), y))
    assert 0.01 < y.mean() < 0.06
    head = HEADS.get("xgboost")(HeadTask(*x.shape, 2, 0))
    params = dict(head.start) | {"subsample": 1.0, "colsample_bytree": 1.0}
    work = FoldCache(0, rows, rows.folds(3, 0)[0], SharedArrays(1e9))
    values = (50, 200, 400)
    for value, answers in zip(values, head.path.along(params, work, values), strict=True):
        model = head.build(params | {"n_estimators": value})
        model.fit(work.learn.x, work.learn.facts.y)
        assert model[-1].get_booster().num_boosted_rounds() == value
        np.testing.assert_allclose(answers, model.predict_proba(work.held.x), atol=1e-5)


def test_a_fold_stops_by_the_score_and_says_which_rounds_it_has_not_tried() -> None:
    """Scores are made up, and peak at the third value: four worse ones end the fold, the others are not tried."""
    rows = rows_of("two", 120)
    head = HEADS.get("xgboost")(HeadTask(*rows.x.shape, 2, 0))
    goodness, grown = [0.5, 0.6, 0.9, 0.8, 0.7, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1], []

    def along(_params: object, work: FoldCache, values: Sequence[int]) -> Iterator[np.ndarray]:
        for value in values:
            grown.append(value)
            right = np.eye(2)[work.held.facts.y]
            n_right = round(goodness[head.path.values.index(value)] * len(right))
            yield np.vstack([right[:n_right], 1 - right[n_right:]])

    head = replace(head, path=replace(head.path, along=along))
    contest = CrossValidation(
        "x", SearchSpace(head, rows), HeadSpec(name="xgboost", metric="accuracy"), SharedArrays(1e9)
    )
    ledger = _Ledger([])
    contest.run(new_study(None, "xgboost").ask(), ledger)
    assert ledger.attributes["params"]["n_estimators"] == 100
    assert set(ledger.attributes["path"]) == {"50", "75", "100", "125", "150"}
    assert max(grown) == 225  # five values after the best one


def test_what_is_shared_is_bounded_and_the_oldest_goes_first() -> None:
    shared, made = SharedArrays(100), []

    def make(name: str) -> str:
        def once() -> tuple[str, int]:
            made.append(name)
            return name, 60

        return shared.get(name, once)

    assert [make(name) for name in "aabab"] == list("aabab")
    assert made == list("abab")


def test_memory_is_spoken_of_where_it_is_much_or_too_much() -> None:
    assert _about_memory(1e6, 2e9) == ""
    assert _about_memory(0.6e9, 2e9).startswith("2 folds' matrices take 0.6 GB; trials keep at most 2.0 GB")
    assert "would take 3.0 GB of the 2.0 GB that trials may share" in _about_memory(3e9, 2e9)


def test_no_group_is_on_both_sides_and_soft_rows_are_not_split_in_calibration() -> None:
    rows = rows_of("soft")
    head = HEADS.get("svm")(HeadTask(*rows.x.shape, 2, 0))
    model = fitted(head, dict(head.start), rows, head.usual_calibration, FIVE_FOLDS)
    lessons = rows.lessons()
    for learn, held in model[-1].cv:
        assert not set(lessons.at[learn]) & set(lessons.at[held])
