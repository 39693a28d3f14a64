"""Class weights change decisions and not probabilities, in every head and every saved file.

Modules: tables.decision_rule, tables.sample_weights.
"""

import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, recall_score
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.utils.validation import check_is_fitted

from featx import extract, fit
from featx.artifacts import skops_format
from featx.artifacts.outputs import predict_outputs
from featx.errors import FeatxError
from featx.heads.decisions import add_decision_rule, divide_by_class_weights
from featx.heads.fitting import fit_out_of_fold
from featx.heads.folds import TrainRows
from featx.heads.search.cross_validation import SearchSpace
from featx.heads.search.search import search
from featx.progress import no_progress
from featx.registry import HEADS
from featx.specs.head import HeadSpec
from featx.tables.decision_rule import DecisionRule, remove_class_weights
from featx.tables.sample_weights import class_weights
from featx.tables.target_values import ClassTargets
from featx.tables.truth import Truth
from tests.heads.test_heads import head_for, start_of

SHARES = {2: (0.92, 0.08), 3: (0.8, 0.15, 0.05)}


def make_rows(k: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features and codes of k classes, the last of which are rare."""
    rng = np.random.default_rng(seed)
    codes = rng.choice(k, n, p=SHARES[k])
    x = rng.normal(size=(n, 4))
    x[:, :k] += 1.6 * np.eye(k)[codes]
    return x.astype(np.float32), codes


def rows_of(x: np.ndarray, codes: np.ndarray, weight: str) -> TrainRows:
    names = tuple("abc"[: codes.max() + 1])
    ids = np.array([str(row) for row in range(len(x))], dtype=object)
    weights = class_weights("head", weight, Truth(ids, codes, names), np.ones(len(x)))  # type: ignore[arg-type]
    return TrainRows(x, ClassTargets(names, codes), class_weights=weights)


def probabilities(model: object, x: np.ndarray) -> np.ndarray:
    """Return (n, k) probabilities that sum to 1 in float64."""
    proba = predict_outputs(model, x, "classes")
    return proba / proba.sum(1, keepdims=True)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("name", HEADS.names())
def test_balanced_keeps_probabilities_honest_and_recall_high(name: str, k: int) -> None:
    x, codes = make_rows(k, 800, 0)
    new_x, new_codes = make_rows(k, 4000, 1)
    plain_rows, balanced_rows = (rows_of(x, codes, weight) for weight in ("none", "balanced"))
    head = head_for(name, balanced_rows)
    if not head.accepts_weights:
        pytest.skip(f"{name} takes no weights")
    params = start_of(head) | ({"min_samples_leaf": 20} if name == "rf" else {})
    spec = HeadSpec(name=name, folds=3)
    (plain_model, _), (model, out_of_fold) = (
        fit_out_of_fold(head, params, rows, spec) for rows in (plain_rows, balanced_rows)
    )
    proba = probabilities(model, new_x)
    assert out_of_fold.outputs.mean(0) == pytest.approx(np.bincount(codes) / len(codes), abs=0.03)
    assert proba.mean(0) == pytest.approx(SHARES[k], abs=0.035)
    assert log_loss(new_codes, proba) < log_loss(new_codes, probabilities(plain_model, new_x)) + 0.05
    rule = balanced_rows.decision_rule
    assert rule is not None
    np.testing.assert_array_equal(model.predict(new_x), rule.codes(proba))
    plain_recall, recall = (
        recall_score(new_codes, classifier.predict(new_x), labels=[k - 1], average="macro")
        for classifier in (plain_model, model)
    )
    assert recall > plain_recall + 0.1


def test_probabilities_without_weights_are_those_of_bayes_rule() -> None:
    proba, weights = np.array([[0.2, 0.3, 0.5]]), np.array([1.0, 2.0, 5.0])
    expected = np.array([0.2, 0.15, 0.1]) / 0.45
    np.testing.assert_allclose(remove_class_weights(proba, weights), expected[None])


def fit_weighted_logistic(k: int) -> tuple[LogisticRegression, np.ndarray, np.ndarray]:
    x, codes = make_rows(k, 400, 2)
    weights = np.linspace(1, 6, k)
    return LogisticRegression().fit(x, codes, weights[codes]), x, weights


def test_two_classes_are_decided_as_by_a_fixed_threshold() -> None:
    model, x, weights = fit_weighted_logistic(2)
    classifier = add_decision_rule(model, DecisionRule(weights=tuple(weights)))
    threshold = float(weights[0] / weights.sum())
    expected = FixedThresholdClassifier(model, threshold=threshold, response_method="predict_proba")
    np.testing.assert_array_equal(classifier.predict(x), expected.predict(x))
    np.testing.assert_array_equal(classifier.predict_proba(x), model.predict_proba(x))


@pytest.mark.parametrize("k", [2, 3])
def test_dividing_and_deciding_by_weights_keeps_the_decisions(k: int) -> None:
    model, x, weights = fit_weighted_logistic(k)
    unweighted = divide_by_class_weights(model, weights)
    np.testing.assert_allclose(
        unweighted.predict_proba(x), remove_class_weights(model.predict_proba(x), weights), rtol=1e-5
    )
    classifier = add_decision_rule(unweighted, DecisionRule(weights=tuple(weights)))
    np.testing.assert_array_equal(classifier.predict(x), model.predict(x))


@pytest.mark.parametrize("k", [2, 3])
def test_the_object_is_an_ordinary_fitted_classifier(k: int) -> None:
    model, x, weights = fit_weighted_logistic(k)
    classifier = add_decision_rule(divide_by_class_weights(model, weights), DecisionRule(weights=tuple(weights)))
    loaded_classifier = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(loaded_classifier.predict_proba(x), classifier.predict_proba(x))
    check_is_fitted(classifier)
    clone(classifier).set_output(transform="default")
    assert classifier.n_features_in_ == 4
    assert classifier.classes_.tolist() == list(range(k))


def test_it_loads_and_decides_where_featx_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, x, weights = fit_weighted_logistic(3)
    joblib.dump(
        add_decision_rule(divide_by_class_weights(model, weights), DecisionRule(weights=tuple(weights))), "m.joblib"
    )
    np.save("x.npy", x)
    code = (
        "import sys; sys.modules['featx'] = None\n"
        "import joblib, numpy as np\n"
        "np.save('predictions.npy', joblib.load('m.joblib').predict(np.load('x.npy')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_array_equal(np.load("predictions.npy"), model.predict(x))


@pytest.mark.parametrize("k", [2, 3])
def test_the_skops_format_keeps_the_decision_rule(k: int, tmp_path: Path) -> None:
    pytest.importorskip("skops")
    model, x, weights = fit_weighted_logistic(k)
    classifier = add_decision_rule(divide_by_class_weights(model, weights), DecisionRule(weights=tuple(weights)))
    skops_format.dump(classifier, tmp_path / "m.skops")
    np.testing.assert_array_equal(skops_format.read(tmp_path / "m.skops").predict(x), classifier.predict(x))


def test_balanced_uses_the_weights_and_shares_of_rows() -> None:
    ids, weights = np.array(list("abcd"), dtype=object), np.array([1.0, 3.0, 1.0, 1.0])
    weighted = Truth(ids, np.array([0, 0, 0, 1]), ("no", "yes"), weights)
    balanced = class_weights("head", "balanced", weighted, weights / weights.mean())
    assert balanced is not None
    assert balanced[1] / balanced[0] == pytest.approx(5)
    shares = np.array([[0.5, 0.5], [0.9, 0.1], [0.8, 0.2], [0.8, 0.2]])
    soft = Truth(ids, np.array([0, 0, 0, 0]), ("no", "yes"), None, shares)
    balanced = class_weights("head", "balanced", soft, np.ones(4))
    assert balanced is not None
    assert balanced[1] / balanced[0] == pytest.approx(3)


def test_a_rule_has_a_positive_weight_for_each_class() -> None:
    with pytest.raises((ValueError, FeatxError), match="greater than 0"):
        DecisionRule(weights=(1.0, 0.0))


@pytest.mark.parametrize(("name", "k"), [("logreg", 2), ("svm", 2), ("svm", 3)])
def test_a_search_by_log_loss_scores_unweighted_probabilities(name: str, k: int, tmp_path: Path) -> None:
    x, codes = make_rows(k, 400, 3)
    scores = {}
    for weight in ("none", "balanced"):
        rows = rows_of(x, codes, weight)
        spec = HeadSpec(name=name, metric="log_loss", trials=1, folds=3, class_weight=weight)  # type: ignore[arg-type]
        spaces = {"": SearchSpace(head_for(name, rows), rows)}
        scores[weight] = search(spaces, spec, tmp_path / weight, no_progress).score
    assert scores["balanced"] == pytest.approx(scores["none"], abs=0.04)


def test_temperature_with_class_weights_is_refused_for_svm(toy_home: Path) -> None:
    extract()
    spec = HeadSpec(name="svm", trials=1, folds=3, class_weight={"light": 3.0}, calibration="temperature")
    with pytest.raises(FeatxError, match="a temperature has no offset"):
        fit(heads=[spec])
