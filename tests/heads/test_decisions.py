"""Class weights change decisions and leave probabilities honest, in every head and in everything that is written."""

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
from featx.heads.decisions import with_decision, without_class_weights
from featx.heads.fitting import learnt_in_folds
from featx.heads.folds import TrainRows
from featx.heads.search.search import SearchSpace, search
from featx.progress import no_progress
from featx.registry import HEADS
from featx.specs.head import HeadSpec
from featx.tables.decision_rule import DecisionRule, without_weights
from featx.tables.sample_weights import class_weights
from featx.tables.target_values import TargetValues
from featx.tables.truth import Truth
from tests.heads.test_heads import head_for, start_of

SHARES = {2: (0.92, 0.08), 3: (0.8, 0.15, 0.05)}


def drawn(k: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
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
    return TrainRows(x, TargetValues("classes", names, codes), class_weights=weights)


def probabilities(model: object, x: np.ndarray) -> np.ndarray:
    """Return (n, k) that sum to 1 in float64."""
    proba = predict_outputs(model, x, "classes")
    return proba / proba.sum(1, keepdims=True)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("name", HEADS.names())
def test_balanced_keeps_probabilities_honest_and_recall_high(name: str, k: int) -> None:
    x, codes = drawn(k, 800, 0)
    new, truth = drawn(k, 4000, 1)
    plain, balanced = (rows_of(x, codes, weight) for weight in ("none", "balanced"))
    head = head_for(name, balanced)
    if not head.weighs:
        pytest.skip(f"{name} takes no weights, and says so")
    params = start_of(head) | ({"min_samples_leaf": 20} if name == "rf" else {})
    spec = HeadSpec(name=name, folds=3)
    (usual, _), (model, unseen) = (learnt_in_folds(head, params, rows, spec) for rows in (plain, balanced))
    proba = probabilities(model, new)
    assert unseen.answers.mean(0) == pytest.approx(np.bincount(codes) / len(codes), abs=0.03)
    assert proba.mean(0) == pytest.approx(SHARES[k], abs=0.035)
    assert log_loss(truth, proba) < log_loss(truth, probabilities(usual, new)) + 0.05
    rule = balanced.decision
    assert rule is not None
    np.testing.assert_array_equal(model.predict(new), rule.codes(proba))
    rare = [k - 1]
    recalls = [recall_score(truth, one.predict(new), labels=rare, average="macro") for one in (usual, model)]
    assert recalls[1] > recalls[0] + 0.1


def test_probabilities_without_weights_are_those_of_bayes_rule() -> None:
    proba, weights = np.array([[0.2, 0.3, 0.5]]), np.array([1.0, 2.0, 5.0])
    expected = np.array([0.2, 0.15, 0.1]) / 0.45
    np.testing.assert_allclose(without_weights(proba, weights), expected[None])


def logistic(k: int) -> tuple[LogisticRegression, np.ndarray, np.ndarray]:
    x, codes = drawn(k, 400, 2)
    weights = np.linspace(1, 6, k)
    return LogisticRegression().fit(x, codes, weights[codes]), x, weights


def test_two_classes_are_decided_as_scikit_learns_fixed_threshold_does() -> None:
    model, x, weights = logistic(2)
    ours = with_decision(model, DecisionRule(weights=tuple(weights)))
    threshold = float(weights[0] / weights.sum())
    theirs = FixedThresholdClassifier(model, threshold=threshold, response_method="predict_proba")
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    np.testing.assert_array_equal(ours.predict_proba(x), model.predict_proba(x))


@pytest.mark.parametrize("k", [2, 3])
def test_weights_divided_out_and_decided_by_give_the_weighted_models_decisions(k: int) -> None:
    model, x, weights = logistic(k)
    honest = without_class_weights(model, weights)
    np.testing.assert_allclose(honest.predict_proba(x), without_weights(model.predict_proba(x), weights), rtol=1e-5)
    both = with_decision(honest, DecisionRule(weights=tuple(weights)))
    np.testing.assert_array_equal(both.predict(x), model.predict(x))


@pytest.mark.parametrize("k", [2, 3])
def test_the_object_is_an_ordinary_fitted_classifier(k: int) -> None:
    model, x, weights = logistic(k)
    both = with_decision(without_class_weights(model, weights), DecisionRule(weights=tuple(weights)))
    again = pickle.loads(pickle.dumps(both))
    np.testing.assert_array_equal(again.predict_proba(x), both.predict_proba(x))
    check_is_fitted(both)
    clone(both).set_output(transform="default")
    assert both.n_features_in_ == 4
    assert both.classes_.tolist() == list(range(k))


def test_it_loads_and_decides_where_featx_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, x, weights = logistic(3)
    joblib.dump(with_decision(without_class_weights(model, weights), DecisionRule(weights=tuple(weights))), "m.joblib")
    np.save("x.npy", x)
    code = (
        "import sys; sys.modules['featx'] = None\n"
        "import joblib, numpy as np\n"
        "np.save('found.npy', joblib.load('m.joblib').predict(np.load('x.npy')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_array_equal(np.load("found.npy"), model.predict(x))


@pytest.mark.parametrize("k", [2, 3])
def test_the_skops_format_keeps_the_decision(k: int, tmp_path: Path) -> None:
    pytest.importorskip("skops")
    model, x, weights = logistic(k)
    both = with_decision(without_class_weights(model, weights), DecisionRule(weights=tuple(weights)))
    skops_format.dump(both, tmp_path / "m.skops")
    np.testing.assert_array_equal(skops_format.read(tmp_path / "m.skops").predict(x), both.predict(x))


def test_balanced_counts_rows_by_their_own_weights_and_shares() -> None:
    ids, own = np.array(list("abcd"), dtype=object), np.array([1.0, 3.0, 1.0, 1.0])
    weighted = Truth(ids, np.array([0, 0, 0, 1]), ("no", "yes"), own)
    found = class_weights("head", "balanced", weighted, own / own.mean())
    assert found is not None
    assert found[1] / found[0] == pytest.approx(5)
    shares = np.array([[0.5, 0.5], [0.9, 0.1], [0.8, 0.2], [0.8, 0.2]])
    soft = Truth(ids, np.array([0, 0, 0, 0]), ("no", "yes"), None, shares)
    found = class_weights("head", "balanced", soft, np.ones(4))
    assert found is not None
    assert found[1] / found[0] == pytest.approx(3)


def test_a_rule_has_a_positive_weight_for_each_class() -> None:
    with pytest.raises((ValueError, FeatxError), match="greater than 0"):
        DecisionRule(weights=(1.0, 0.0))


@pytest.mark.parametrize("name", ["logreg", "svm"])
def test_a_search_by_log_loss_scores_honest_probabilities(name: str, tmp_path: Path) -> None:
    x, codes = drawn(2, 400, 3)
    found = {}
    for weight in ("none", "balanced"):
        rows = rows_of(x, codes, weight)
        spec = HeadSpec(name=name, metric="log_loss", trials=1, folds=3, class_weight=weight)  # type: ignore[arg-type]
        arenas = {"": SearchSpace(head_for(name, rows), rows)}
        found[weight] = search(arenas, spec, tmp_path / weight, no_progress).score
    assert found["balanced"] == pytest.approx(found["none"], abs=0.04)


def test_a_temperature_beside_class_weights_is_refused_without_own_probabilities(toy_home: Path) -> None:
    extract()
    spec = HeadSpec(name="svm", trials=1, folds=3, class_weight={"light": 3.0}, calibration="temperature")
    with pytest.raises(FeatxError, match="a temperature has no offset"):
        fit(heads=[spec])
