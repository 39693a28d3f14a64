"""Counts by class, part and group, compared with counts by hand."""

import numpy as np
import pandas as pd

from featx.exploration.class_counts import SAMPLES_PER_CLASS, class_members, count_images, sample_images
from featx.progress import no_progress
from featx.tables.truth import Labels, Numbers
from tests.exploration.explored import make_explored

IDS = [f"{number:02}.png" for number in range(24)]
PARTS = ["train"] * 12 + ["val"] * 6 + ["test"] * 6
CLASSES = (["cat"] * 9 + ["dog"] * 3) + ["cat"] * 6 + ["dog"] * 6
SITES = ["north", "south"] * 12


def test_classes_are_counted_by_part_without_those_of_test() -> None:
    result = count_images(make_explored(IDS, CLASSES, parts=PARTS, groups={"site": SITES}), no_progress)
    counts = result.tables["class_counts"].set_index("label")
    assert counts.loc["cat", ["n", "train", "val"]].tolist() == [15, 9, 6]
    assert counts.loc["dog", ["n", "train", "val"]].tolist() == [3, 3, 0]
    assert result.tables["part_counts"]["n"].tolist() == [12, 6, 6]
    assert "labels of the 6 images of the test part are sealed" in result.notes[0]


def test_groups_are_counted_by_part_and_class() -> None:
    tables = count_images(make_explored(IDS, CLASSES, parts=PARTS, groups={"site": SITES}), no_progress).tables
    groups = tables["group_counts"].set_index("group")
    assert groups.loc["north", ["n", "train", "val", "test"]].tolist() == [12, 6, 3, 3]
    crossed = tables["class_by_group"].pivot(index="label", columns="group", values="n")
    labelled = pd.DataFrame({"label": CLASSES, "site": SITES})[:18]
    assert crossed.to_dict() == pd.crosstab(labelled["label"], labelled["site"]).to_dict()


def test_small_missing_and_unbalanced_classes_stand_out() -> None:
    images = make_explored(IDS, CLASSES, parts=PARTS)
    texts = [highlight.text for highlight in count_images(images, no_progress).highlights]
    assert texts[0].startswith(
        "1 of 2 classes of 'class' have fewer than 10 labelled images, the smallest 'dog' with 3"
    )
    assert texts[1] == "class 'dog' of 'class' has no image in val (1 of 2)"
    unbalanced_images = make_explored([f"{n}" for n in range(220)], ["a"] * 200 + ["b"] * 20)
    (highlight,) = count_images(unbalanced_images, no_progress).highlights
    assert highlight.text.startswith("classes of 'class' are unbalanced: 'a' has 10 times as many images as 'b'")
    balanced_images = make_explored([f"{n}" for n in range(40)], ["a", "b"] * 20)
    assert count_images(balanced_images, no_progress).highlights == ()


def test_one_class_and_no_labels_are_reported() -> None:
    (highlight,) = count_images(make_explored(IDS, ["cat"] * 24), no_progress).highlights
    assert highlight.text == "target 'class' has one class only, 'cat': nothing can be learnt"
    result = count_images(make_explored(IDS), no_progress)
    assert result.notes == ("there are no labels, so that nothing is counted by class",)
    assert len(result.tables["class_counts"]) == 0


def test_labels_and_numbers_are_counted_by_label_and_fifth() -> None:
    labels = Labels(np.array(IDS, dtype=object), np.tile([[1, 0], [1, 1]], (12, 1)), ("red", "blue"))
    numbers = Numbers(np.array(IDS, dtype=object), np.arange(24.0)[:, None], ("age",))
    images = make_explored(IDS, truths={"colours": labels, "age": numbers})
    result = count_images(images, no_progress)
    counts = result.tables["class_counts"]
    assert counts.query("target == 'colours'")[["label", "n"]].to_numpy().tolist() == [["red", 24], ["blue", 12]]
    assert counts.query("target == 'age'")["n"].sum() == 24
    assert counts.query("target == 'age'")["label"].iloc[0] == "0 to 4"
    row = result.tables["target_numbers"].iloc[0]
    assert [row["mean"], row["min"], row["max"]] == [11.5, 0, 23]


def test_fifths_of_a_narrow_range_have_different_names() -> None:
    values = 1013 + np.arange(24.0)[:, None] / 50
    images = make_explored(IDS, truths={"pressure": Numbers(np.array(IDS, dtype=object), values, ("pressure",))})
    counts = count_images(images, no_progress).tables["class_counts"]
    assert counts["n"].sum() == 24
    assert counts["label"].tolist()[:2] == ["1013 to 1013.1", "1013.1 to 1013.2"]


def test_samples_are_members_of_their_class_and_reproducible() -> None:
    images = make_explored(IDS, CLASSES, parts=PARTS)
    samples = sample_images(images, no_progress).tables["samples"]
    members = class_members(images, "class")
    assert samples["label"].value_counts().to_dict() == {"cat": SAMPLES_PER_CLASS, "dog": 3}
    assert all(row["id"] in members[row["label"]] for row in samples.to_dict("records"))
    assert samples["id"].is_unique
    assert samples.equals(sample_images(images, no_progress).tables["samples"])
    assert not set(samples["id"]) & set(IDS[18:])


def test_unlabelled_images_are_sampled_too() -> None:
    samples = sample_images(make_explored(IDS), no_progress).tables["samples"]
    assert sorted(samples["id"]) == IDS
