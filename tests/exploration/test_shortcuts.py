"""Shortcuts: planted ones are found, and none is reported on clean digits.

Modules: exploration.property_codes, exploration.property_tests.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from featx.exploration.analysis import AnalysisResult
from featx.exploration.explored_images import ExploredImages
from featx.exploration.property_codes import CodedProperty, code_numbers, code_texts, name_words, property_folders
from featx.exploration.property_tests import score_properties
from featx.exploration.shortcuts import (
    MIN_IMAGES_PER_CLASS,
    MIN_PICTURE_AUROC,
    describe_difference,
    find_shortcuts,
)
from featx.progress import no_progress
from featx.tables.truth import Labels, Numbers
from tests.exploration.digit_images import Change, take, write_digits
from tests.exploration.explored import make_explored

N = 300
RNG = np.random.default_rng(0)
LABELS = RNG.choice(["cat", "dog", "owl"], N).tolist()
IS_CAT = np.array(LABELS) == "cat"


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ExploredImages:
    return write_digits(tmp_path_factory.mktemp("digits"), 500)


@pytest.fixture(scope="module")
def all_digits(tmp_path_factory: pytest.TempPathFactory) -> ExploredImages:
    return write_digits(tmp_path_factory.mktemp("all_digits"))


def found(result: AnalysisResult) -> set[tuple[str, str]]:
    table = result.tables["shortcuts"]
    return set(table.loc[table["is_shortcut"], ["property", "label"]].itertuples(index=False, name=None))


def find(ids: Sequence[str], labels: Sequence[str] = LABELS, **options: Any) -> AnalysisResult:
    return find_shortcuts(make_explored(ids, labels, **options), no_progress)


def half(n: int = N) -> np.ndarray:
    return np.random.default_rng(7).random(n) < 0.5


IDS = [f"{number:04}.png" for number in range(N)]


def test_clean_digits_have_no_shortcut(digits: ExploredImages) -> None:
    result = find_shortcuts(digits, no_progress)
    assert found(result) == set()
    assert result.highlights == ()
    assert result.facts["n_tested"] >= 5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_samples_of_clean_digits_have_no_shortcut(all_digits: ExploredImages, seed: int) -> None:
    rows = np.random.default_rng(seed).choice(len(all_digits), 1200, replace=False)
    assert found(find_shortcuts(take(all_digits, np.sort(rows)), no_progress, seed)) == set()


def border(pixels: np.ndarray, digit: int) -> tuple[np.ndarray, str]:
    if digit == 3:
        pixels = pixels.copy()
        pixels[[0, -1]] = pixels[:, [0, -1]] = 200
    return pixels, ""


def long_metadata(pixels: np.ndarray, digit: int) -> tuple[np.ndarray, str]:
    return pixels, "x" * 30 if digit == 5 else ""


def a_border_on_some(pixels: np.ndarray, digit: int) -> tuple[np.ndarray, str]:
    return border(pixels, digit) if pixels.sum() % 3 else (pixels, "")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (a_border_on_some, ("border on all sides", "3")),
        (long_metadata, ("file size", "5")),
    ],
)
def test_a_planted_border_and_file_size_are_found(change: Change, expected: tuple[str, str], tmp_path: Any) -> None:
    images = write_digits(tmp_path, 300, change)
    result = find_shortcuts(images, no_progress)
    assert expected in found(result)
    assert result.highlights[0].rank == 0
    assert result.highlights[0].text.startswith("shortcut: ")


def test_a_planted_folder_is_found_and_the_folder_of_the_class_is_none() -> None:
    planted = [
        f"{'clinic' if cat else 'field'}/{label}/{name}" for cat, label, name in zip(IS_CAT, LABELS, IDS, strict=True)
    ]
    data = {"reader": "folder"}
    assert found(find(planted, data=data)) == {("folder", "cat")}
    clean_ids = [
        f"{'clinic' if coin else 'field'}/{label}/{name}" for coin, label, name in zip(half(), LABELS, IDS, strict=True)
    ]
    assert found(find(clean_ids, data=data)) == set()
    assert found(find([f"train/{label}/{name}" for label, name in zip(LABELS, IDS, strict=True)], data=data)) == set()


def test_folders_of_renamed_classes_are_no_shortcut() -> None:
    folder_of = {"cat": "n01", "dog": "n02", "owl": "n03"}
    ids = [f"{folder_of[label]}/{name}" for label, name in zip(LABELS, IDS, strict=True)]
    assert found(find(ids, data={"reader": "folder"})) == set()
    # With labels from a table, folders that sort by class are one.
    assert ("folder", "cat") in found(find(ids)) or ("folder", "dog") in found(find(ids))


def test_a_word_in_the_names_is_found() -> None:
    ids = [f"{'scanner2' if cat else 'phone'}_{name}" for cat, name in zip(IS_CAT, IDS, strict=True)]
    result = find(ids)
    assert found(result) == {("words of file names", "cat")}
    assert "'scanner" in result.highlights[0].text or "'phone'" in result.highlights[0].text
    clean_ids = [f"{'scanner2' if coin else 'phone'}_{name}" for coin, name in zip(half(), IDS, strict=True)]
    assert found(find(clean_ids)) == set()
    assert found(find([f"{label}_{name}" for label, name in zip(LABELS, IDS, strict=True)])) == set()


def test_names_that_give_the_labels_are_not_tested() -> None:
    ids = [f"{'x' if cat else 'y'}_{name}" for cat, name in zip(IS_CAT, IDS, strict=True)]
    images = make_explored(ids, LABELS)
    labels = images.recipe.data.labels
    assert labels is not None
    data_spec = images.recipe.data.model_copy(
        update={"labels": labels.model_copy(update={"file": None, "name": "{class}"})}
    )
    study = type(images.study)(images.recipe.model_copy(update={"data": data_spec}))
    images = type(images)(**{**images.__dict__, "study": study})
    assert name_words(images, LABELS) is None
    assert found(find_shortcuts(images, no_progress)) == set()


@pytest.mark.parametrize(
    ("column", "name", "values"),
    [
        ("camera", "camera", ("Acme C-1", "Bolex")),
        ("width_px", "width", (640.0, 800.0)),
        ("file_type", "file type", ("PNG", "JPEG")),
        ("mode", "colour mode", ("L", "RGB")),
        ("brightness", "brightness", (0.2, 0.8)),
    ],
)
def test_planted_properties_of_files_and_pictures_are_found(column: str, name: str, values: tuple[Any, Any]) -> None:
    assert found(find(IDS, properties={column: [values[int(cat)] for cat in IS_CAT]})) == {(name, "cat")}
    assert found(find(IDS, properties={column: [values[int(coin)] for coin in half()]})) == set()


def test_a_group_that_predicts_the_label_is_found() -> None:
    sites = ["north" if cat or coin else "south" for cat, coin in zip(IS_CAT, half(), strict=True)]
    assert found(find(IDS, groups={"site": sites})) == {("group site", "cat")}


def test_a_weak_dependence_on_what_is_shown_is_listed_but_no_shortcut() -> None:
    values = np.where(IS_CAT, 0.6, 0.5) + np.random.default_rng(1).normal(0, 0.05, N)
    result = find(IDS, properties={"brightness": values})
    (row,) = result.tables["shortcuts"].query("property == 'brightness'").to_dict("records")
    assert row["p_holm"] < 0.05
    assert 0.8 < row["auroc"] < MIN_PICTURE_AUROC
    assert not row["is_shortcut"]


def test_images_of_one_patient_count_once() -> None:
    """A property of patients seems to predict the label if each of their ten images counts."""
    patients = np.repeat(np.arange(30), 10)
    rng = np.random.default_rng(4)
    labels = np.array(["sick", "well"])[rng.integers(0, 2, 30)][patients].tolist()
    cameras = np.array(["A", "B"])[rng.integers(0, 2, 30)][patients].tolist()
    options: dict[str, Any] = {"properties": {"camera": cameras}, "groups": {"patient": patients}}
    table = find(IDS, labels, **options, split={"by": "patient"}).tables["shortcuts"].set_index("property")
    ungrouped_table = find(IDS, labels, **options).tables["shortcuts"].set_index("property")
    assert table.loc["camera", "p"] > 0.05 > ungrouped_table.loc["camera", "p"]


def test_labels_and_numbers_are_tested_too() -> None:
    labels = Labels(np.array(IDS, dtype=object), np.column_stack([IS_CAT, half()]).astype(int), ("indoor", "night"))
    values = np.where(IS_CAT, 10.0, 0.0)[:, None] + np.random.default_rng(0).random((N, 1))
    age = Numbers(np.array(IDS, dtype=object), values, ("age",))
    images = make_explored(
        IDS, truths={"tags": labels, "age": age}, properties={"width_px": np.where(IS_CAT, 64.0, 32.0)}
    )
    table = find_shortcuts(images, no_progress).tables["shortcuts"]
    targets = set(table.loc[table["is_shortcut"] & (table["property"] == "width"), "target"])
    assert targets == {"tags: indoor", "age"}


@pytest.mark.parametrize("labels", [None, ["cat"] * N, ["cat"] * (N - 3) + ["dog"] * 3])
def test_too_few_labels_are_a_note(labels: list[str] | None) -> None:
    result = find_shortcuts(make_explored(IDS, labels), no_progress)
    assert len(result.tables["shortcuts"]) == 0
    assert ("no labels" if labels is None else f"{MIN_IMAGES_PER_CLASS} independent images") in result.notes[0]


def test_permutation_p_values_are_uniform_without_a_dependence() -> None:
    rng = np.random.default_rng(0)
    p = []
    for seed in range(20):
        y = rng.integers(0, 3, 120)
        values = rng.normal(size=120)
        (score,) = score_properties(y, [CodedProperty("x", values, code_numbers(values))], None, seed)
        p.append(score.p)
    assert 0.3 < np.mean(p) < 0.7
    assert np.mean(np.array(p) < 0.05) <= 0.15


def test_numbers_and_texts_are_coded() -> None:
    assert code_numbers(np.array([5.0, np.nan, 5.0, 7.0])).tolist() == [0, -1, 0, 1]
    codes = code_numbers(np.arange(1000.0))
    assert np.bincount(codes).min() >= 31
    assert code_texts(["a"] * 5 + ["b"] * 6 + ["c"]).tolist() == [1] * 5 + [0] * 6 + [2]


def test_folders_of_parts_and_labels_are_left_out() -> None:
    ids = ["train/cat/a/1.png", "val/cat/b/2.png", "train/dog/a/3.png"]
    images = make_explored(ids, ["cat", "cat", "dog"], data={"reader": "folder"})
    assert property_folders(images, ["cat", "cat", "dog"]) == ["a", "b", "a"]


def test_examples_have_and_lack_the_label() -> None:
    result = find(IDS, properties={"camera": np.where(IS_CAT, "A", "B")})
    examples = result.tables["shortcut_examples"]
    label_of = dict(zip(IDS, LABELS, strict=True))
    assert pd.Series([label_of[name] == "cat" for name in examples["id"]]).equals(examples["has_label"])
    assert set(examples["value"]) == {"A", "B"}


def test_differences_of_numbers_have_their_unit() -> None:
    width = CodedProperty.of_numbers("width", np.array([10.0, 12.0, 30.0]), unit=" px")
    assert describe_difference(width, np.array([True, True, False])) == "median 11 px, of the others 30 px"
