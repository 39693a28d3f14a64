"""Copies across the parts of a study, from files to scores.

Modules: cli.leak_commands, embeddings.near_copies, reports.study_report.leak_section, study.near_copy_table.
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import featx
from featx.errors import DataError
from featx.evaluation.leaks import COLUMNS, Copies, find_copies
from featx.metrics.scores import scores
from featx.study.run_folder import RunFolder
from featx.study.study import Study
from featx.tables.predictions import Predictions
from featx.tables.truth import Truth
from tests.conftest import make_images
from tests.printed import unwrapped
from tests.recipes import LABEL_TABLE, toy_heads, toy_recipe

SECTIONS = {
    "data": LABEL_TABLE,
    "targets": {"y": {"column": "y"}},
    "groups": {"patient": "patient", "site": "site"},
    "split": {"column": "part"},
    "head": toy_heads("logreg"),
}
N = 120


@pytest.fixture
def rows(home: Path) -> pd.DataFrame:
    """Return 120 noisy images, 60 of train, 30 of val and 30 of test; one image per patient, four sites."""
    ids = make_images(home / "images", ("a", "b"), n_each=N // 2, size=(48, 48))
    numbers = np.arange(N)
    parts = np.array(["train", "val", "train", "test"])[numbers % 4]
    (home / "featx.toml").write_text(toy_recipe(**SECTIONS))
    return pd.DataFrame(
        {"path": ids, "y": [name[0] for name in ids], "part": parts, "patient": numbers, "site": numbers % 4}
    ).set_index("path", drop=False)


def add(rows: pd.DataFrame, source: str, copy: str, part: str, y: str | None = None) -> None:
    """Write a copy of an image, encoded again where its name says JPEG."""
    if copy.endswith(".jpg"):
        Image.open(f"images/{source}").save(f"images/{copy}", quality=95)
    else:
        shutil.copy(f"images/{source}", f"images/{copy}")
    rows.loc[copy] = {**rows.loc[source], "path": copy, "part": part, "y": y or rows.loc[source, "y"]}


def extract(rows: pd.DataFrame) -> Study:
    rows.to_csv("images/labels.csv", index=False)
    featx.extract()
    return Study.open(None)


@pytest.fixture
def leaky(rows: pd.DataFrame) -> Study:
    """Return a study with copies of train images: one in val (other label), two near ones in test, one in train."""
    add(rows, "a/000.png", "a/exact.png", "val", y="b")
    add(rows, "a/002.png", "a/near.jpg", "test")
    add(rows, "b/000.png", "b/near.jpg", "test", y="a")
    add(rows, "a/004.png", "a/inside.png", "train")
    return extract(rows)


def test_copies_are_listed_with_their_parts_and_kinds(leaky: Study) -> None:
    leaks = featx.leaks()
    assert [(p.id, p.part, p.copy, p.copy_part, p.kind) for p in leaks.pairs] == [
        ("a/exact.png", "val", "a/000.png", "train", "exact"),
        *sorted(
            [
                ("a/near.jpg", "test", "a/002.png", "train", "near"),
                ("b/near.jpg", "test", "b/000.png", "train", "near"),
            ],
            key=lambda row: -next(p.similarity for p in leaks.pairs if p.id == row[0]),
        ),
    ]
    assert leaks.n_images == {"train": 3, "val": 1, "test": 2}
    assert leaks.n_unreadable == 0
    table = pd.read_parquet(leaks.file)
    assert table["id"].tolist() == [pair.id for pair in leaks.pairs]
    assert not any("label" in str(column) for column in table.columns)


def test_labels_of_test_rows_are_compared_only_when_test_is_opened(leaky: Study) -> None:
    leaks = featx.leaks()
    labels = {pair.id: pair.labels["y"] for pair in leaks.pairs}
    assert labels == {"a/exact.png": ("b", "a"), "a/near.jpg": (None, "a"), "b/near.jpg": (None, "b")}
    assert [pair.id for pair in leaks.disagreeing] == ["a/exact.png"]
    assert leaky.openings() == []
    final_leaks = featx.leaks(final=True)
    assert [pair.id for pair in final_leaks.disagreeing] == ["a/exact.png", "b/near.jpg"]
    assert final_leaks.opened
    assert [look["target"] for look in leaky.openings()] == ["y"]


def test_permuted_test_labels_do_not_change_leaks(leaky: Study) -> None:
    leaks_before = featx.leaks()
    table = pd.read_csv("images/labels.csv")
    test = table["part"] == "test"
    table.loc[test, "y"] = table.loc[test, "y"].to_numpy()[::-1]
    table.to_csv("images/labels.csv", index=False)
    featx.extract()
    assert featx.leaks() == leaks_before


def test_evaluate_reports_the_score_on_rows_without_copies(leaky: Study) -> None:
    featx.fit()
    (evaluation,) = featx.evaluate()
    (row,) = evaluation.rows
    table = RunFolder(leaky.folder / row.run).predictions.of("val")
    clean_rows = table.take([name for name in table.ids if name != "a/exact.png"])
    assert row.scores["accuracy_without_leaks"] == scores(leaky.truth("y"), clean_rows)["accuracy"]
    assert row.scores["n"] == len(clean_rows.ids) + 1
    (warning,) = evaluation.warnings
    assert warning.startswith(
        "1 of 31 images scored have a copy in another part (1 exact, 0 near), first 'a/exact.png'; "
    )
    (final_evaluation,) = featx.evaluate(final=True)
    assert final_evaluation.warnings[0].startswith(
        "2 of 32 images scored have a copy in another part (0 exact, 2 near), first "
    )
    assert "accuracy_without_leaks" in final_evaluation.rows[0].scores


def test_a_study_without_copies_has_no_warnings(rows: pd.DataFrame) -> None:
    extract(rows)
    featx.fit()
    (evaluation,) = featx.evaluate()
    assert evaluation.warnings == []
    assert not [name for name in evaluation.scores if "leaks" in name]
    assert featx.leaks().pairs == []


def test_a_part_that_is_all_copies_has_no_score_without_them(rows: pd.DataFrame) -> None:
    rows = rows[rows["part"] != "val"].copy()
    for number in range(0, 8, 2):
        add(rows, f"a/{number:03}.png", f"a/copy{number}.png", "val")
    for number in range(0, 8, 2):
        add(rows, f"b/{number:03}.png", f"b/copy{number}.png", "val")
    extract(rows)
    featx.fit()
    (evaluation,) = featx.evaluate()
    assert np.isnan(evaluation.rows[0].scores["accuracy_without_leaks"])
    assert evaluation.warnings[0].startswith("8 of 8 images scored have a copy in another part (8 exact, 0 near)")


def test_each_of_many_copies_is_in_at_least_one_pair(rows: pd.DataFrame) -> None:
    for number in range(6):
        add(rows, "a/000.png", f"a/t{number}.png", "train")
        add(rows, "a/000.png", f"a/v{number}.png", "val")
    extract(rows)
    copies = find_copies(Study.open(None))
    assert copies.ids("train") == {"a/000.png", *(f"a/t{number}.png" for number in range(6))}
    assert copies.ids("val") == {f"a/v{number}.png" for number in range(6)}
    assert len(copies.frame) == 7 + 6 - 1


def test_black_images_are_copies_only_of_equal_ones(rows: pd.DataFrame) -> None:
    for number, (part, side) in enumerate([("train", 40), ("val", 40), ("val", 44), ("test", 48)]):
        Image.new("RGB", (side, side)).save(f"images/black{number}.png")
        rows.loc[f"black{number}.png"] = {**rows.iloc[0], "path": f"black{number}.png", "part": part}
    extract(rows)
    assert [(pair.id, pair.copy, pair.kind) for pair in featx.leaks().pairs] == [("black1.png", "black0.png", "exact")]


def test_copies_are_remembered_until_the_split_changes(leaky: Study, rows: pd.DataFrame) -> None:
    leaks_before = featx.leaks()
    Path("images/a").rename("away")
    assert featx.leaks() == leaks_before
    (leaky.folder / "leaks.parquet").unlink()
    assert featx.leaks() == leaks_before  # by what is remembered of each image
    Path("away").rename("images/a")
    rows.loc["a/exact.png", "part"] = "train"
    extract(rows)
    assert "a/exact.png" not in {pair.id for pair in featx.leaks().pairs}


def test_a_changed_image_is_compared_again(leaky: Study) -> None:
    ids_before = {pair.id for pair in featx.leaks().pairs}
    shutil.copy("images/b/004.png", "images/b/001.png")
    featx.extract()
    assert {pair.id for pair in featx.leaks().pairs} - ids_before == {"b/001.png"}


def test_removed_images_are_compared_by_content_and_counted(leaky: Study) -> None:
    for name in ("a/near.jpg", "b/010.png"):
        Path("images", name).unlink()
    leaks = featx.leaks()
    assert {pair.id for pair in leaks.pairs} == {"a/exact.png", "b/near.jpg"}
    assert leaks.n_unreadable == 2
    shutil.rmtree("images/a")
    assert featx.leaks().n_unreadable == 2  # the others are remembered


def test_without_a_cache_images_are_compared_by_hash(leaky: Study) -> None:
    ids_before = {pair.id for pair in featx.leaks().pairs}
    for store in Path("cache").glob("*.zarr"):
        shutil.rmtree(store)
    (leaky.folder / "copies.json").unlink()
    for _ in range(2):  # the second time, too: it is not kept as if it were whole
        leaks = featx.leaks()
        assert {pair.id for pair in leaks.pairs} == ids_before
        assert leaks.n_without_embedding == N + 2  # contents: the two exact copies have none of their own


def test_groups_of_an_identity_in_several_parts_are_reported(rows: pd.DataFrame) -> None:
    rows["patient"] = [f"p{i // 3}" for i in range(N)]
    extract(rows)
    (split_group,) = featx.leaks().groups  # sites are few: no identity
    assert (split_group.name, split_group.n_groups, split_group.n_leaking_groups) == ("patient", 40, 40)
    Path("featx.toml").write_text(toy_recipe(**SECTIONS | {"split": {"by": "patient"}}))
    featx.extract()
    assert featx.leaks().groups == []


def test_images_without_a_group_are_no_group_in_several_parts(rows: pd.DataFrame) -> None:
    numbers = np.arange(N)
    # The images of each patient are in one part, whose number is that of the image modulo 4.
    rows["patient"] = [f"p{number % 4}-{number // 20}" for number in numbers]
    rows.loc[numbers % 10 < 3, "patient"] = None
    extract(rows)
    assert featx.leaks().groups == []


def test_groups_of_one_image_are_not_reported(rows: pd.DataFrame) -> None:
    extract(rows)
    assert featx.leaks().groups == []


def test_final_fails_without_test_rows(rows: pd.DataFrame) -> None:
    Path("featx.toml").write_text(toy_recipe(**SECTIONS | {"split": {"column": "part", "test": 0}}))
    extract(rows[rows["part"] != "test"])
    assert featx.leaks().n_images["test"] == 0
    with pytest.raises(DataError, match="the split has no test rows"):
        featx.leaks(final=True)


def test_several_kinds_of_labels_are_compared(rows: pd.DataFrame) -> None:
    rows["size"] = np.arange(N) / 4
    add(rows, "a/000.png", "a/exact.png", "val")
    rows.loc["a/exact.png", "size"] = 7.5
    rows["age"] = np.arange(N + 1) % 7
    targets = {
        "y": {"column": "y"},
        "size": {"kind": "numbers", "column": "size"},
        "big": {"kind": "labels", "columns": ["size", "age"], "above": 3},
    }
    Path("featx.toml").write_text(toy_recipe(**SECTIONS | {"targets": targets}))
    extract(rows)
    (pair,) = featx.leaks().pairs
    assert pair.labels == {"y": ("a", "a"), "size": ("7.5", "0"), "big": ("size", "none")}
    assert pair.disagreeing == ["size", "big"]


def test_the_report_shows_pairs_and_test_stays_sealed(leaky: Study) -> None:
    featx.fit()
    page = Path(featx.report().report).read_text()
    assert "Copies in several parts" in page
    assert re.search(r"a/exact\.png \(val\) and a/000\.png \(train\)</span>\s*<span[^>]*>exact</span>", page)
    assert "y: b / a</span>" in page
    assert "3 of 3 pairs of copies." in page
    assert "The test split is sealed and has not been opened." in page
    assert leaky.openings() == []
    featx.leaks(final=True)
    assert "has not been opened" not in Path(featx.report().report).read_text()


def test_leaks_prints_text_and_json(leaky: Study, capsys: pytest.CaptureFixture[str]) -> None:
    from typer.testing import CliRunner

    from featx.cli.main import app

    result = CliRunner().invoke(app, ["leaks", "--json"])
    output = json.loads(result.stdout)
    assert (output["n_pairs"], output["n_disagreeing"], len(output["pairs"])) == (3, 1, 3)
    assert output["pairs"][0]["differing_targets"] == ["y"]
    text = unwrapped(CliRunner().invoke(app, ["leaks"]).stdout)
    assert "! b / a" in text
    assert "3 pairs (1 exact, 2 near); images with a copy in another part: train 3, val 1, test 2" in text
    assert "sealed and were not compared" in text


def test_errors_of_numbers_without_copies_are_positive(rows: pd.DataFrame) -> None:
    rows["size"] = np.arange(N) / 4
    add(rows, "a/000.png", "a/exact.png", "val")
    numbers = {"targets": {"size": {"kind": "numbers", "column": "size"}}, "head": toy_heads("ridge")}
    Path("featx.toml").write_text(toy_recipe(**SECTIONS | numbers))
    study = extract(rows)
    featx.fit()
    (row,) = featx.evaluate()[0].rows
    table = RunFolder(study.folder / row.run).predictions.of("val")
    clean_rows = table.take([name for name in table.ids if name != "a/exact.png"])
    assert row.scores["mae_without_leaks"] == pytest.approx(scores(study.labels("size"), clean_rows)["mae"])


def test_weighted_scores_without_leaks_have_the_prefix_of_weights() -> None:
    ids = np.array(["a", "b", "c"], dtype=object)
    truth = Truth(ids, np.array([0, 1, 1]), ("no", "yes"), np.array([1.0, 3.0, 2.0]))
    table = Predictions.of_part("val", ids, np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9]]), ("no", "yes"))
    copies = Copies(pd.DataFrame([["c", "val", "x", "train", "exact", 1.0]], columns=COLUMNS))
    assert copies.score_without("accuracy", truth, table) == {"confidence_accuracy_without_leaks": 0.25}
