"""Machines of pairs of classes have probabilities that tell certain rows from uncertain ones.

Modules: heads.pair_margins, heads.fixed_perceptron.
"""

from itertools import combinations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.svm import SVC, NuSVC

from featx.heads.fitting import fit_out_of_fold, fit_pipeline
from featx.heads.folds import TrainRows
from featx.heads.head_definition import HeadTask
from featx.heads.pair_margins import PairMachine, add_class_probabilities
from featx.registry import HEADS
from featx.specs.head import HeadSpec
from featx.tables.target_values import ClassTargets

RNG = np.random.default_rng(0)
DIGITS, CODES = load_digits(return_X_y=True)
ORDER = RNG.permutation(len(DIGITS))
# Noise, so that some rows are uncertain.
X = (DIGITS[ORDER] / 16 + RNG.normal(scale=0.35, size=DIGITS.shape)).astype(np.float32)
Y = CODES[ORDER]
N_TRAIN = 900


def rows_of(k: int = 10, names: str = "abcdefghij") -> TrainRows:
    is_used = np.isin(Y, np.arange(k))
    return TrainRows(X[is_used][:N_TRAIN], ClassTargets(tuple(names[:k]), Y[is_used][:N_TRAIN]))


@pytest.mark.parametrize("machine_class", [SVC, NuSVC])
@pytest.mark.parametrize("k", [3, 4, 10])
def test_a_score_sums_the_margins_of_lost_pairs(k: int, machine_class: type) -> None:
    rows = rows_of(k)
    machine = machine_class(decision_function_shape="ovo").fit(rows.x, rows.targets.y)
    margins = machine.decision_function(X)
    scores = np.zeros((len(X), k))
    for column, (first, second) in zip(margins.T, combinations(range(k), 2), strict=True):
        scores[:, first] += np.minimum(column, 0)
        scores[:, second] += np.minimum(-column, 0)
    expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    model = add_class_probabilities(machine)
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-12)
    np.testing.assert_array_equal(model.predict(X), scores.argmax(1))


def test_the_predicted_class_is_the_one_of_the_machine() -> None:
    rows = rows_of()
    machine = SVC().fit(rows.x, rows.targets.y)
    wins_all = (machine.decision_function(X) > 8.5).any(1)
    votes = machine.predict(X)
    predicted = add_class_probabilities(machine).predict(X)
    assert wins_all.mean() > 0.98
    np.testing.assert_array_equal(predicted[wins_all], votes[wins_all])


def test_names_of_classes_are_kept() -> None:
    rows = rows_of(3)
    names = np.array(["cat", "dog", "eel"])[rows.targets.y]
    model = add_class_probabilities(SVC().fit(rows.x, names))
    assert model.classes_.tolist() == ["cat", "dog", "eel"]
    np.testing.assert_array_equal(model.predict(X), model.classes_[model.predict_proba(X).argmax(1)])


@pytest.mark.parametrize("estimator", [SVC(), LogisticRegression()])
def test_other_estimators_stay_as_they_are(estimator: SVC | LogisticRegression) -> None:
    rows = rows_of(2 if isinstance(estimator, SVC) else 3)
    fitted = clone(estimator).fit(rows.x, rows.targets.y)
    assert add_class_probabilities(fitted) is fitted


def test_probabilities_are_better_than_those_of_calibrated_votes() -> None:
    rows, spec = rows_of(), HeadSpec(name="svm", calibration="temperature")
    head = HEADS.get("svm")(HeadTask(*rows.x.shape, 10, 0))
    model, out_of_fold = fit_out_of_fold(head, dict(head.start), rows, spec)
    held_out, truth = X[N_TRAIN:].astype(np.float64), Y[N_TRAIN:]
    machine = model[-1].estimator.estimators_[0]
    votes = CalibratedClassifierCV(
        clone(machine).set_params(decision_function_shape="ovr"), method="temperature", ensemble=False
    )
    votes.fit(model[:-1].transform(rows.x.astype(np.float64)), rows.targets.y)
    proba, votes_proba = model.predict_proba(held_out), votes.predict_proba(model[:-1].transform(held_out))
    assert log_loss(truth, proba) < 0.9 * log_loss(truth, votes_proba)
    assert log_loss(rows.targets.y, out_of_fold.outputs) == pytest.approx(log_loss(truth, proba), abs=0.2)
    # The votes have nearly the same probability for all rows.
    assert np.ptp(np.quantile(votes_proba.max(1), [0.1, 0.9])) < 0.1
    assert np.ptp(np.quantile(proba.max(1), [0.1, 0.9])) > 0.3
    is_certain = proba.max(1) > np.median(proba.max(1))
    is_right = model.predict(held_out) == truth
    assert is_right[is_certain].mean() > is_right[~is_certain].mean() + 0.1


@pytest.mark.parametrize("method", ["platt", "temperature"])
def test_trials_are_calibrated_like_the_final_model(method: str) -> None:
    rows = rows_of(4)
    head = HEADS.get("svm")(HeadTask(*rows.x.shape, 4, 0))
    assert head.default_calibration == "temperature"
    spec = HeadSpec(name="svm", calibration=method)  # type: ignore[arg-type]
    trial = fit_pipeline(head, dict(head.start), rows, spec.calibration, spec)
    final, _ = fit_out_of_fold(head, dict(head.start), rows, spec)
    # Both are scikit-learn's own classes; only the folds of the calibration differ.
    assert type(trial[-1].estimator) is type(final[-1].estimator) is StackingClassifier
    assert "PairMachine" not in repr(trial)
    np.testing.assert_allclose(trial.predict_proba(X), final.predict_proba(X), atol=0.05)


def test_sample_weights_reach_the_machine() -> None:
    rows = rows_of(3)
    weights = np.where(rows.targets.y == 0, 5.0, 1.0)
    machine = PairMachine(SVC(C=0.1)).fit(rows.x, rows.targets.y, weights)
    direct = add_class_probabilities(SVC(C=0.1).fit(rows.x, rows.targets.y, weights))
    np.testing.assert_array_equal(machine.predict_proba(X), direct.predict_proba(X))
    np.testing.assert_array_equal(machine.predict(X), direct.predict(X))
    unweighted = add_class_probabilities(SVC(C=0.1).fit(rows.x, rows.targets.y))
    assert (unweighted.predict(X) == 0).mean() < (direct.predict(X) == 0).mean()


def test_a_machine_of_two_of_the_classes_has_probabilities() -> None:
    # The rows of a fold may have two of the classes only.
    rows = rows_of(2)
    machine = PairMachine(SVC()).fit(rows.x, rows.targets.y + 3)
    proba = machine.predict_proba(X)
    margins = SVC().fit(rows.x, rows.targets.y).decision_function(X)
    np.testing.assert_allclose(proba.sum(1), 1)
    np.testing.assert_allclose(np.log(proba[:, 1] / proba[:, 0]), margins, atol=1e-9)
    np.testing.assert_array_equal(machine.classes_[proba.argmax(1)], machine.predict(X))
