"""For whom a run works."""

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
from featx.evaluation.group_membership import GroupMembership, group_rows, groupings
from featx.evaluation.group_scores import Grouping, GroupPredictions, group_biases, score_groups
from featx.evaluation.group_tests import fit_group_thresholds, group_p_values, row_errors
from featx.evaluation.group_texts import bias_text
from featx.evaluation.paired_tests import holm
from featx.tables.target_values import TargetValues
from tests.conftest import TOY_RECIPE, make_images
from tests.evaluation.simulations import fair_flagged, units_flagged

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of fairlearn's own imports
    from fairlearn.metrics import MetricFrame, demographic_parity_difference

N = 400
SITES = np.array(["north", "south", "west"], dtype=object)


def sites(n: int = N, seed: int = 0) -> np.ndarray:
    return SITES[np.random.default_rng(seed).integers(0, 3, n)]


def answers(right: np.ndarray, k: int = 2, seed: int = 1) -> GroupPredictions:
    """Answer rows of k classes, right with a probability each."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, len(right))
    guessed = np.where(rng.random(len(right)) < right, y, (y + 1) % k)
    return GroupPredictions(TargetValues("classes", tuple("abcd"[:k]), y), (0.2 + np.eye(k)[guessed]) / (1 + 0.2 * k))


def by_site(found: list[Grouping]) -> Grouping:
    return next(one for one in found if one.name == "site")


def of_site(values: np.ndarray) -> GroupMembership:
    return group_rows("site", pd.Series(values))


def test_scores_difference_and_ratio_are_fairlearns() -> None:
    site = sites()
    given = answers(np.full(N, 0.8))
    (found,) = score_groups(given, [of_site(site)])
    guessed = given.outputs.argmax(1)
    frame = MetricFrame(metrics=accuracy_score, y_true=given.targets.y, y_pred=guessed, sensitive_features=site)
    assert {one.name: one.scores["accuracy"] for one in found.groups} == pytest.approx(frame.by_group.to_dict())
    assert found.overall == pytest.approx(frame.overall)
    assert found.largest_difference == pytest.approx(frame.difference(method="between_groups"))
    assert found.ratio == pytest.approx(frame.ratio(method="between_groups"))
    parity = demographic_parity_difference(given.targets.y, guessed, sensitive_features=site)
    assert found.parity_difference == pytest.approx(parity)


def test_bias_of_numbers_is_that_of_the_study_and_of_fairlearn() -> None:
    rng = np.random.default_rng(0)
    site, y = sites(), rng.normal(40, 10, (N, 1))
    given = GroupPredictions(TargetValues("numbers", ("age",), y), y + rng.normal(0, 5, (N, 1)))
    (found,) = score_groups(given, [of_site(site)])
    frame = MetricFrame(
        metrics=mean_absolute_error, y_true=y[:, 0], y_pred=given.outputs[:, 0], sensitive_features=site
    )
    errors = frame.by_group.to_numpy()
    assert found.largest_difference == pytest.approx(errors.max() - errors.min())
    assert found.mean_deviation == pytest.approx(np.abs(errors - frame.overall).mean())
    assert found.ratio == pytest.approx(frame.ratio(method="between_groups"))
    assert group_biases(given, [of_site(site)])["site"] == pytest.approx(
        (found.largest_difference, found.mean_deviation)
    )
    assert found.parity_difference is None


def test_a_planted_bias_is_flagged_with_the_right_group() -> None:
    site, sex = sites(), np.where(np.arange(N) % 2, "f", "m")
    given = answers(np.where(site == "south", 0.65, 0.9))
    found = score_groups(given, list(groupings({"site": pd.Series(site), "sex": pd.Series(sex)})))
    assert [one.name for one in found] == ["site", "sex", "site × sex"]
    assert [group.name for group in by_site(found).groups if group.is_flagged] == ["south"]
    assert not [group for group in found[1].groups if group.is_flagged]
    assert all("south" in group.name for group in found[2].groups if group.is_flagged)
    assert "significantly lower in south" in bias_text(by_site(found))
    south = by_site(found).groups[1]
    low, high = south.intervals["accuracy"]
    assert low < south.scores["accuracy"] < high < by_site(found).overall


def test_a_group_that_others_do_not_pay_for_alone_is_called_better() -> None:
    site = sites()
    (found,) = score_groups(answers(np.where(site == "west", 0.95, 0.75)), [of_site(site)])
    west = found.groups[2]
    assert (west.is_flagged, west.p_holm is not None and west.p_holm < 0.05) == (False, True)
    assert "significantly higher in west" in bias_text(found)


def test_larger_errors_of_numbers_are_flagged() -> None:
    rng = np.random.default_rng(0)
    site, y = sites(), rng.normal(40, 10, (N, 1))
    spread = np.where(site == "west", 9, 5)[:, None]
    (found,) = score_groups(
        GroupPredictions(TargetValues("numbers", ("age",), y), y + spread * rng.normal(0, 1, (N, 1))), [of_site(site)]
    )
    assert [group.name for group in found.groups if group.is_flagged] == ["west"]


def test_a_fair_model_is_flagged_in_at_most_one_of_twenty_studies() -> None:
    assert fair_flagged(400, is_counted=True) <= 0.05
    assert fair_flagged(60, is_counted=False) <= 0.1  # tests/slow has more of them


def test_errors_that_come_in_units_are_tested_by_units() -> None:
    rng = np.random.default_rng(0)
    by_rows = by_units = 0
    for _ in range(25):
        unit = np.repeat(np.arange(40), 10)
        site = np.where(unit % 2, "north", "south")
        given = answers(np.repeat(rng.choice([0.5, 1.0], 40), 10), seed=int(rng.integers(1e6)))
        grouped = GroupPredictions(given.targets, given.outputs, unit)
        by_rows += score_groups(given, [of_site(site)])[0].groups[0].p_holm < 0.05  # type: ignore[operator]
        by_units += score_groups(grouped, [of_site(site)])[0].groups[0].p_holm < 0.05  # type: ignore[operator]
    assert by_units < by_rows
    assert by_units <= 3


def patients(sizes: Sequence[int], sites: Sequence[str], errors: Sequence[int]) -> tuple[GroupPredictions, np.ndarray]:
    """Answer the images of some patients, of whom each has so many images at one site and so many wrong answers."""
    units = np.repeat(np.arange(len(sizes)), sizes)
    wrong = np.concatenate([np.arange(size) < n for size, n in zip(sizes, errors, strict=True)])
    y = np.arange(len(units)) % 2
    facts = TargetValues("classes", ("a", "b"), y)
    return GroupPredictions(facts, np.eye(2)[np.where(wrong, 1 - y, y)], units), np.repeat(sites, sizes).astype(object)


def test_a_harmed_site_of_5_patients_is_flagged() -> None:
    given, site = patients([20] * 35, ["west"] * 5 + ["north"] * 30, [8] * 5 + [1, 2, 3] * 10)
    (found,) = score_groups(given, [of_site(site)])
    assert [group.name for group in found.groups if group.is_flagged] == ["west"]
    assert found.groups[1].n_units == 5


def test_too_few_units_are_named_and_not_compared() -> None:
    """A site of 3 patients and 90 rows with accuracy .21 against .91, and one of a single patient."""
    given, site = patients([30] * 23 + [60], ["west"] * 3 + ["north"] * 20 + ["lone"], [24] * 3 + [3] * 20 + [0])
    (found,) = score_groups(given, [of_site(site)])
    by_name = {group.name: group for group in found.groups}
    for name in ("west", "lone"):
        assert (by_name[name].is_compared, by_name[name].p_holm, by_name[name].intervals) == (False, None, {})
    text = bias_text(found)
    assert "not compared, expected 5 or more units inside and outside of the group: " in text
    assert "lone (60 rows, 1 units)" in text
    assert "west (90 rows, 3 units)" in text


def test_units_of_one_row_are_tested_as_rows() -> None:
    wrong = np.random.default_rng(0).random(100) < 0.2
    inside = [np.arange(100) < 40]
    assert group_p_values(wrong * 1.0, inside, np.arange(100)[::-1]) == group_p_values(wrong * 1.0, inside)
    expected = fisher_exact([[wrong[:40].sum(), 40 - wrong[:40].sum()], [wrong[40:].sum(), 60 - wrong[40:].sum()]])
    assert (group_p_values(wrong * 1.0, inside)[0] < 0.05) == (expected.pvalue < 0.05)


def test_two_groups_that_hold_all_rows_are_one_test() -> None:
    side = np.where(np.arange(N) < 150, "left", "right")
    given = answers(np.where(side == "left", 0.7, 0.8))
    others = sites()
    pair, three = score_groups(given, [of_site(side), group_rows("other", pd.Series(others))])
    inside = [side == "left", *(others == name for name in SITES)]
    first, *rest = holm(group_p_values(row_errors(given.targets, given.outputs), inside))
    assert [group.p_holm for group in pair.groups] == [first, first]
    assert [group.p_holm for group in three.groups] == rest


def test_the_permutation_of_units_is_scipys() -> None:
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


def test_errors_that_are_all_alike_differ_in_no_group() -> None:
    units = np.repeat(np.arange(20), 5)
    for value in (0.0, 1.0, 0.1):
        errors = np.full(100, value)
        assert group_p_values(errors, [units < 6], units) == [1.0]
        assert group_p_values(errors, [units < 6]) == [1.0]


SITES_OF_PATIENTS = [(5, 20), (10, 20), (15, 10)]


def test_fair_sites_are_rarely_flagged_and_harmed_ones_are() -> None:
    assert units_flagged(40, SITES_OF_PATIENTS, harm=0.0, spread=0.05) <= 0.1  # tests/slow has more of them
    assert units_flagged(20, SITES_OF_PATIENTS, harm=0.3, spread=0.05) >= 0.9


def test_small_groups_are_shown_and_not_compared() -> None:
    site = sites()
    site[:1] = "alone"
    given = answers(np.full(N, 0.8))
    (found,) = score_groups(given, [of_site(site)])
    alone = next(group for group in found.groups if group.name == "alone")
    assert (alone.n, alone.is_compared, alone.p_holm, alone.intervals) == (1, False, None, {})
    assert alone.scores["accuracy"] in {0.0, 1.0}
    values = [group.scores["accuracy"] for group in found.groups if group.is_compared]
    assert found.largest_difference == pytest.approx(max(values) - min(values))
    (few,) = score_groups(given, [of_site(np.where(np.arange(N) < 19, "few", "many"))])
    assert few.largest_difference is None
    assert "expected at least two groups of 20 rows or more" in bias_text(few)


def test_a_group_of_one_class_has_no_auc_and_is_compared_all_the_same() -> None:
    given = answers(np.full(N, 0.8))
    site = np.where(given.targets.y == 1, "ill", "mixed")
    site[:150] = "mixed"
    (found,) = score_groups(given, [of_site(site)])
    ill = found.groups[0]
    assert (ill.name, ill.is_compared) == ("ill", True)
    assert math.isnan(ill.scores["auc_ovr"])
    assert math.isnan(ill.intervals["auc_ovr"][0])
    assert ill.scores["accuracy"] == ill.scores["balanced_accuracy"]


def test_rows_without_a_value_belong_to_no_group() -> None:
    site = pd.Series(sites()).where(np.arange(N) >= 50)
    given = answers(np.where(np.arange(N) < 50, 0.0, 0.8))
    (found,) = score_groups(given, [group_rows("site", site)])
    assert found.n_missing == 50
    assert sum(group.n for group in found.groups) == N - 50
    assert found.overall > 0.7
    nothing = score_groups(given, [group_rows("site", pd.Series([None] * N, dtype=object))])[0]
    assert (nothing.groups, nothing.n_missing) == ([], N)


def test_where_two_columns_meet_both_must_have_a_value() -> None:
    a, b = pd.Series(["x", "y", None, "y", "y"]), pd.Series(["1", None, "1", "2", "1"])
    *_, both = groupings({"a": a, "b": b})
    assert (both.groups, both.codes.tolist()) == (("x × 1", "y × 1", "y × 2"), [0, -1, -1, 2, 1])


def test_numbers_become_bands_and_bands_have_an_order() -> None:
    ages = np.random.default_rng(0).uniform(5, 80, N)
    ages[0] = np.nan
    bands = group_rows("age", pd.Series(ages))
    assert (len(bands.groups), bands.ordered, int((~bands.has_value).sum())) == (5, True, 1)
    np.testing.assert_allclose(np.bincount(bands.codes[bands.has_value]), (N - 1) / 5, atol=1)
    named = group_rows("band", pd.Series([">60", "20-40", "<20", "40-60"] * 10))
    assert (named.groups, named.ordered) == (("<20", "20-40", "40-60", ">60"), True)
    assert group_rows("n", pd.Series([3.0, 1.0, 2.0])).groups == ("1", "2", "3")
    assert not of_site(sites()).ordered


def test_errors_that_grow_with_the_bands_have_a_step() -> None:
    ages = np.random.default_rng(0).uniform(0, 100, 2000)
    (found,) = score_groups(answers(0.95 - ages / 250), [group_rows("age", pd.Series(ages))])
    assert found.step == pytest.approx(20 / 250, abs=0.02)
    assert by_site(score_groups(answers(np.full(N, 0.8)), [of_site(sites())])).step is None


def test_demographic_parity_has_a_number_for_two_classes_only() -> None:
    (found,) = score_groups(answers(np.full(N, 0.8), k=3), [of_site(sites())])
    assert found.parity_difference is None
    assert all(group.answered is None and group.threshold is None for group in found.groups)


def test_own_thresholds_mend_a_group_whose_probabilities_are_shifted() -> None:
    rng = np.random.default_rng(0)
    site, y = sites(1200, seed=5), rng.integers(0, 2, 1200)
    p = np.clip(0.5 + 0.2 * (2 * y - 1) + rng.normal(0, 0.15, 1200) - 0.2 * (site == "west"), 0.01, 0.99)
    given = GroupPredictions(TargetValues("classes", ("no", "yes"), y), np.stack([1 - p, p], axis=1))
    (found,) = score_groups(given, [of_site(site)])
    west, others = found.groups[2], found.groups[:2]
    assert west.threshold == pytest.approx(0.3, abs=0.05)
    assert west.score_by_threshold is not None
    assert west.score_by_threshold > west.scores["accuracy"] + 0.1
    assert all(abs((one.score_by_threshold or 0) - one.scores["accuracy"]) < 0.03 for one in others)
    assert found.largest_difference is not None
    assert (found.largest_difference_by_thresholds or 1) < found.largest_difference / 2
    (sealed,) = score_groups(GroupPredictions(given.targets, given.outputs, can_fit_thresholds=False), [of_site(site)])
    assert sealed.groups[2].threshold is None


def test_own_thresholds_do_not_score_the_rows_that_chose_them() -> None:
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 2000), rng.random(2000)
    _, is_right = fit_group_thresholds(np.arange(2000) // 40, y, p, min_rows=20)
    assert is_right.mean() == pytest.approx(0.5, abs=0.03)


def test_columns_of_many_values_show_the_largest_groups() -> None:
    names = np.array([f"g{at % 100}" if at < 300 else "big" for at in range(N)], dtype=object)
    (found,) = score_groups(answers(np.full(N, 0.8)), [of_site(names)])
    assert (len(found.groups), found.n_hidden) == (40, 61)
    assert "big" in {group.name for group in found.groups}


def test_evaluate_says_for_whom(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = make_images(home / "images", n_each=120)
    rng = np.random.default_rng(0)
    table = {"path": ids, "class": [name.split("/")[0] for name in ids], "site": sites(len(ids))}
    table["age"] = rng.integers(1, 90, len(ids)).astype(float)
    table["age"][::10] = np.nan
    pd.DataFrame(table).to_csv("images/labels.csv", index=False)
    recipe = TOY_RECIPE.replace('source = "images"', 'source = "images"\nlabels = { file = "labels.csv" }')
    Path("featx.toml").write_text(recipe.replace("[split]", '[groups]\nsite = "site"\nage = "age"\n\n[split]'))
    featx.extract()
    featx.fit()
    (found,) = featx.evaluate()
    assert [one.name for one in found.groupings] == ["site", "age", "site × age"]
    assert found.groupings[1].n_missing > 0
    assert set(found.rows[1].biases) >= {"site"} or found.groupings[0].largest_difference is None
    assert Evaluation.from_dict(json.loads(json.dumps(asdict(found)))).groupings[0].groups[0].n > 0
    run_table.evaluations([found], with_groups=True)
    printed = capsys.readouterr().out
    assert "for whom, " in printed
    assert "too few to compare" in printed
    assert "rows have no value" in printed
    (final,) = featx.evaluate(final=True)
    assert final.groupings[0].groups[0].threshold is None
    assert " by group (val)" in featx.report().read_text()
