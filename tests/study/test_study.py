"""Folders of a study, stale data and runs, and the seal of the test labels.

Modules: study.labelled_rows.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx import ensemble, evaluate, extract, fit
from featx.embeddings.read import locked_embeddings
from featx.errors import DataError, IncompleteError
from featx.study.study import Study
from tests.recipes import LABEL_TABLE, toy_heads, toy_recipe

TABLE = toy_recipe(data=LABEL_TABLE, split={"column": "part"}, head=toy_heads("logreg"))


@pytest.fixture
def recipe(toy_home: Path) -> Path:
    """Write a label table with the parts of the toy images, and a recipe; return the recipe's path."""
    paths = sorted(path.relative_to("images").as_posix() for path in Path("images").rglob("*.png"))
    frame = pd.DataFrame({"path": paths, "class": [path.split("/")[0] for path in paths]})
    frame["part"] = ["train", "train", "val", "test"] * 12
    frame.to_csv("images/labels.csv", index=False)
    (toy_home / "featx.toml").write_text(TABLE)
    return toy_home / "featx.toml"


def relabel(part: str) -> None:
    """Give the images of one part the other class."""
    frame = pd.read_csv("images/labels.csv")
    in_part = frame["part"] == part
    frame.loc[in_part, "class"] = frame.loc[in_part, "class"].map({"dark": "light", "light": "dark"})
    frame.to_csv("images/labels.csv", index=False)


def visible_names() -> set[str]:
    """Return the names in the study's folder without the trial journals and the lists of copies."""
    names = {path.name for path in Path("runs/featx").iterdir()}
    return {name for name in names if not name.startswith((".trials", "copies."))}


def test_labels_of_the_test_split_change_nothing_before_it_is_opened(recipe: Path) -> None:
    extract()
    fit()
    fit(heads=["svm"], trials=1)
    ensemble()
    runs = {run.name: run.predictions.to_frame() for run in Study.open(None).runs()}
    scores_before = [asdict(row) for row in evaluate()]
    relabel("test")
    extract()

    repeated_runs = [*fit(), *fit(heads=["svm"], trials=1), *ensemble()]

    assert not any(run.is_new for run in repeated_runs)
    assert [asdict(row) for row in evaluate()] == scores_before
    for run in fit(force=True):
        pd.testing.assert_frame_equal(Study.open(None).runs(names=[run.run])[0].predictions.to_frame(), runs[run.run])
    assert Study.open(None).openings() == []


def test_truth_excludes_the_sealed_test_rows(recipe: Path) -> None:
    extract()
    study = Study.open(None)

    truth = study.truth("class")

    assert (len(truth.ids), len(study.ids("test"))) == (36, 12)
    assert not set(truth.ids) & set(study.ids("test"))
    with pytest.raises(ValueError, match="labels of the test split are sealed"):
        study.labels_fingerprint("class", "test")


def test_each_opening_of_the_test_split_is_logged(recipe: Path) -> None:
    extract()
    study = Study.open(None)
    assert study.openings() == []

    test_truth = study.open_test("class", ["logreg-1"])
    study.open_test("class", ["logreg-1", "svm-2"])

    assert test_truth.ids.tolist() == study.ids("test").tolist()
    assert [test_truth.classes[code] for code in test_truth.codes] == [name.split("/")[0] for name in test_truth.ids]
    openings = Study.open(None).openings("class")
    assert [opening["runs"] for opening in openings] == [["logreg-1"], ["logreg-1", "svm-2"]]
    assert all(opening["user"] and opening["when"] for opening in openings)
    assert study.openings("other") == []


def test_a_split_without_test_rows_cannot_be_opened(recipe: Path) -> None:
    frame = pd.read_csv("images/labels.csv")
    frame.assign(part=frame["part"].replace("test", "train")).to_csv("images/labels.csv", index=False)
    recipe.write_text(TABLE.replace('column = "part"', 'column = "part"\ntest = 0'))
    extract()

    with pytest.raises(DataError, match="the split has no test rows"):
        Study.open(None).open_test("class", [])
    assert "openings.jsonl" not in visible_names()


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_labels_changed_after_the_extraction_require_another_one(recipe: Path, part: str) -> None:
    extract()
    relabel(part)
    study = Study.open(None)

    for call in (lambda: study.manifest, lambda: study.truth("class"), lambda: study.open_test("class", []), fit):
        with pytest.raises(IncompleteError, match="label file changed after the last extraction; run 'featx extract'"):
            call()

    extract()
    assert fit()[0].is_new


def test_a_changed_split_requires_another_extraction(recipe: Path) -> None:
    extract()
    recipe.write_text(TABLE.replace('column = "part"', "seed = 3"))

    with pytest.raises(IncompleteError, match=r"\[split\] changed after the last extraction; run 'featx extract'"):
        fit()


def test_a_study_without_an_extraction_requires_one(recipe: Path) -> None:
    study = Study.open(None)

    with pytest.raises(IncompleteError, match=r"has no source\.json yet; run 'featx extract' for recipe 'featx' first"):
        _ = study.manifest
    with pytest.raises(
        IncompleteError, match="embedding 'toy/last/avg,weights=none' .* is not extracted yet; run 'featx extract'"
    ):
        locked_embeddings(study)
    with pytest.raises(IncompleteError, match="run 'featx extract'"):
        study.runs()


def test_an_interrupted_fit_leaves_no_run_and_damages_none(recipe: Path) -> None:
    extract()
    names_before = visible_names()

    def interrupt(stage: str, n_done: int, total: int, note: str = "") -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        fit(progress=interrupt)
    assert visible_names() == names_before

    (run,) = fit()
    content = {path.name: path.read_bytes() for path in Path(run.path).iterdir()}
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        fit(force=True, progress=interrupt)
    assert {path.name: path.read_bytes() for path in Path(run.path).iterdir()} == content
    assert visible_names() == names_before | {run.run}


def test_runs_of_another_split_or_labelling_are_left_out(recipe: Path) -> None:
    extract()
    (first,) = fit()
    labels = Path("images/labels.csv").read_text()
    swapped_labels = labels.replace("test", "val", 1)
    for change in (lambda: relabel("train"), lambda: Path("images/labels.csv").write_text(swapped_labels)):
        change()
        extract()
        with pytest.raises(
            IncompleteError,
            match=r"no finished run for the current data \(1 other: logreg-class-.* was (trained|made)",
        ):
            Study.open(None).runs()
        Path("images/labels.csv").write_text(labels)
        extract()

    assert [run.name for run in Study.open(None).runs("class")] == [first.run]


def test_runs_are_selected_by_the_beginning_of_their_names(recipe: Path) -> None:
    extract()
    names = [run.run for head in ("svm", "logreg") for run in fit(heads=[head], trials=1)]
    study = Study.open(None)

    assert [run.name for run in study.runs()] == names
    assert [run.name for run in study.runs(names=["logreg", names[1]])] == names[1:]
    with pytest.raises(DataError, match="no finished run is called 'rf'; runs on this split: logreg, svm$"):
        study.runs(names=["logreg", "rf"])
    with pytest.raises(DataError, match="no finished run is called 'swm'; did you mean 'svm'"):
        study.runs(names=["swm"])
    with pytest.raises(DataError, match="no target is called 'colour'; targets: class"):
        study.runs("colour")


def test_images_without_an_embedding_are_in_no_part(recipe: Path) -> None:
    Path("images/dark/000.png").write_text("no picture")
    extract()
    study = Study.open(None)

    ids = np.concatenate([study.ids(part) for part in ("train", "val", "test")])

    assert sorted(ids) == sorted(set(study.manifest.ids) - {"dark/000.png"})


def test_the_environment_or_the_recipe_sets_the_result_folders(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (Study.open(None).cache.folder, Study.open(None).folder) == (Path("cache"), Path("runs/featx"))
    recipe.write_text(TABLE + '[paths]\ncache = "c"\nruns = "r"\n')
    assert (Study.open(None).cache.folder, Study.open(None).folder) == (
        recipe.parent / "c",
        recipe.parent / "r" / "featx",
    )
    monkeypatch.setenv("FEATX_CACHE", "/c")
    monkeypatch.setenv("FEATX_RUNS", "/r")
    assert (Study.open(None).cache.folder, Study.open(None).folder) == (Path("/c"), Path("/r/featx"))


def test_the_order_of_a_label_table_changes_no_model(recipe: Path) -> None:
    extract()
    (first_run,) = fit(heads=["svm"], trials=2)
    expected = pd.read_parquet(Path(first_run.path) / "predictions.parquet")
    frame = pd.read_csv("images/labels.csv").sample(frac=1, random_state=0)
    frame.to_csv("images/labels.csv", index=False)
    extract()
    (run,) = fit(heads=["svm"], trials=2, force=True)
    assert run.run == first_run.run
    pd.testing.assert_frame_equal(pd.read_parquet(Path(run.path) / "predictions.parquet"), expected)


def test_rows_are_in_natural_order(recipe: Path) -> None:
    names = ["dark/10.png", "dark/9.png", "dark/09.png"]
    frame = pd.read_csv("images/labels.csv")
    for old_name, name in zip(frame["path"][:3], names, strict=True):
        Path(f"images/{old_name}").rename(f"images/{name}")
    frame.loc[:2, "path"] = names
    frame.loc[:2, "part"] = "train"
    frame.to_csv("images/labels.csv", index=False)
    extract()
    ids = Study.open(None).ids("train").tolist()
    assert [name for name in ids if name in names] == ["dark/09.png", "dark/9.png", "dark/10.png"]
