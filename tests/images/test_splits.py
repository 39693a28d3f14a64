import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.errors import DataError
from featx.images.splits import split
from featx.specs.split import SplitSpec
from featx.specs.target import TargetSpec
from featx.tables import Manifest
from featx.targets import encode

quick = settings(max_examples=20)
shares = st.sampled_from([0.0, 0.1, 0.2, 0.25, 0.4])


def manifest(codes: list[int], **columns: list[str | None]) -> Manifest:
    """Make a manifest of images ``i000``, ``i001``, … of the given classes."""
    ids = np.asarray([f"i{number:03}" for number in range(len(codes))], dtype=object)
    labels = pd.DataFrame({"y": codes} | columns, index=pd.Index(ids))
    return Manifest(ids, ids, labels, np.full(len(ids), "", dtype=object))


def parts(rows: Manifest, kept: "pd.Series[str] | None" = None, **spec: object) -> "pd.Series[str]":
    """Split by the classes in the column ``y``."""
    truth = encode(rows, "t", TargetSpec(column="y"))
    return split(rows, truth, SplitSpec.model_validate(spec), kept)


def counts(of: "pd.Series[str]") -> dict[str, int]:
    """Count the images of each part."""
    return {str(part): int(n) for part, n in of.value_counts().items()}


@quick
@given(test=shares, val=shares, n=st.integers(20, 90), seed=st.integers(0, 99))
def test_every_image_has_a_part_and_the_parts_have_their_shares(test: float, val: float, n: int, seed: int) -> None:
    rows = manifest([i % 2 for i in range(n)])
    found = parts(rows, test=test, val=val, seed=seed)
    assert found.index.tolist() == rows.ids.tolist()
    assert set(found) <= {"train", "val", "test"}
    assert counts(found).get("test", 0) == round(test * n)
    assert counts(found).get("val", 0) == round(val * n)


@quick
@given(seed=st.integers(0, 99), n_rare=st.integers(8, 40))
def test_classes_have_alike_shares_in_all_parts(seed: int, n_rare: int) -> None:
    codes = [1] * n_rare + [0] * (120 - n_rare)
    found = parts(manifest(codes), test=0.25, val=0.25, seed=seed)
    rare = found[:n_rare]
    for part, n in counts(found).items():
        assert abs((rare == part).sum() - n * n_rare / 120) <= 1


def test_without_stratification_one_image_may_be_a_class() -> None:
    found = parts(manifest([1] + [0] * 19), test=0.25, val=0.25, stratify=False)
    assert counts(found) == {"train": 10, "val": 5, "test": 5}


def test_the_same_seed_gives_the_same_parts_and_another_one_others() -> None:
    rows = manifest([0, 1] * 30)
    assert parts(rows, seed=3).equals(parts(rows, seed=3))
    assert not parts(rows, seed=3).equals(parts(rows, seed=4))


@pytest.mark.parametrize("by", [None, "group"])
def test_the_sealed_rows_do_not_depend_on_val(by: str | None) -> None:
    rows = manifest([0, 1] * 30, group=[f"g{i // 3}" for i in range(60)])
    sealed = [parts(rows, val=val, by=by) == "test" for val in (0.0, 0.15, 0.5)]
    assert sealed[0].any()
    assert all(sealed[0].equals(other) for other in sealed)


@quick
@given(
    groups=st.lists(st.integers(0, 7), min_size=30, max_size=60).filter(lambda g: len(set(g[:20])) > 3),
    test=st.sampled_from([0.1, 0.25, 0.4]),
    val=st.sampled_from([0.0, 0.2, 0.5]),
    stratify=st.booleans(),
    n_first=st.integers(20, 30),
)
def test_groups_stay_whole_also_when_images_are_added(
    groups: list[int], test: float, val: float, stratify: bool, n_first: int
) -> None:
    names: list[str | None] = [f"g{group}" for group in groups]
    rows = manifest([i % 2 for i in range(len(groups))], group=names)
    first = rows.take(rows.ids[:n_first])
    asked = {"by": "group", "test": test, "val": val, "stratify": stratify}
    kept = parts(first, **asked)
    found = parts(rows, kept, **asked)
    assert (found[first.ids] == kept).all()
    assert found.groupby(np.asarray(groups)).nunique().max() == 1
    assert {"train", "test"} <= set(found)


def test_one_group_cannot_be_cut() -> None:
    rows = manifest([0, 1] * 5, group=["a"] * 10)
    with pytest.raises(DataError, match=r"split\.by: 1 group is left to cut from; expected at least two"):
        parts(rows, by="group")


def test_images_without_a_group_are_told() -> None:
    rows = manifest([0, 1, 0, 1], group=["a", None, "b", None])
    with pytest.raises(DataError, match=r"split\.by: 2 of 4 images have no 'group', first 'i001'"):
        parts(rows, by="group")


def test_a_new_group_goes_into_one_part_as_a_whole() -> None:
    codes, groups = [0, 1] * 30, [f"g{i // 10}" for i in range(60)]
    rows = manifest(codes + [0, 1] * 5, group=[*groups, *["new"] * 10])
    for test in (0.15, 0.25, 0.35):
        kept = parts(rows.take(rows.ids[:60]), by="group", test=test)
        found = parts(rows, kept, by="group", test=test)
        assert (found[:60] == kept).all()
        assert found[60:].nunique() == 1


@quick
@given(
    steps=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    test=st.sampled_from([0.0, 0.2, 0.25]),
    val=st.sampled_from([0.0, 0.15, 0.25]),
)
def test_new_images_keep_the_old_split_and_fill_it_up(steps: list[int], test: float, val: float) -> None:
    rows = manifest([i % 2 for i in range(48 + sum(steps))])
    n = 48
    found = parts(rows.take(rows.ids[:n]), test=test, val=val)
    for step in steps:
        kept, n = found, n + step
        found = parts(rows.take(rows.ids[:n]), kept, test=test, val=val)
        assert (found[kept.index] == kept).all()
        assert abs(counts(found).get("test", 0) - test * n) <= 1
        assert abs(counts(found).get("val", 0) - val * n) <= 1


def test_parts_stay_when_labels_change_or_images_go() -> None:
    rows = manifest([0, 1] * 30)
    kept = parts(rows)
    assert parts(manifest([0] * 59 + [1]), kept).equals(kept)
    fewer = rows.take(rows.ids[::-3])
    assert parts(fewer, kept).equals(kept[fewer.ids])


def test_new_images_fill_a_part_whose_images_went() -> None:
    rows = manifest([0, 1] * 30)
    kept = parts(rows.take(rows.ids[:59]), test=0.25)
    left = rows.take([*kept.index[kept != "test"], rows.ids[59]])
    assert parts(left, kept, test=0.25)[rows.ids[59]] == "test"


def test_a_given_column_says_the_parts() -> None:
    said: list[str | None] = ["train", "valid", "test", "train", "validation", "test"]
    found = parts(manifest([0, 1] * 3, fold=said), column="fold")
    assert found.tolist() == ["train", "val", "test", "train", "val", "test"]


def test_parts_that_a_column_does_not_name_are_cut_from_its_train() -> None:
    said: list[str | None] = ["train"] * 30 + ["test"] * 10
    rows = manifest([0, 1] * 20, fold=said)
    found = parts(rows, column="fold", val=0.25)
    assert (found[30:] == "test").all()
    assert counts(found) == {"train": 20, "val": 10, "test": 10}
    assert parts(rows, found, column="fold", val=0.25).equals(found)


def test_a_given_column_overrules_what_was_kept() -> None:
    said: list[str | None] = ["train"] * 30 + ["test"] * 10
    rows = manifest([0, 1] * 20, fold=said)
    found = parts(rows, pd.Series("test", index=rows.ids), column="fold", val=0.25)
    assert found[found == "test"].index.equals(found.index[30:])
    assert counts(found)["val"] == 10


@pytest.mark.parametrize("odd", ["holdout", None])
def test_a_column_that_says_something_else_is_refused(odd: str | None) -> None:
    rows = manifest([0, 1, 0, 1], fold=["train", odd, "test", odd])
    with pytest.raises(
        DataError, match=r"split\.column: 2 images have .* in 'fold', first 'i001'; expected train, val"
    ):
        parts(rows, column="fold")
    with pytest.raises(DataError, match=r"split\.column: no image has 'train' in 'fold'"):
        parts(manifest([0, 1], fold=["test", "val"]), column="fold")


def test_a_class_with_one_image_cannot_be_in_every_part() -> None:
    with pytest.raises(
        DataError, match=r"split\.test: cannot cut 4 of 20 images, the smallest class has 1 left; expected"
    ):
        parts(manifest([1] + [0] * 19))


def test_the_last_group_is_left_to_learn_from() -> None:
    rows = manifest([0, 1] * 15, group=[f"g{i // 10}" for i in range(30)])
    assert counts(parts(rows, by="group", test=0.2, val=0.5)) == {"train": 10, "val": 10, "test": 10}


def test_too_few_images_cannot_be_cut() -> None:
    with pytest.raises(DataError, match=r"split\.test: cannot cut 2 of 2 images"):
        parts(manifest([0, 1]), test=0.9, val=0.0, stratify=False)


def alike(n: int, copies: dict[int, int]) -> Manifest:
    """Make a manifest in which some images have the content of others."""
    rows = manifest([i % 2 for i in range(n)])
    digests = [f"{copies.get(i, i):032x}" for i in range(n)]
    return Manifest(rows.ids, rows.uris, rows.labels, np.asarray(digests, dtype=object))


@quick
@given(copies=st.dictionaries(st.integers(0, 59), st.integers(0, 59), max_size=25), seed=st.integers(0, 9))
def test_together_copies_share_a_part(copies: dict[int, int], seed: int) -> None:
    rows = alike(60, copies)
    found = parts(rows, duplicates="together", seed=seed, stratify=False)
    assert found.index.tolist() == rows.ids.tolist()
    assert (found.groupby(rows.digests).nunique() == 1).all()
    n = len(set(rows.digests))
    assert found.groupby(rows.digests).first().value_counts()["test"] == round(0.2 * n)


def test_copies_stand_apart_unless_it_is_said() -> None:
    rows = alike(60, {at: at - 30 for at in range(30, 60)})
    assert (parts(rows).groupby(rows.digests).nunique() > 1).any()
    assert parts(rows, duplicates="together").groupby(rows.digests).nunique().eq(1).all()


def test_without_copies_together_is_the_same_split() -> None:
    rows = alike(60, {})
    pd.testing.assert_series_equal(parts(rows, duplicates="together"), parts(rows))


def test_new_copies_follow_the_images_that_have_a_part() -> None:
    old = alike(60, {})
    kept = parts(old, duplicates="together")
    for part in ("train", "val", "test"):
        copied = np.flatnonzero(kept == part)[:5].tolist()
        rows = alike(80, dict(zip(range(60, 65), copied, strict=True)))
        order = [*rows.ids[60:], *old.ids]  # the new ones stand first
        found = parts(rows.take(order), kept, duplicates="together")
        assert (found[rows.ids[60:65]] == part).all()
        assert (found[kept.index] == kept).all()


def test_images_that_became_equal_go_where_the_more_sealed_one_is() -> None:
    kept = parts(alike(60, {}), duplicates="together")
    (test, *_), (train, *_) = (np.flatnonzero(kept == part).tolist() for part in ("test", "train"))
    for one, other in ((test, train), (train, test)):
        assert set(parts(alike(60, {one: other}), kept, duplicates="together").iloc[[one, other]]) == {"test"}


def test_images_that_cannot_be_read_are_no_copies_of_each_other() -> None:
    rows = manifest([0, 1] * 30)
    assert counts(parts(rows, duplicates="together"))["test"] == 12


def test_two_things_cannot_say_where_a_copy_goes() -> None:
    with pytest.raises(ValueError, match="duplicates = 'together' and 'by' both say where a copy goes"):
        SplitSpec(by="patient", duplicates="together")
