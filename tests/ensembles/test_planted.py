"""Members of known skill: every voting method does what theory predicts."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from featx.ensembles.cross_fitting import CrossFitting
from featx.ensembles.fixed_rules import Mean
from featx.ensembles.stacking import Stack
from featx.metrics.scores import score
from featx.registry import ENSEMBLE_METHODS
from featx.specs.ensembling import EnsembleSpec
from featx.tables.predictions import AnyPredictions, Estimates, Predictions
from featx.tables.truth import Numbers, Truth
from tests.ensemble_members import cross_predictions, ids_of, two_class_member

N = 1500
SPEC = EnsembleSpec()
RNG = np.random.default_rng(7)
CODES: NDArray[np.int64] = RNG.integers(0, 2, N)
TRUTH = Truth(ids_of(N), CODES, ("no", "yes"))


def codes_right_in(share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the codes that a member predicts who is right on a random share of the rows."""
    return np.where(rng.random(N) < share, CODES, 1 - CODES)


def accuracy_of(name: str, members: list[AnyPredictions], spec: EnsembleSpec = SPEC) -> float:
    return score("accuracy", TRUTH, cross_predictions(ENSEMBLE_METHODS.get(name), members, TRUTH, spec))


def test_a_majority_of_three_independent_members_follows_the_formula() -> None:
    p = 0.7
    members: list[AnyPredictions] = [
        two_class_member(codes_right_in(p, np.random.default_rng(seed)), 0.8) for seed in range(3)
    ]
    accuracy = accuracy_of("majority", members)
    expected = 3 * p**2 - 2 * p**3
    assert binomtest(round(accuracy * N), N, expected).pvalue > 0.01
    assert accuracy > p + 0.04
    for name in ("soft", "confidence", "weighted", "convex", "greedy", "stacking"):
        assert accuracy_of(name, members) == pytest.approx(accuracy, abs=0.03)


STACKERS = [SPEC, EnsembleSpec(stacker="ridge"), EnsembleSpec(stacker="xgboost")]


@pytest.fixture
def clones() -> list[AnyPredictions]:
    """Two clones that are right in 65 % of the rows and surer than they should be, and a strong one, right in 95 %."""
    weak = two_class_member(codes_right_in(0.65, np.random.default_rng(1)), 0.7)
    return [weak, weak, two_class_member(codes_right_in(0.95, np.random.default_rng(2)), 0.85)]


def test_a_majority_follows_two_clones(clones: list[AnyPredictions]) -> None:
    clone, _, strong = (score("accuracy", TRUTH, member) for member in clones)
    assert accuracy_of("majority", clones) == clone < 0.7
    assert accuracy_of("soft", clones) == clone
    assert strong > 0.93


@pytest.mark.parametrize("name", ["weighted", "convex", "greedy"])
def test_weights_from_val_find_the_strong_member_among_clones(name: str, clones: list[AnyPredictions]) -> None:
    assert accuracy_of(name, clones) == score("accuracy", TRUTH, clones[2])


@pytest.mark.parametrize("spec", STACKERS, ids=lambda spec: spec.stacker or "logistic")
def test_stacking_finds_the_strong_member_among_clones(spec: EnsembleSpec, clones: list[AnyPredictions]) -> None:
    assert accuracy_of("stacking", clones, spec) == pytest.approx(score("accuracy", TRUTH, clones[2]), abs=0.005)


@pytest.fixture
def adversary() -> list[AnyPredictions]:
    """A member that is right in 80 % of the rows, and one that is wrong in 90 %."""
    return [
        two_class_member(codes_right_in(0.8, np.random.default_rng(3)), 0.8),
        two_class_member(codes_right_in(0.1, np.random.default_rng(4)), 0.9),
    ]


@pytest.mark.parametrize("name", ["convex", "greedy"])
def test_an_adversary_gets_weight_0(name: str, adversary: list[AnyPredictions]) -> None:
    combiner = CrossFitting.of(adversary, TRUTH, SPEC).fit(ENSEMBLE_METHODS.get(name))
    assert isinstance(combiner, Mean)
    assert combiner.weights == (1, 0)
    assert combiner.unused == (1,)


@pytest.mark.parametrize("spec", STACKERS, ids=lambda spec: spec.stacker or "logistic")
def test_stacking_inverts_an_adversary(spec: EnsembleSpec, adversary: list[AnyPredictions]) -> None:
    assert accuracy_of("soft", adversary) < 0.2
    assert accuracy_of("stacking", adversary, spec) >= 0.88  # the inverted adversary is right on 90 %
    combiner = CrossFitting.of(adversary, TRUTH, spec).fit(ENSEMBLE_METHODS.get("stacking"))
    assert isinstance(combiner, Stack)


def test_convex_weights_are_those_of_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=4000)
    ids = ids_of(4000)
    sd = np.array([1.0, 2.0])
    members = [Estimates.of_part("val", ids, (true + rng.normal(0, s, 4000))[:, None], ["y"]) for s in sd]
    truth = Numbers(ids, true[:, None], ("y",))
    combiner = CrossFitting.of(members, truth, SPEC).fit(ENSEMBLE_METHODS.get("convex"))
    assert isinstance(combiner, Mean)
    np.testing.assert_allclose(combiner.weights, sd**-2 / (sd**-2).sum(), atol=0.02)  # independent errors: 1/variance
    errors = np.stack([member.values[:, 0] - true for member in members])
    cross, (a, b) = (errors[0] * errors[1]).mean(), (errors**2).mean(axis=1)
    np.testing.assert_allclose(combiner.weights[0], (b - cross) / (a + b - 2 * cross), atol=1e-5)  # of these rows


def test_convex_weights_have_the_least_log_loss_of_a_fine_grid(
    clones: list[AnyPredictions], adversary: list[AnyPredictions]
) -> None:
    members = [clones[0], clones[2], adversary[0]]
    combiner = CrossFitting.of(members, TRUTH, SPEC).fit(ENSEMBLE_METHODS.get("convex"))
    ensemble_loss = score("log_loss", TRUTH, combiner.combine(members))
    grid = [(a, b, 1 - a - b) for a in np.linspace(0, 1, 21) for b in np.linspace(0, 1 - a, 21)]
    assert (
        ensemble_loss
        <= min(score("log_loss", TRUTH, Mean(weights=weights).combine(members)) for weights in grid) + 1e-7
    )


def test_the_median_ignores_an_outlier() -> None:
    ids = ids_of(3)
    true = np.arange(3.0)[:, None]
    members = [Estimates.of_part("val", ids, true + shift, ["y"]) for shift in (0.1, -0.1, 1000)]
    combiner = ENSEMBLE_METHODS.get("median").fit(None, None, SPEC)
    np.testing.assert_allclose(combiner.combine(members).values, true + 0.1)


def test_members_weigh_by_their_confidence_row_by_row() -> None:
    rows = [[0.5, 0.5], [1.0, 0.0]]
    first = Predictions.of_part("val", ["a", "b"], np.array(rows), ["no", "yes"])
    second = Predictions.of_part("val", ["a", "b"], np.array([[0.2, 0.8], [0.5, 0.5]]), ["no", "yes"])
    predictions = ENSEMBLE_METHODS.get("confidence").fit(None, None, SPEC).combine([first, second])
    np.testing.assert_allclose(predictions.proba, [[0.2, 0.8], [1, 0]], atol=1e-6)


@pytest.mark.parametrize("metric", ["mae", "rmse", "r2"])
def test_numbers_weigh_by_their_error_or_score(metric: str) -> None:
    ids, rng = ids_of(400), np.random.default_rng(0)
    true = rng.normal(size=(400, 1))
    members = [Estimates.of_part("val", ids, true + rng.normal(0, sd, (400, 1)), ["y"]) for sd in (0.1, 0.4, 3)]
    truth = Numbers(ids, true, ("y",))
    combiner = CrossFitting.of(members, truth, EnsembleSpec(metric=metric)).fit(ENSEMBLE_METHODS.get("weighted"))
    assert isinstance(combiner, Mean)
    scores = [score(metric, truth, member) for member in members]
    raw_weights = np.clip(scores, 0, None) if metric == "r2" else 1 / np.array(scores)
    np.testing.assert_allclose(combiner.weights, raw_weights / raw_weights.sum())
    assert (combiner.unused == (2,)) == (metric == "r2")  # worse than the mean of the truth: it weighs nothing


def test_useless_members_weigh_the_same_and_perfect_ones_alone() -> None:
    wrong_member = two_class_member(1 - CODES, 0.9)
    assert CrossFitting.of([wrong_member, wrong_member], TRUTH, SPEC).fit(ENSEMBLE_METHODS.get("weighted")).weights == (
        0.5,
        0.5,
    )
    ids, true = ids_of(40), np.arange(40.0)[:, None]
    exact_member, shifted_member = (Estimates.of_part("val", ids, true + shift, ["y"]) for shift in (0, 1))
    combiner = CrossFitting.of([exact_member, shifted_member], Numbers(ids, true, ("y",)), SPEC).fit(
        ENSEMBLE_METHODS.get("weighted")
    )
    assert combiner.weights == (1, 0)


def test_soft_labels_and_weights_of_rows_count() -> None:
    ids = ids_of(200)
    shares = np.random.default_rng(0).uniform(0, 1, 200)
    proba = np.stack([1 - shares, shares], axis=1)
    codes = proba.argmax(axis=1)
    truth = Truth(ids, codes, ("no", "yes"), None, proba)
    honest, sharp = Predictions.of_part("val", ids, proba, ("no", "yes")), two_class_member(codes, 0.95)
    for name in ("convex", "greedy"):
        assert CrossFitting.of([honest, sharp], truth, EnsembleSpec(metric="log_loss")).fit(
            ENSEMBLE_METHODS.get(name)
        ).unused == (1,)
    stack_outputs = cross_predictions(ENSEMBLE_METHODS.get("stacking"), [honest, sharp], truth, SPEC)
    assert np.abs(stack_outputs.proba[:, 1] - shares).mean() < 0.1  # it learns the shares, not only the likelier class
    half = np.arange(N) < N // 2
    members: list[AnyPredictions] = [
        two_class_member(np.where(half, CODES, 1 - CODES), 0.8),
        two_class_member(np.where(half, 1 - CODES, CODES), 0.8),
    ]
    weighted = Truth(TRUTH.ids, CODES, TRUTH.classes, half.astype(float))
    for name in ("weighted", "convex", "greedy"):
        assert CrossFitting.of(members, weighted, SPEC).fit(ENSEMBLE_METHODS.get(name)).unused == (1,)
