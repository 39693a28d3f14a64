"""Selection of images by label, class and balance, and the classes that labels become.

Modules: tables.undersampling.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featx.errors import DataError
from featx.images.image_selection import select_images
from featx.images.readers import Listing
from featx.images.trees import Entry
from featx.specs.split import SplitSpec
from featx.specs.target import TargetSpec
from featx.tables.encoding import encode_classes, encode_target
from featx.tables.truth import Truth

quick = settings(max_examples=30)


def make_listing(**columns: Sequence[object]) -> Listing:
    """Return a listing of images ``i0``, ``i1``, … with these labels."""
    n = len(next(iter(columns.values())))
    return Listing.from_entries(
        [Entry(f"i{row}", f"/i{row}") for row in range(n)], pd.DataFrame(columns), {"notes.txt": "is text"}
    )


def make_target(**fields: object) -> TargetSpec:
    """Return a target of the column ``y``."""
    return TargetSpec.model_validate({"column": "y"} | fields)


def select(
    listing: Listing, drop_unlabelled: bool = False, split: SplitSpec | None = None, **fields: object
) -> Listing:
    """Return the images that one target, ``t``, selects."""
    return select_images(listing, {"t": make_target(**fields)}, split or SplitSpec(), drop_unlabelled)


def rules_by_id(listing: Listing) -> dict[str, str]:
    """Return the rule by id of each ignored image."""
    return {name: rule for name, rule in listing.ignored.items() if name != "notes.txt"}


def classes_of(truth: Truth) -> list[str]:
    """Return the name of each image's class."""
    return [truth.classes[code] for code in truth.codes]


# map, bins, keep


def test_a_plain_target_keeps_every_image() -> None:
    listing = make_listing(y=["a", "b", None])
    assert select(listing) is listing


def test_map_joins_values_and_keeps_all_others() -> None:
    listing = make_listing(y=["fear", "joy", "anger", "calm"])
    spec = make_target(map={"fear": "bad", "anger": "bad", "joy": "good"})
    truth = encode_classes(listing.manifest, "t", spec)
    assert truth.classes == ("bad", "calm", "good")
    assert classes_of(truth) == ["bad", "good", "bad", "calm"]


@pytest.mark.parametrize("values", [[1, 2, 3], [1.0, 2.0, 3.0], ["1", "2", "3"]], ids=["int", "float", "text"])
def test_map_matches_numbers_by_their_text(values: list[object]) -> None:
    truth = encode_classes(make_listing(y=values).manifest, "t", make_target(map={"1": "one", "2": "few", "3": "few"}))
    assert classes_of(truth) == ["one", "few", "few"]


def test_an_unknown_value_in_map_is_reported_with_a_suggestion() -> None:
    with pytest.raises(DataError, match=r"targets\.t\.map: column 'y' holds no 'hapy'; did you mean 'happy'\? known: "):
        select(make_listing(y=["happy", "sad"]), map={"hapy": "good"})


def test_bins_make_ordered_bands_with_rising_codes() -> None:
    truth = encode_classes(
        make_listing(y=[61, 5, 20, 39.9, 40, 60, 19.9]).manifest, "t", make_target(bins=[20, 40, 60])
    )
    assert truth.classes == ("<20", "20–40", "40–60", "≥60")
    assert truth.codes.tolist() == [3, 0, 1, 1, 2, 3, 0]
    assert truth.codes.dtype == np.int64


@quick
@given(
    st.lists(st.floats(-100, 100), min_size=2),
    st.lists(st.integers(-90, 90), min_size=1, max_size=6, unique=True).map(sorted),
)
def test_a_band_includes_its_lower_edge(numbers: list[float], edges: list[int]) -> None:
    numbers = [-1000.0, *numbers, 1000.0]
    truth = encode_classes(make_listing(y=numbers).manifest, "t", make_target(bins=edges))
    assert truth.codes.tolist() == [sum(number >= edge for edge in edges) for number in numbers]
    assert len(truth.classes) == len(edges) + 1


def test_bands_may_be_named_and_empty_bands_keep_their_codes() -> None:
    truth = encode_classes(
        make_listing(y=["15", "70"]).manifest, "t", make_target(bins=[20, 60], classes=["young", "middle", "old"])
    )
    assert truth.classes == ("young", "middle", "old")
    assert truth.codes.tolist() == [0, 2]


def test_bins_of_text_are_reported() -> None:
    with pytest.raises(DataError, match=r"targets\.t: 'bins' needs numbers, column 'y' holds 'old'"):
        encode_classes(make_listing(y=["20", "old"]).manifest, "t", make_target(bins=[30]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bins": [40, 20]}, r"expected bins = \[b0, b1, …\] in rising order, found \[40\.0, 20\.0\]"),
        ({"bins": [20, 20]}, r"in rising order, found \[20\.0, 20\.0\]"),
        ({"bins": []}, "at least 1 item"),
        ({"bins": [20], "above": 3}, "'above' and 'bins' both make classes of a number, expected one of them"),
        ({"bins": [20], "classes": ["a", "b", "c"]}, "1 edges make 2 bands, found 3 names"),
        ({"keep": ["one"]}, "at least 2 items"),
        ({"balance": "oversample"}, "'none' or 'undersample'"),
    ],
    ids=str,
)
def test_contradictory_settings_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_target(**fields)


def test_keep_ignores_other_classes_with_a_rule() -> None:
    listing = select(make_listing(y=["happy", "angry", "sad", "angry"]), keep=["happy", "sad"])
    assert listing.manifest.ids.tolist() == ["i0", "i2"]
    assert rules_by_id(listing) == dict.fromkeys(["i1", "i3"], "is 'angry', which targets.t.keep leaves out")
    assert listing.ignored["notes.txt"] == "is text"
    assert encode_classes(listing.manifest, "t", make_target(keep=["happy", "sad"])).classes == ("happy", "sad")


def test_keep_applies_after_map_and_bins() -> None:
    listing = select(
        make_listing(y=["joy", "glee", "fear", "rest"]), map={"joy": "good", "glee": "good"}, keep=["good", "fear"]
    )
    assert listing.manifest.ids.tolist() == ["i0", "i1", "i2"]
    fields = {"bins": [20, 60], "keep": ["<20", "≥60"]}
    listing = select(make_listing(y=[10, 30, 70, 60]), **fields)
    assert rules_by_id(listing) == {"i1": "is '20–60', which targets.t.keep leaves out"}
    truth = encode_classes(listing.manifest, "t", make_target(**fields))
    assert (truth.classes, truth.codes.tolist()) == (("<20", "≥60"), [0, 1, 1])


def test_a_mapped_value_may_be_dropped_by_keep() -> None:
    fields = {"map": {"fear": "other"}, "keep": ["happy", "sad"]}
    listing = select(make_listing(y=["happy", "fear", "sad"]), **fields)
    assert rules_by_id(listing) == {"i1": "is 'other', which targets.t.keep leaves out"}
    assert encode_classes(listing.manifest, "t", make_target(**fields)).codes.tolist() == [0, 1]


def test_keep_matches_numbers_by_their_text() -> None:
    listing = select(make_listing(y=[3, 7, 8, 3]), keep=["3", "7"])
    assert rules_by_id(listing) == {"i2": "is '8', which targets.t.keep leaves out"}


def test_an_unknown_value_in_keep_is_reported_with_a_suggestion() -> None:
    with pytest.raises(
        DataError, match=r"targets\.t\.keep: column 'y' holds no 'hapy'; did you mean 'happy'\? known: angry, happy"
    ):
        select(make_listing(y=["happy", "angry"]), keep=["hapy", "angry"])
    with pytest.raises(DataError, match="holds no '60–80'; .*known: 20–60, <20"):
        select(make_listing(y=[10, 30]), bins=[20, 60], keep=["<20", "60–80"])
    with pytest.raises(DataError, match="no label column is called 'y'; columns: z"):
        select(make_listing(z=["happy", "angry"]), keep=["happy", "angry"])


# images without a label


def test_the_advice_about_numbers_fits_the_cells() -> None:
    target = make_target(kind="numbers")
    with pytest.raises(DataError, match=r"1 of 2 .*; label them, or leave them out with 'drop_unlabelled = true'"):
        encode_target(make_listing(y=[1.0, None]).manifest, "t", target)
    with pytest.raises(DataError, match=r"1 of 2 .* with '\?'; correct these values, or remove them and label"):
        encode_target(make_listing(y=[1.0, "?"]).manifest, "t", target)


def test_drop_unlabelled_ignores_images_without_a_label() -> None:
    listing = make_listing(y=["a", None, "b", np.nan])
    assert rules_by_id(select(listing)) == {}
    with pytest.raises(DataError, match=r"targets\.t: 2 of 4 images have no 'y', first 'i1'; .*drop_unlabelled = true"):
        encode_classes(select(listing).manifest, "t", make_target())
    selected_images = select(listing, drop_unlabelled=True)
    assert rules_by_id(selected_images) == dict.fromkeys(["i1", "i3"], "has no label in column 'y'")


def test_an_image_without_a_number_has_no_band() -> None:
    listing = make_listing(y=[10, np.nan, 70, 80])
    fields = {"bins": [20, 60], "keep": ["<20", "≥60"]}
    assert rules_by_id(select(listing, **fields)) == {}
    with pytest.raises(DataError, match="1 of 4 images have no 'y', first 'i1'"):
        encode_classes(select(listing, **fields).manifest, "t", make_target(**fields))
    assert rules_by_id(select(listing, drop_unlabelled=True, **fields)) == {"i1": "has no label in column 'y'"}


def test_each_of_several_targets_ignores_its_own_images() -> None:
    listing = make_listing(emotion=["happy", "sad", "angry", "happy", None], age=[10, np.nan, 30, 40, 50])
    targets = {
        "emotion": TargetSpec(column="emotion", keep=("happy", "sad")),
        "band": TargetSpec(column="age", bins=(20,)),
    }
    selected_images = select_images(listing, targets, SplitSpec(), drop_unlabelled=True)
    assert selected_images.manifest.ids.tolist() == ["i0", "i3"]
    assert rules_by_id(selected_images) == {
        "i1": "has no label in column 'age'",
        "i2": "is 'angry', which targets.emotion.keep leaves out",
        "i4": "has no label in column 'emotion'",
    }
    assert encode_classes(selected_images.manifest, "band", targets["band"]).codes.tolist() == [0, 1]


def test_map_may_name_values_of_images_that_another_target_drops() -> None:
    listing = make_listing(emotion=["happy", "sad", "angry"], who=["ann", "bob", "cid"])
    targets = {
        "emotion": TargetSpec(column="emotion", keep=("happy", "sad")),
        "who": TargetSpec(column="who", map={"cid": "bob"}),
    }
    assert select_images(listing, targets, SplitSpec()).manifest.ids.tolist() == ["i0", "i1"]


def test_a_selection_without_images_is_reported() -> None:
    listing = make_listing(a=["x", None], b=[None, "y"])
    targets = {name: TargetSpec(column=name) for name in "ab"}
    with pytest.raises(DataError, match="no images are left of 3 files; check 'keep' and the labels"):
        select_images(listing, targets, SplitSpec(), drop_unlabelled=True)


# balance


@quick
@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["train", "test"])), min_size=1),
    seed=st.integers(0, 9),
)
def test_undersampling_makes_the_classes_equal_in_each_given_part(rows: list[tuple[str, str]], seed: int) -> None:
    rows = [*rows, *((name, part) for name in "abc" for part in ("train", "test"))]
    listing = make_listing(y=[name for name, _ in rows], part=[part for _, part in rows])

    selected_images = select(listing, split=SplitSpec(column="part", seed=seed), balance="undersample")

    counts_before, counts_after = (
        images.manifest.labels.groupby(["part", "y"]).size().unstack() for images in (listing, selected_images)
    )
    for part in ("train", "test"):
        assert counts_after.loc[part].tolist() == [counts_before.loc[part].min()] * 3
    assert len(selected_images) + len(rules_by_id(selected_images)) == len(listing)
    assert list(selected_images.manifest.ids) == [
        name for name in listing.manifest.ids if name not in selected_images.ignored
    ]


def test_undersampling_depends_on_the_seed_and_records_its_rule() -> None:
    listing = make_listing(y=["a"] * 40 + ["b"] * 4)
    first_ids = [
        tuple(select(listing, split=SplitSpec(seed=seed), balance="undersample").manifest.ids[:4]) for seed in (0, 0, 1)
    ]
    assert first_ids[0] == first_ids[1] != first_ids[2]
    assert first_ids[0] != ("i0", "i1", "i2", "i3")
    assert set(rules_by_id(select(listing, balance="undersample")).values()) == {
        "is surplus in class 'a', dropped by targets.t.balance"
    }


def test_balancing_without_given_parts_uses_all_images() -> None:
    listing = select(
        make_listing(y=list("aaabb"), part=["train", "train", "test", "test", "test"]), balance="undersample"
    )
    assert listing.manifest.column("y").tolist() == list("aabb")


def test_balancing_uses_classes_made_from_numbers() -> None:
    numbers = [*range(10), *range(60, 64)]
    by_threshold = select(make_listing(y=numbers), above=20, balance="undersample")
    assert encode_classes(by_threshold.manifest, "t", make_target(above=20)).codes.tolist() == [0] * 4 + [1] * 4
    by_bands = select(make_listing(y=numbers), bins=[20, 40, 50], balance="undersample")
    assert encode_classes(by_bands.manifest, "t", make_target(bins=[20, 40, 50])).codes.tolist() == [0] * 4 + [3] * 4
    choices = {"bins": [5, 20], "keep": ["5–20", "≥20"], "balance": "undersample"}
    assert (
        encode_classes(select(make_listing(y=numbers), **choices).manifest, "t", make_target(**choices)).codes.tolist()
        == [0] * 4 + [1] * 4
    )


# sample


def test_a_sample_keeps_the_same_images_whatever_their_order() -> None:
    listing = make_listing(y=["a", "b"] * 20)
    backwards = listing.take(listing.manifest.ids[::-1])
    samples = [select_images(images, {"t": make_target()}, SplitSpec(), sample=7) for images in (listing, backwards)]
    assert len(samples[0]) == 7
    assert set(samples[0].manifest.ids) == set(samples[1].manifest.ids)
    assert set(rules_by_id(samples[0]).values()) == {"is not among the 7 images of data.sample"}


def test_a_sample_is_drawn_from_the_kept_classes_and_balanced_afterwards() -> None:
    listing = make_listing(y=["a", "a", "b", "c"] * 20)
    target = make_target(keep=["a", "b"], balance="undersample")
    selected_images = select_images(listing, {"t": target}, SplitSpec(), sample=30)
    counts = selected_images.manifest.labels["y"].value_counts()
    n_sampled = sum(
        "data.sample" not in rule and "leaves out" not in rule for rule in rules_by_id(selected_images).values()
    )
    assert counts["a"] == counts["b"]
    assert counts.sum() + n_sampled == 30


def test_named_parts_are_balanced_to_a_number_of_images() -> None:
    listing = make_listing(y=list("aaaaabbb") + list("aaabb"), part=["train"] * 8 + ["test"] * 5)
    split = SplitSpec(column="part")

    of_both = select(listing, split=split, balance={"train": 4, "test": "undersample"}).manifest.labels
    of_test = select(listing, split=split, balance={"test": "undersample"}).manifest.labels

    assert of_both.groupby(["part", "y"]).size().to_dict() == {
        ("test", "a"): 2,
        ("test", "b"): 2,
        ("train", "a"): 2,
        ("train", "b"): 2,
    }
    assert of_test.groupby(["part", "y"]).size().loc["train"].to_dict() == {"a": 5, "b": 3}


@pytest.mark.parametrize(
    ("balance", "message"),
    [
        ({"train": 5}, r"targets\.t\.balance\.train: 5 images cannot be divided equally among 2 classes; expected a"),
        ({"test": 6}, r"targets\.t\.balance\.test: 6 images are 3 of each class, found 2 of class 'b'; expected 4 or"),
    ],
)
def test_numbers_that_cannot_be_balanced_are_reported(balance: dict[str, int], message: str) -> None:
    listing = make_listing(y=list("aaaaabbb") + list("aaabb"), part=["train"] * 8 + ["test"] * 5)
    with pytest.raises(DataError, match=message):
        select(listing, split=SplitSpec(column="part"), balance=balance)
