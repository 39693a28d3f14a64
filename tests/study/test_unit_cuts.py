"""Rows held out of train: whole units, stratified, without classes of a single unit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.errors import DataError
from featx.study.unit_cuts import held_out

quick = settings(max_examples=20)


@quick
@given(
    copies=st.dictionaries(st.integers(0, 59), st.integers(0, 59), max_size=40),
    seed=st.integers(0, 9),
    n_cut=st.integers(6, 20),
)
def test_units_are_held_out_whole(copies: dict[int, int], seed: int, n_cut: int) -> None:
    units = np.asarray([f"u{copies.get(i, i)}" for i in range(60)], dtype=object)
    ids = np.asarray([f"i{i:02}" for i in range(60)], dtype=object)
    codes = np.asarray([copies.get(i, i) % 2 for i in range(60)])
    is_held_out = np.isin(ids, held_out(ids, n_cut, codes, units, seed, "test"))
    assert 0 < is_held_out.sum() < 60
    assert not set(units[is_held_out]) & set(units[~is_held_out])


def test_a_class_of_copies_of_one_image_is_not_held_out() -> None:
    ids = np.asarray([f"i{i:02}" for i in range(20)], dtype=object)
    units = np.asarray(["copy" if i < 3 else f"u{i}" for i in range(20)], dtype=object)
    codes = np.asarray([0] * 3 + [1, 2] * 8 + [1])
    assert not set(ids[:3]) & set(held_out(ids, 4, codes, units, 0, "test"))


def test_the_only_unit_of_a_class_is_not_held_out() -> None:
    ids = np.asarray([f"i{i:02}" for i in range(40)], dtype=object)
    units = np.arange(40) // 4
    codes = np.arange(40) % 2
    # Row 13 is the only one of its class.
    codes[13] = 2
    for seed in range(20):
        is_held_out = np.isin(ids, held_out(ids, 12, codes, units, seed, "test"))
        assert is_held_out.any()
        assert not set(units[is_held_out]) & set(units[~is_held_out])
        assert not is_held_out[units == units[13]].any()


def test_one_unit_cannot_be_held_out() -> None:
    ids = np.asarray(["a", "b", "c"], dtype=object)
    with pytest.raises(
        DataError, match="finetune.holdout: found 1 images, groups or sets of copies to choose from, expected"
    ):
        held_out(ids, 1, None, np.zeros(3), 0, "finetune.holdout")


@pytest.mark.parametrize(("n_single", "n_large", "size"), [(60, 40, 10), (255, 245, 2), (30, 10, 12)])
@pytest.mark.parametrize("is_stratified", [True, False])
def test_the_size_of_a_cut_is_a_number_of_rows(n_single: int, n_large: int, size: int, is_stratified: bool) -> None:
    units = np.concatenate([np.arange(n_single), np.repeat(n_single + np.arange(n_large), size)])
    ids = np.asarray([f"i{i:03}" for i in range(len(units))], dtype=object)
    codes = units % 2 if is_stratified else None
    for seed in range(5):
        n_cut = round(0.2 * len(ids))
        assert abs(len(held_out(ids, n_cut, codes, units, seed, "test")) - n_cut) <= size
