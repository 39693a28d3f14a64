"""Splits into train, val and test: shares, numbers of images, groups, copies and given parts."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.model_selection import train_test_split

from featx.errors import DataError
from featx.specs.split import SplitSpec
from featx.specs.target import TargetSpec
from featx.study.splits import split
from featx.tables.encoding import encode_classes
from featx.tables.manifest import Manifest

quick = settings(max_examples=20)
SHARES = st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.4])
EXACT = {"method": "train_test_split"}


def make_manifest(codes: list[int], **columns: list[str | None]) -> Manifest:
    """Return a manifest of images ``i000``, ``i001``, … of the given classes, all with different contents."""
    ids = np.asarray([f"i{number:03}" for number in range(len(codes))], dtype=object)
    labels = pd.DataFrame({"y": codes} | columns, index=pd.Index(ids))
    return Manifest(ids, ids, labels, np.asarray([f"{number:032x}" for number in range(len(codes))], dtype=object))


def make_manifest_with_copies(n: int, copies: dict[int, int]) -> Manifest:
    """Return a manifest in which some images have the content of others."""
    rows = make_manifest([i % 2 for i in range(n)])
    digests = [f"{copies.get(i, i):032x}" for i in range(n)]
    return Manifest(rows.ids, rows.uris, rows.labels, np.asarray(digests, dtype=object))


def assign_parts(rows: Manifest, **spec: object) -> "pd.Series[str]":
    """Return the parts of a split that is stratified by the column ``y``."""
    truth = encode_classes(rows, "t", TargetSpec(column="y"))
    return split(rows, truth, SplitSpec.model_validate(spec))


def count_parts(split_parts: "pd.Series[str]") -> dict[str, int]:
    """Return the number of images of each part."""
    return {str(part): int(n) for part, n in split_parts.value_counts().items()}


# By hash


def test_shares_by_hash_are_binomial() -> None:
    n, n_seeds = 300, 60
    rows = make_manifest([i % 3 for i in range(n)])
    n_test = [count_parts(assign_parts(rows, seed=seed))["test"] for seed in range(n_seeds)]
    low, high = binom.interval(1 - 1e-6, n * n_seeds, 0.2)
    assert low <= sum(n_test) <= high
    assert np.std(n_test) == pytest.approx(binom(n, 0.2).std(), rel=0.4)


def test_hash_splits_are_stratified_on_average() -> None:
    codes = [1] * 100 + [0] * 900
    splits = [assign_parts(make_manifest(codes), seed=seed)[:100] for seed in range(30)]
    for part, share in (("test", 0.2), ("val", 0.15)):
        low, high = binom.interval(1 - 1e-6, 100 * len(splits), share)
        assert low <= sum((split_parts == part).sum() for split_parts in splits) <= high


@quick
@given(
    n=st.integers(4, 60),
    n_more=st.integers(1, 60),
    n_classes=st.integers(2, 5),
    seed=st.integers(0, 9),
    order=st.randoms(use_true_random=False),
)
def test_test_images_stay_in_test_when_others_are_added(
    n: int, n_more: int, n_classes: int, seed: int, order: object
) -> None:
    rows = make_manifest([i % n_classes for i in range(n + n_more)])
    shuffled_ids = list(rows.ids)
    order.shuffle(shuffled_ids)  # type: ignore[attr-defined]
    chosen_ids = [name for name in rows.ids if name in set(shuffled_ids[:n])]
    if len(set(rows.labels.loc[chosen_ids, "y"])) < 2:
        return
    parts_before, parts_after = assign_parts(rows.take(chosen_ids), seed=seed), assign_parts(rows, seed=seed)
    assert (parts_after[parts_before.index[parts_before == "test"]] == "test").all()


def test_a_hash_split_depends_on_content_not_on_names_or_order() -> None:
    rows = make_manifest([i % 2 for i in range(80)])
    renamed_rows = Manifest(
        np.asarray([f"folder/{name}" for name in rows.ids[::-1]], dtype=object),
        rows.uris[::-1],
        rows.labels[::-1].set_axis(pd.Index([f"folder/{name}" for name in rows.ids[::-1]])),
        rows.digests[::-1],
    )
    assert assign_parts(renamed_rows).to_list() == assign_parts(rows)[::-1].to_list()


def test_the_seed_determines_the_split() -> None:
    rows = make_manifest([0, 1] * 30)
    first = assign_parts(rows, seed=0)
    assert not assign_parts(rows, seed=1).equals(first)
    assert assign_parts(rows, seed=0).equals(first)


@quick
@given(n_each=st.integers(2, 5), n_classes=st.integers(2, 12), seed=st.integers(0, 50))
def test_small_classes_have_images_in_train_and_val(n_each: int, n_classes: int, seed: int) -> None:
    rows = make_manifest([i % n_classes for i in range(n_each * n_classes)])
    split_parts = assign_parts(rows, seed=seed)
    by_class = split_parts.groupby(rows.labels["y"].to_numpy())
    assert by_class.apply(lambda class_parts: "train" in set(class_parts)).all()
    n_not_test = by_class.apply(lambda class_parts: (class_parts != "test").sum())
    assert by_class.apply(lambda class_parts: "val" in set(class_parts))[n_not_test > 1].all()


def test_a_class_of_one_image_is_in_train() -> None:
    for seed in range(20):
        assert assign_parts(make_manifest([1] + [0] * 19), seed=seed).iloc[0] == "train"


def test_without_a_val_share_no_image_is_in_val() -> None:
    assert "val" not in set(assign_parts(make_manifest([0, 1] * 30), val=0))


@quick
@given(
    groups=st.lists(st.integers(0, 7), min_size=30, max_size=60),
    test=st.sampled_from([0.1, 0.25, 0.4]),
    val=st.sampled_from([0.0, 0.2, 0.5]),
    stratify=st.booleans(),
    n_first=st.integers(20, 30),
)
def test_groups_stay_whole_and_in_test_when_images_are_added(
    groups: list[int], test: float, val: float, stratify: bool, n_first: int
) -> None:
    names: list[str | None] = [f"g{group}" for group in groups]
    rows = make_manifest([i % 2 for i in range(len(groups))], group=names)
    spec = {"by": "group", "test": test, "val": val, "stratify": stratify}
    parts_before, parts_after = assign_parts(rows.take(rows.ids[:n_first]), **spec), assign_parts(rows, **spec)
    assert parts_after.groupby(np.asarray(groups)).nunique().max() == 1
    assert (parts_after[parts_before.index[parts_before == "test"]] == "test").all()


# Copies


@quick
@given(
    copies=st.dictionaries(st.integers(0, 59), st.integers(0, 59), max_size=25),
    seed=st.integers(0, 9),
    method=st.sampled_from(["hash", "train_test_split"]),
)
def test_copies_are_in_the_same_part(copies: dict[int, int], seed: int, method: str) -> None:
    rows = make_manifest_with_copies(60, copies)
    split_parts = assign_parts(rows, method=method, seed=seed, stratify=False)
    assert split_parts.index.tolist() == rows.ids.tolist()
    assert (split_parts.groupby(rows.digests).nunique() == 1).all()
    if method == "train_test_split":
        n = len(set(rows.digests))
        assert split_parts.groupby(rows.digests).first().value_counts()["test"] == math.ceil(0.2 * n)


@pytest.mark.parametrize("method", ["hash", "train_test_split"])
def test_copies_can_be_split_independently(method: str) -> None:
    rows = make_manifest_with_copies(60, {row: row - 30 for row in range(30, 60)})
    assert (assign_parts(rows, method=method, duplicates="independent").groupby(rows.digests).nunique() > 1).any()
    assert assign_parts(rows, method=method).groupby(rows.digests).nunique().eq(1).all()


@pytest.mark.parametrize("method", ["hash", "train_test_split"])
def test_groups_that_share_an_image_are_in_one_part(method: str) -> None:
    rows = make_manifest_with_copies(60, {59: 0})
    grouped = Manifest(
        rows.ids, rows.uris, rows.labels.assign(group=[f"g{row // 6}" for row in range(60)]), rows.digests
    )
    for seed in range(5):
        split_parts = assign_parts(grouped, method=method, by="group", seed=seed)
        assert split_parts.iloc[[*range(6), *range(54, 60)]].nunique() == 1


def test_unreadable_images_are_not_copies_of_each_other() -> None:
    rows = make_manifest([0, 1] * 30)
    unread = Manifest(rows.ids, rows.uris, rows.labels, np.full(60, "", dtype=object))
    assert count_parts(assign_parts(unread, **EXACT))["test"] == 12
    assert len(count_parts(assign_parts(unread))) == 3


# By train_test_split


@quick
@given(test=SHARES, val=SHARES, n=st.integers(20, 90), seed=st.integers(0, 99))
def test_exact_splits_have_the_requested_shares(test: float, val: float, n: int, seed: int) -> None:
    rows = make_manifest([i % 2 for i in range(n)])
    split_parts = assign_parts(rows, test=test, val=val, seed=seed, **EXACT)
    assert split_parts.index.tolist() == rows.ids.tolist()
    assert set(split_parts) <= {"train", "val", "test"}
    assert count_parts(split_parts).get("test", 0) == math.ceil(test * n)
    assert count_parts(split_parts).get("val", 0) == math.ceil(val * n)


@quick
@given(seed=st.integers(0, 99), n_rare=st.integers(8, 40))
def test_exact_splits_are_stratified(seed: int, n_rare: int) -> None:
    codes = [1] * n_rare + [0] * (120 - n_rare)
    split_parts = assign_parts(make_manifest(codes), test=0.25, val=0.25, seed=seed, **EXACT)
    rare = split_parts[:n_rare]
    for part, n in count_parts(split_parts).items():
        assert abs((rare == part).sum() - n * n_rare / 120) <= 1


def test_the_exact_test_part_is_that_of_scikit_learn() -> None:
    rows = make_manifest([0, 1, 1] * 20)
    _, test = train_test_split(rows.ids, test_size=12, random_state=7, stratify=rows.labels["y"])
    split_parts = assign_parts(rows, seed=7, **EXACT)
    assert set(split_parts.index[split_parts == "test"]) == set(test)


def test_without_stratification_a_class_may_have_one_image() -> None:
    split_parts = assign_parts(make_manifest([1] + [0] * 19), test=0.25, val=0.25, stratify=False, **EXACT)
    assert count_parts(split_parts) == {"train": 10, "val": 5, "test": 5}


@pytest.mark.parametrize("by", [None, "group"])
@pytest.mark.parametrize("method", ["hash", "train_test_split"])
def test_the_test_rows_do_not_depend_on_the_val_share(by: str | None, method: str) -> None:
    rows = make_manifest([0, 1] * 30, group=[f"g{i // 3}" for i in range(60)])
    test_masks = [assign_parts(rows, val=val, by=by, method=method) == "test" for val in (0.0, 0.15, 0.5)]
    assert test_masks[0].any()
    assert all(test_masks[0].equals(is_test) for is_test in test_masks)


def test_one_group_cannot_be_split_exactly() -> None:
    rows = make_manifest([0, 1] * 5, group=["a"] * 10)
    with pytest.raises(DataError, match=r"split\.test: 1 group to choose from; expected at least two"):
        assign_parts(rows, by="group", **EXACT)


def test_images_without_a_group_are_reported() -> None:
    rows = make_manifest([0, 1, 0, 1], group=["a", None, "b", None])
    with pytest.raises(DataError, match=r"split\.by: 2 of 4 images have no 'group', first 'i001'"):
        assign_parts(rows, by="group")


def test_a_class_with_one_image_cannot_be_split_exactly() -> None:
    with pytest.raises(
        DataError, match=r"split\.test: cannot select 4 of 20 images, the smallest class has 1 left; expected"
    ):
        assign_parts(make_manifest([1] + [0] * 19), **EXACT)


def test_the_last_group_is_left_in_train() -> None:
    rows = make_manifest([0, 1] * 15, group=[f"g{i // 10}" for i in range(30)])
    split_parts = assign_parts(rows, by="group", test=0.2, val=0.5, **EXACT)
    assert count_parts(split_parts) == {"train": 10, "val": 10, "test": 10}


def test_too_few_images_cannot_be_split_exactly() -> None:
    with pytest.raises(DataError, match=r"split\.test: cannot select 2 of 2 images"):
        assign_parts(make_manifest([0, 1]), test=0.9, val=0.0, stratify=False, **EXACT)


def test_order_together_is_train_test_split_twice() -> None:
    rows = make_manifest([0, 1] * 30)
    train_ids, other_ids = train_test_split(rows.ids, test_size=21, random_state=3, stratify=rows.labels["y"])
    split_parts = assign_parts(rows, seed=3, order="together", **EXACT)
    assert set(split_parts.index[split_parts == "train"]) == set(train_ids)
    assert set(split_parts.index[split_parts != "train"]) == set(other_ids)
    with pytest.raises(ValueError, match="order = 'together' applies to method = 'train_test_split' only"):
        SplitSpec(order="together")


TWO_CALLS = {"stratify": False, "duplicates": "independent", "seed": 42, **EXACT}


@quick
@given(
    n=st.integers(20, 90),
    held_out_share=st.sampled_from([0.2, 0.25, 0.3, 0.33]),
    test_share=st.sampled_from([0.5, 0.4, 1 / 3]),
)
def test_order_together_equals_two_calls_of_scikit_learn(n: int, held_out_share: float, test_share: float) -> None:
    rows = make_manifest([i % 2 for i in range(n)])
    train_ids, both_ids = train_test_split(rows.ids, test_size=held_out_share, random_state=42)
    val_ids, test_ids = train_test_split(both_ids, test_size=test_share, random_state=42)
    shares = {"test": held_out_share * test_share, "val": held_out_share * (1 - test_share)}
    split_parts = assign_parts(rows, order="together", **shares, **TWO_CALLS)
    for part, ids in (("train", train_ids), ("val", val_ids), ("test", test_ids)):
        assert set(split_parts.index[split_parts == part]) == set(ids)


@quick
@given(n=st.integers(30, 90), is_stratified=st.booleans(), second_seed=st.sampled_from([None, 7]))
def test_val_of_the_rest_equals_two_calls_of_scikit_learn(n: int, is_stratified: bool, second_seed: int | None) -> None:
    rows = make_manifest([i % 2 for i in range(n)])
    labels = rows.labels["y"]
    rest_ids, test_ids = train_test_split(
        rows.ids, test_size=0.2, random_state=42, stratify=labels if is_stratified else None
    )
    _, val_ids = train_test_split(
        rest_ids,
        test_size=0.25,
        random_state=42 if second_seed is None else second_seed,
        stratify=labels[rest_ids] if is_stratified else None,
    )
    settings_of_split = {**TWO_CALLS, "stratify": is_stratified, "second_seed": second_seed}
    split_parts = assign_parts(rows, test=0.2, val=0.25, val_of="rest", **settings_of_split)
    assert set(split_parts.index[split_parts == "test"]) == set(test_ids)
    assert set(split_parts.index[split_parts == "val"]) == set(val_ids)


@pytest.mark.parametrize("order", ["test-first", "together"])
def test_parts_can_have_numbers_of_images(order: str) -> None:
    rows = make_manifest([0, 1] * 30)
    assert count_parts(assign_parts(rows, test=13, val=7, order=order, **EXACT)) == {"train": 40, "val": 7, "test": 13}
    assert count_parts(assign_parts(rows, test=0.25, val=9, order=order, **EXACT)) == {
        "train": 36,
        "val": 9,
        "test": 15,
    }
    with pytest.raises(DataError, match=r"split\.test.*: cannot select \d+ of \d+ images"):
        assign_parts(rows, test=60, val=7, order=order, **EXACT)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"test": 600}, "test = 600 applies to method = 'train_test_split' only, found 'hash'"),
        ({"second_seed": 1}, "second_seed = 1 applies to method = 'train_test_split' only, found 'hash'"),
        ({"test": 1.5}, r"found 1\.5, expected a share \(0\.2, less than 1\) or a whole number of images \(600\)"),
        ({"val": True}, "found True, expected a share"),
        ({"test": 0.5, "val": 0.5}, r"test \+ val = 1, expected less than 1"),
        ({"order": "together", "val_of": "rest", **EXACT}, "val_of = 'rest' applies to order = 'test-first' only"),
    ],
)
def test_sizes_that_cannot_be_cut_are_reported(spec: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SplitSpec.model_validate(spec)


@pytest.mark.parametrize("method", ["hash", "train_test_split"])
def test_val_of_the_rest_is_a_share_of_the_given_train_part(method: str) -> None:
    rows = make_manifest([0, 1] * 300, fold=["train"] * 400 + ["test"] * 200)
    n_val = {
        val_of: count_parts(assign_parts(rows, column="fold", val=0.2, val_of=val_of, method=method))["val"]
        for val_of in ("all", "rest")
    }
    # Shares by hash are met on average only.
    assert n_val == pytest.approx({"all": 120, "rest": 80}, rel=0 if method != "hash" else 0.15)
    with pytest.raises(DataError, match=r"split\..*val.*"):
        assign_parts(rows, column="fold", val=0.7, val_of="all", method=method)
    default = count_parts(assign_parts(rows, column="fold", val=0.2, method=method))["val"]
    assert default == n_val["rest"]


# Given by a column


def test_a_column_can_give_the_parts() -> None:
    given_parts: list[str | None] = ["train", "valid", "test", "train", "validation", "test"]
    split_parts = assign_parts(make_manifest([0, 1] * 3, fold=given_parts), column="fold")
    assert split_parts.tolist() == ["train", "val", "test", "train", "val", "test"]


@pytest.mark.parametrize("method", ["hash", "train_test_split"])
def test_parts_missing_from_a_column_are_split_from_its_train(method: str) -> None:
    given_parts: list[str | None] = ["train"] * 30 + ["test"] * 10
    rows = make_manifest([0, 1] * 20, fold=given_parts)
    split_parts = assign_parts(rows, column="fold", val=0.25, method=method)
    assert (split_parts[30:] == "test").all()
    assert set(split_parts[:30]) == {"train", "val"}
    if method == "train_test_split":
        assert count_parts(split_parts) == {"train": 22, "val": 8, "test": 10}


@pytest.mark.parametrize("invalid_part", ["holdout", None])
def test_a_column_with_an_unknown_part_is_an_error(invalid_part: str | None) -> None:
    rows = make_manifest([0, 1, 0, 1], fold=["train", invalid_part, "test", invalid_part])
    with pytest.raises(
        DataError, match=r"split\.column: 2 images have .* in 'fold', first 'i001'; expected train, val"
    ):
        assign_parts(rows, column="fold")
    with pytest.raises(DataError, match=r"split\.column: no image has 'train' in 'fold'"):
        assign_parts(make_manifest([0, 1], fold=["test", "val"]), column="fold")


def test_a_group_in_several_parts_of_a_column_is_an_error() -> None:
    rows = make_manifest([0, 1, 0, 1], fold=["train", "test", "train", "train"], group=["a", "a", "b", "b"])
    with pytest.raises(DataError, match=r"split\.by: 1 groups have rows in several parts, first 'a' in"):
        assign_parts(rows, column="fold", by="group", val=0)
