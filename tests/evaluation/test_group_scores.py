"""Scores by group, tests of groups, and thresholds of groups.

Modules: cli.run_table, evaluation.group_membership, evaluation.group_tests, evaluation.group_texts,
evaluation.unit_permutations.
"""

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact, permutation_test
from sklearn.metrics import accuracy_score, mean_absolute_error

import featx
from featx.cli import run_table
from featx.evaluation.evaluation_table import Evaluation
from featx.evaluation.group_biases import group_biases
from featx.evaluation.group_membership import GroupMembership, group_rows, groupings
from featx.evaluation.group_scores import Grouping, GroupPredictions, score_groups
from featx.evaluation.group_tests import cross_fit_threshold, group_p_values
from featx.evaluation.group_texts import describe_differences
from featx.evaluation.paired_tests import holm
from featx.tables.target_values import ClassTargets, NumberTargets
from tests.conftest import make_images
from tests.evaluation.simulations import fair_flagged, units_flagged
from tests.recipes import LABEL_TABLE, toy_recipe

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of fairlearn's own imports
    from fairlearn.metrics import MetricFrame, demographic_parity_difference

N = 400
SITES = np.array(["north", "south", "west"], dtype=object)


def sites(n: int = N, seed: int = 0) -> np.ndarray:
    return SITES[np.random.default_rng(seed).integers(0, 3, n)]


def make_predictions(right: np.ndarray, k: int = 2, seed: int = 1) -> GroupPredictions:
    """Return predictions of k classes; `right` has the probability that each row is correct."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, len(right))
    y_pred = np.where(rng.random(len(right)) < right, y, (y + 1) % k)
    return GroupPredictions(ClassTargets(tuple("abcd"[:k]), y), (0.2 + np.eye(k)[y_pred]) / (1 + 0.2 * k))


def by_site(groupings: list[Grouping]) -> Grouping:
    return next(grouping for grouping in groupings if grouping.name == "site")


def group_by_site(values: np.ndarray) -> GroupMembership:
    return group_rows("site", pd.Series(values))


def test_scores_difference_and_ratio_equal_fairlearn() -> None:
    site = sites()
    predictions = make_predictions(np.full(N, 0.8))
    (grouping,) = score_groups(predictions, [group_by_site(site)])
    y_pred = predictions.outputs.argmax(1)
    frame = MetricFrame(metrics=accuracy_score, y_true=predictions.targets.y, y_pred=y_pred, sensitive_features=site)
    assert {group.name: group.scores["accuracy"] for group in grouping.groups} == pytest.approx(
        frame.by_group.to_dict()
    )
    assert grouping.overall == pytest.approx(frame.overall)
    assert grouping.largest_difference == pytest.approx(frame.difference(method="between_groups"))
    assert grouping.ratio == pytest.approx(frame.ratio(method="between_groups"))
    parity = demographic_parity_difference(predictions.targets.y, y_pred, sensitive_features=site)
    assert grouping.parity_difference == pytest.approx(parity)


def test_bias_of_numbers_equals_fairlearn() -> None:
    rng = np.random.default_rng(0)
    site, y = sites(), rng.normal(40, 10, (N, 1))
    predictions = GroupPredictions(NumberTargets(("age",), y), y + rng.normal(0, 5, (N, 1)))
    (grouping,) = score_groups(predictions, [group_by_site(site)])
    frame = MetricFrame(
        metrics=mean_absolute_error, y_true=y[:, 0], y_pred=predictions.outputs[:, 0], sensitive_features=site
    )
    errors = frame.by_group.to_numpy()
    assert grouping.largest_difference == pytest.approx(errors.max() - errors.min())
    assert grouping.mean_deviation == pytest.approx(np.abs(errors - frame.overall).mean())
    assert grouping.ratio == pytest.approx(frame.ratio(method="between_groups"))
    bias = group_biases({"run": predictions}, [group_by_site(site)])["run"]["site"]
    assert bias.largest_difference == pytest.approx(grouping.largest_difference)
    assert bias.mean_deviation == pytest.approx(grouping.mean_deviation)
    assert bias.ratio == pytest.approx(grouping.ratio)
    assert grouping.parity_difference is None


def test_a_planted_bias_is_flagged_with_the_right_group() -> None:
    site, sex = sites(), np.where(np.arange(N) % 2, "f", "m")
    predictions = make_predictions(np.where(site == "south", 0.65, 0.9))
    results = score_groups(predictions, list(groupings({"site": pd.Series(site), "sex": pd.Series(sex)})))
    assert [result.name for result in results] == ["site", "sex", "site × sex"]
    assert [group.name for group in by_site(results).groups if group.is_flagged] == ["south"]
    assert not [group for group in results[1].groups if group.is_flagged]
    assert all("south" in group.name for group in results[2].groups if group.is_flagged)
    assert "significantly lower in south" in describe_differences(by_site(results))
    south = by_site(results).groups[1]
    low, high = south.intervals["accuracy"]
    assert low < south.scores["accuracy"] < high < by_site(results).overall


def test_a_group_with_smaller_errors_is_reported_as_better() -> None:
    site = sites()
    (grouping,) = score_groups(make_predictions(np.where(site == "west", 0.95, 0.75)), [group_by_site(site)])
    west = grouping.groups[2]
    assert (west.is_flagged, west.p_holm is not None and west.p_holm < 0.05) == (False, True)
    assert "significantly higher in west" in describe_differences(grouping)


def test_larger_errors_of_numbers_are_flagged() -> None:
    rng = np.random.default_rng(0)
    site, y = sites(), rng.normal(40, 10, (N, 1))
    spread = np.where(site == "west", 9, 5)[:, None]
    (grouping,) = score_groups(
        GroupPredictions(NumberTargets(("age",), y), y + spread * rng.normal(0, 1, (N, 1))),
        [group_by_site(site)],
    )
    assert [group.name for group in grouping.groups if group.is_flagged] == ["west"]


def test_a_fair_model_is_flagged_in_at_most_5_percent_of_studies() -> None:
    assert fair_flagged(400, is_counted=True) <= 0.05
    assert fair_flagged(60, is_counted=False) <= 0.1  # tests/slow has more of them


def test_errors_in_units_are_tested_by_units() -> None:
    rng = np.random.default_rng(0)
    by_rows = by_units = 0
    for _ in range(25):
        unit = np.repeat(np.arange(40), 10)
        site = np.where(unit % 2, "north", "south")
        predictions = make_predictions(np.repeat(rng.choice([0.5, 1.0], 40), 10), seed=int(rng.integers(1e6)))
        grouped = GroupPredictions(predictions.targets, predictions.outputs, unit)
        by_rows += score_groups(predictions, [group_by_site(site)])[0].groups[0].p_holm < 0.05  # type: ignore[operator]
        by_units += score_groups(grouped, [group_by_site(site)])[0].groups[0].p_holm < 0.05  # type: ignore[operator]
    assert by_units < by_rows
    assert by_units <= 3


def patients(sizes: Sequence[int], sites: Sequence[str], errors: Sequence[int]) -> tuple[GroupPredictions, np.ndarray]:
    """Return predictions for the images of patients, and the sites of the images.

    Each patient has a number of images (`sizes`), all at one site, and a number of wrong predictions (`errors`).
    """
    units = np.repeat(np.arange(len(sizes)), sizes)
    is_wrong = np.concatenate([np.arange(size) < n for size, n in zip(sizes, errors, strict=True)])
    y = np.arange(len(units)) % 2
    facts = ClassTargets(("a", "b"), y)
    return GroupPredictions(facts, np.eye(2)[np.where(is_wrong, 1 - y, y)], units), np.repeat(sites, sizes).astype(
        object
    )


def test_a_harmed_site_of_5_patients_is_flagged() -> None:
    predictions, site = patients([20] * 35, ["west"] * 5 + ["north"] * 30, [8] * 5 + [1, 2, 3] * 10)
    (grouping,) = score_groups(predictions, [group_by_site(site)])
    assert [group.name for group in grouping.groups if group.is_flagged] == ["west"]
    assert grouping.groups[1].n_units == 5


def test_groups_of_too_few_units_are_reported_and_not_compared() -> None:
    """Check a site of 3 patients and 90 rows with accuracy .21 against .91, and a site of one patient."""
    predictions, site = patients([30] * 23 + [60], ["west"] * 3 + ["north"] * 20 + ["lone"], [24] * 3 + [3] * 20 + [0])
    (grouping,) = score_groups(predictions, [group_by_site(site)])
    by_name = {group.name: group for group in grouping.groups}
    for name in ("west", "lone"):
        assert (by_name[name].is_compared, by_name[name].p_holm, by_name[name].intervals) == (False, None, {})
    text = describe_differences(grouping)
    assert "too few units (expected 5 or more inside and outside of the group): " in text
    assert "lone (60 rows, 1 units)" in text
    assert "west (90 rows, 3 units)" in text


def test_units_of_one_row_are_tested_as_rows() -> None:
    is_wrong = np.random.default_rng(0).random(100) < 0.2
    group_masks = [np.arange(100) < 40]
    assert group_p_values(is_wrong * 1.0, group_masks, np.arange(100)[::-1]) == group_p_values(
        is_wrong * 1.0, group_masks
    )
    expected = fisher_exact(
        [[is_wrong[:40].sum(), 40 - is_wrong[:40].sum()], [is_wrong[40:].sum(), 60 - is_wrong[40:].sum()]]
    )
    assert (group_p_values(is_wrong * 1.0, group_masks)[0] < 0.05) == (expected.pvalue < 0.05)


def test_two_groups_that_contain_all_rows_are_one_test() -> None:
    side = np.where(np.arange(N) < 150, "left", "right")
    predictions = make_predictions(np.where(side == "left", 0.7, 0.8))
    site = sites()
    pair, three = score_groups(predictions, [group_by_site(side), group_rows("other", pd.Series(site))])
    group_masks = [side == "left", *(site == name for name in SITES)]
    first, *remaining = holm(group_p_values(predictions.errors, group_masks))
    assert [group.p_holm for group in pair.groups] == [first, first]
    assert [group.p_holm for group in three.groups] == remaining


def test_the_permutation_of_units_equals_scipy() -> None:
    rng = np.random.default_rng(3)
    means = rng.random(24)
    units = np.repeat(np.arange(24), 5)
    p = group_p_values(np.repeat(means, 5), [units < 8], units)[0]

    def difference(first: np.ndarray, second: np.ndarray, axis: int) -> np.ndarray:
        return np.asarray(first.mean(axis=axis) - second.mean(axis=axis))

    expected = permutation_test((means[:8], means[8:]), difference, n_resamples=20_000, vectorized=True)
    assert p == pytest.approx(expected.pvalue, abs=0.04)


def test_patients_with_images_at_both_sites_are_compared_with_themselves() -> None:
    rng = np.random.default_rng(0)
    units = np.repeat(np.arange(30), 20)
    side = np.tile(np.arange(20) < 10, 30)
    hard = np.repeat(rng.choice([0.05, 0.6], 30), 20)
    fair = (rng.random(600) < hard) * 1.0
    harmed = (rng.random(600) < hard + 0.2 * side) * 1.0
    assert group_p_values(fair, [side], units)[0] > 0.05
    assert group_p_values(harmed, [side], units)[0] < 1e-3


def test_equal_errors_have_a_p_of_1() -> None:
    units = np.repeat(np.arange(20), 5)
    for value in (0.0, 1.0, 0.1):
        errors = np.full(100, value)
        assert group_p_values(errors, [units < 6], units) == [1.0]
        assert group_p_values(errors, [units < 6]) == [1.0]


SITES_OF_PATIENTS = [(5, 20), (10, 20), (15, 10)]


def test_harmed_sites_are_flagged_and_fair_ones_rarely() -> None:
    assert units_flagged(40, SITES_OF_PATIENTS, harm=0.0, spread=0.05) <= 0.1  # tests/slow has more of them
    assert units_flagged(20, SITES_OF_PATIENTS, harm=0.3, spread=0.05) >= 0.9


def test_small_groups_are_shown_and_not_compared() -> None:
    site = sites()
    site[:1] = "alone"
    predictions = make_predictions(np.full(N, 0.8))
    (grouping,) = score_groups(predictions, [group_by_site(site)])
    single_group = next(group for group in grouping.groups if group.name == "alone")
    assert (single_group.n, single_group.is_compared, single_group.p_holm, single_group.intervals) == (
        1,
        False,
        None,
        {},
    )
    assert single_group.scores["accuracy"] in {0.0, 1.0}
    values = [group.scores["accuracy"] for group in grouping.groups if group.is_compared]
    assert grouping.largest_difference == pytest.approx(max(values) - min(values))
    (small,) = score_groups(predictions, [group_by_site(np.where(np.arange(N) < 19, "few", "many"))])
    assert small.largest_difference is None
    assert "fewer than two have 20 rows or more" in describe_differences(small)


def test_a_group_of_one_class_has_no_auc_but_is_compared() -> None:
    predictions = make_predictions(np.full(N, 0.8))
    site = np.where(predictions.targets.y == 1, "ill", "mixed")
    site[:150] = "mixed"
    (grouping,) = score_groups(predictions, [group_by_site(site)])
    ill = grouping.groups[0]
    assert (ill.name, ill.is_compared) == ("ill", True)
    assert math.isnan(ill.scores["auc_ovr"])
    assert math.isnan(ill.intervals["auc_ovr"][0])
    assert ill.scores["accuracy"] == ill.scores["balanced_accuracy"]


def test_rows_without_a_value_belong_to_no_group() -> None:
    site = pd.Series(sites()).where(np.arange(N) >= 50)
    predictions = make_predictions(np.where(np.arange(N) < 50, 0.0, 0.8))
    (grouping,) = score_groups(predictions, [group_rows("site", site)])
    assert grouping.n_missing == 50
    assert sum(group.n for group in grouping.groups) == N - 50
    assert grouping.overall > 0.7
    empty_grouping = score_groups(predictions, [group_rows("site", pd.Series([None] * N, dtype=object))])[0]
    assert (empty_grouping.groups, empty_grouping.n_missing) == ([], N)


def test_combined_groups_need_a_value_in_both_columns() -> None:
    a, b = pd.Series(["x", "y", None, "y", "y"]), pd.Series(["1", None, "1", "2", "1"])
    *_, combined = groupings({"a": a, "b": b})
    assert (combined.groups, combined.codes.tolist()) == (("x × 1", "y × 1", "y × 2"), [0, -1, -1, 2, 1])


def test_numbers_are_binned_and_bins_have_an_order() -> None:
    ages = np.random.default_rng(0).uniform(5, 80, N)
    ages[0] = np.nan
    bands = group_rows("age", pd.Series(ages))
    assert (len(bands.groups), bands.ordered, int((~bands.has_value).sum())) == (5, True, 1)
    np.testing.assert_allclose(np.bincount(bands.codes[bands.has_value]), (N - 1) / 5, atol=1)
    named_bands = group_rows("band", pd.Series([">60", "20-40", "<20", "40-60"] * 10))
    assert (named_bands.groups, named_bands.ordered) == (("<20", "20-40", "40-60", ">60"), True)
    assert group_rows("n", pd.Series([3.0, 1.0, 2.0])).groups == ("1", "2", "3")
    assert not group_by_site(sites()).ordered


def test_bins_of_a_narrow_range_have_different_names() -> None:
    groups = group_rows("pressure", pd.Series(1013 + np.arange(50) / 100)).groups
    assert len(set(groups)) == 5


def test_errors_that_increase_with_the_bins_have_a_step() -> None:
    ages = np.random.default_rng(0).uniform(0, 100, 2000)
    (grouping,) = score_groups(make_predictions(0.95 - ages / 250), [group_rows("age", pd.Series(ages))])
    assert grouping.step == pytest.approx(20 / 250, abs=0.02)
    assert by_site(score_groups(make_predictions(np.full(N, 0.8)), [group_by_site(sites())])).step is None


def test_parity_difference_is_for_two_classes_only() -> None:
    (grouping,) = score_groups(make_predictions(np.full(N, 0.8), k=3), [group_by_site(sites())])
    assert grouping.parity_difference is None
    assert all(group.predicted_positive_rate is None and group.threshold is None for group in grouping.groups)


def test_group_thresholds_correct_shifted_probabilities() -> None:
    rng = np.random.default_rng(0)
    site, y = sites(1200, seed=5), rng.integers(0, 2, 1200)
    p = np.clip(0.5 + 0.2 * (2 * y - 1) + rng.normal(0, 0.15, 1200) - 0.2 * (site == "west"), 0.01, 0.99)
    predictions = GroupPredictions(ClassTargets(("no", "yes"), y), np.stack([1 - p, p], axis=1))
    (grouping,) = score_groups(predictions, [group_by_site(site)])
    west, other_groups = grouping.groups[2], grouping.groups[:2]
    assert west.threshold == pytest.approx(0.3, abs=0.05)
    assert west.score_by_threshold is not None
    assert west.score_by_threshold > west.scores["accuracy"] + 0.1
    assert all(abs((group.score_by_threshold or 0) - group.scores["accuracy"]) < 0.03 for group in other_groups)
    assert grouping.largest_difference is not None
    assert (grouping.largest_difference_by_thresholds or 1) < grouping.largest_difference / 2
    (sealed_grouping,) = score_groups(
        GroupPredictions(predictions.targets, predictions.outputs, can_fit_thresholds=False), [group_by_site(site)]
    )
    assert sealed_grouping.groups[2].threshold is None


def test_group_thresholds_are_cross_fitted() -> None:
    rng = np.random.default_rng(0)
    scores = [cross_fit_threshold(rng.integers(0, 2, 40), rng.random(40), np.arange(40))[1] for _ in range(50)]
    assert np.mean(scores) == pytest.approx(0.5, abs=0.03)


def test_group_thresholds_are_cross_fitted_by_whole_units() -> None:
    rng, scores = np.random.default_rng(0), []
    group = np.repeat(["x", "y"], 120)
    for _ in range(20):
        # The rows of a patient are equal, and no probability says anything about the class of another patient.
        y, p = np.repeat(rng.integers(0, 2, 24), 10), np.repeat(rng.random(24), 10)
        patients = np.repeat(np.arange(24), 10).astype(str)
        predictions = GroupPredictions(ClassTargets(("no", "yes"), y), np.stack([1 - p, p], axis=1), patients)
        (grouping,) = score_groups(predictions, [group_by_site(group)])
        scores += [group.score_by_threshold for group in grouping.groups]
    assert np.mean(scores) < 0.5


def test_columns_of_many_values_show_the_largest_groups() -> None:
    names = np.array([f"g{i % 100}" if i < 300 else "big" for i in range(N)], dtype=object)
    (grouping,) = score_groups(make_predictions(np.full(N, 0.8)), [group_by_site(names)])
    assert (len(grouping.groups), grouping.n_omitted_groups) == (40, 61)
    assert "big" in {group.name for group in grouping.groups}


def test_evaluate_reports_scores_by_group(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = make_images(home / "images", n_each=120)
    rng = np.random.default_rng(0)
    table = {"path": ids, "class": [name.split("/")[0] for name in ids], "site": sites(len(ids))}
    table["age"] = rng.integers(1, 90, len(ids)).astype(float)
    table["age"][::10] = np.nan
    pd.DataFrame(table).to_csv("images/labels.csv", index=False)
    recipe = toy_recipe(data=LABEL_TABLE, groups={"site": "site", "age": "age"})
    Path("featx.toml").write_text(recipe)
    featx.extract()
    featx.fit()
    (evaluation,) = featx.evaluate()
    assert [grouping.name for grouping in evaluation.groupings] == ["site", "age", "site × age"]
    assert evaluation.groupings[1].n_missing > 0
    assert list(evaluation.rows[1].biases) == ["site", "age"]
    assert Evaluation.from_dict(json.loads(json.dumps(asdict(evaluation)))).groupings[0].groups[0].n > 0
    run_table.evaluations([evaluation], with_groups=True)
    output = capsys.readouterr().out
    assert "groups, " in output
    assert "too few to compare" in output
    assert "rows have no value" in output
    (final_evaluation,) = featx.evaluate(final=True)
    assert final_evaluation.groupings[0].groups[0].threshold is None
    assert " by group (val)" in Path(featx.report().report).read_text()


def test_own_thresholds_of_soft_labels_are_scored_by_their_shares() -> None:
    shares, sexes = np.random.default_rng(0).dirichlet((2, 2), 400), pd.Series(["m", "f"] * 200)
    predictions = GroupPredictions(ClassTargets(("a", "b"), shares.argmax(1), None, shares), shares)
    for group in score_groups(predictions, list(groupings({"sex": sexes})))[0].groups:
        assert group.score_by_threshold == pytest.approx(group.scores["accuracy"], abs=0.01)
