"""Votes over runs: who takes part, what members weigh, and on which rows that is learnt."""

from pathlib import Path

import numpy as np
import pytest

import featx
from featx.ensembles.vote import cross_fitted
from featx.ensembles.voting import majority, soft_vote, weighted
from featx.errors import DataError
from featx.specs import EnsembleSpec
from featx.tables import Predictions, Truth
from featx.workspace import Study

IDS = [f"i{number}" for number in range(40)]
SPEC = EnsembleSpec(folds=4)


def members(n: int = 3) -> tuple[list[Predictions], Truth]:
    rng = np.random.default_rng(0)
    codes = np.arange(40) % 2
    tables = []
    for skill in np.linspace(0.2, 2, n):
        lean = rng.normal(size=40) + skill * (2 * codes - 1)
        yes = 1 / (1 + np.exp(-lean))
        tables.append(Predictions.of_part("val", IDS, np.column_stack([1 - yes, yes]), ["no", "yes"]))
    return tables, Truth(np.array(IDS, dtype=object), codes.astype(np.int64), ("no", "yes"))


def test_a_rows_own_label_does_not_change_its_vote() -> None:
    tables, truth = members()
    before = cross_fitted(weighted, tables, truth, SPEC)
    changed = 0
    for row in range(len(IDS)):
        flipped = truth.codes.copy()
        flipped[row] = 1 - flipped[row]
        after = cross_fitted(weighted, tables, Truth(truth.ids, flipped, truth.classes), SPEC)
        np.testing.assert_array_equal(before.take([IDS[row]]).proba, after.take([IDS[row]]).proba)
        changed += not np.array_equal(before.proba, after.proba)
    assert changed == len(IDS)  # … and it does change the votes on other rows


def test_a_vote_that_learns_nothing_is_held_on_all_rows_at_once() -> None:
    tables, truth = members()
    np.testing.assert_array_equal(
        cross_fitted(majority, tables, truth, SPEC).proba, majority.combine(tables, None).proba
    )


def test_members_that_are_always_wrong_weigh_the_same() -> None:
    _, truth = members()
    wrong = Predictions.of_part("val", IDS, np.eye(2)[1 - truth.codes], ["no", "yes"])
    voted = cross_fitted(weighted, [wrong, wrong], truth, SPEC)
    np.testing.assert_array_equal(voted.proba, wrong.proba)


def test_too_few_rows_to_learn_from_are_said() -> None:
    tables, truth = members()
    few = [table.take(IDS[:3]) for table in tables]
    with pytest.raises(DataError, match="3 val rows are too few to weigh members in 4 folds"):
        cross_fitted(weighted, few, truth, SPEC)


def test_weights_are_val_scores_and_the_test_rows_are_voted_on_with_them(toy_home: Path) -> None:
    featx.extract()
    fits = featx.fit()
    (voted,) = featx.ensemble(methods=["weighted"])
    scores = np.array([fit.val_accuracy for fit in fits])
    np.testing.assert_allclose(voted.weights, scores / scores.sum())
    study = Study.open(None)
    by_name = {run.name: run.predictions for run in study.runs()}
    expected = soft_vote([by_name[name].of("test") for name in voted.members], voted.weights)
    found = by_name[voted.run].of("test").take(expected.ids)
    np.testing.assert_allclose(found.proba, expected.proba)


def test_members_can_be_named_and_ensembles_are_no_members(toy_home: Path) -> None:
    featx.extract()
    featx.fit(heads=["logreg", "rf", "svm"], trials=1)
    (first,) = featx.ensemble(methods=["soft"])
    (again,) = featx.ensemble(methods=["soft"])
    (fewer,) = featx.ensemble(methods=["soft"], members=["logreg", "svm"])
    assert len(first.members) == 3
    assert (first.made, again.made, first.run) == (True, False, again.run)
    assert [name.split("-")[0] for name in fewer.members] == ["logreg", "svm"]


def test_an_ensemble_answers_like_its_vote_over_loaded_members(toy_home: Path) -> None:
    featx.extract()
    fits = featx.fit()
    (voted,) = featx.ensemble(methods=["weighted"])
    x = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    each = [featx.load(fit.path).predict_proba(x) for fit in fits]
    np.testing.assert_allclose(
        featx.load(voted.path).predict_proba(x), np.average(each, axis=0, weights=voted.weights), rtol=1e-6
    )
