"""Sizes of parts whose images are kept together by groups or copies."""

import pytest

from tests.study.test_splits import EXACT, assign_parts, count_parts, make_manifest, make_manifest_with_copies


@pytest.mark.parametrize("order", ["test-first", "together"])
def test_groups_of_which_most_are_single_images_are_counted_in_images(order: str) -> None:
    patients = [f"single{i}" for i in range(60)] + [f"large{i // 10}" for i in range(400)]
    rows = make_manifest([i % 2 for i in range(460)], patient=patients)
    sizes = count_parts(assign_parts(rows, by="patient", test=0.2, val=0.1, order=order, **EXACT))
    assert sizes["test"] == pytest.approx(92, abs=10)
    assert sizes["val"] == pytest.approx(46, abs=10)


@pytest.mark.parametrize("n_copies", [2, 5])
def test_shares_of_images_with_copies_count_each_image_once(n_copies: int) -> None:
    rows = make_manifest_with_copies(100, {i: i - i % (2 * n_copies) + i % 2 for i in range(100)})
    assert count_parts(assign_parts(rows, test=0.2, val=0, **EXACT)) == {"train": 80, "test": 20}


def test_one_large_group_with_the_only_images_of_a_class_stays_in_train() -> None:
    rows = make_manifest([0] * 3000 + [1] * 3000, group=["a"] * 3000 + [f"b{i}" for i in range(3000)])
    split_parts = assign_parts(rows, by="group", test=0.1, val=0.2)
    assert set(split_parts[:3000]) == {"train"}
