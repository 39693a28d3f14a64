"""Results of other data, splits or members are not shown as current ones."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

import featx
from featx.errors import IncompleteError
from featx.evaluation.final_scores import read_last_final
from featx.locations import label_file_states
from featx.specs.data import ReaderSpec
from featx.study.study import Study
from tests.conftest import TOY_RECIPE, make_images
from tests.recipes import LABEL_TABLE, toy_recipe


def test_two_recipes_of_one_name_do_not_share_their_images(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATX_RUNS", "runs")
    for folder in ("p1", "p2"):
        make_images(home / folder / "images", n_each=16 if folder == "p1" else 20)
        (home / folder / "featx.toml").write_text(TOY_RECIPE)
    featx.extract("p1/featx.toml")
    first = Study.open("p1/featx.toml").split
    featx.extract("p2/featx.toml")
    assert len(Study.open("p2/featx.toml").manifest) == 40
    with pytest.raises(IncompleteError, match=r"\[data\] or its label file changed .*run 'featx extract'"):
        featx.fit("p1/featx.toml")
    assert featx.extract("p1/featx.toml").n_embedded == 0
    pd.testing.assert_series_equal(Study.open("p1/featx.toml").split, first)


def test_another_source_is_split_again_and_stratified(toy_home: Path) -> None:
    featx.extract()
    make_images(toy_home / "others", ("x", "y", "z"), n_each=20)
    recipe_text = TOY_RECIPE.replace("[split]", '[split]\nmethod = "train_test_split"')
    Path("featx.toml").write_text(recipe_text.replace('"images"', '"others"'))
    featx.extract()
    study = Study.open(None)
    for part, n_each in (("test", 5), ("val", 5), ("train", 10)):
        assert pd.Series([name[0] for name in study.ids(part)]).value_counts().tolist() == [n_each] * 3


def test_an_ensemble_with_a_missing_member_is_left_out(toy_home: Path) -> None:
    featx.extract()
    fits = featx.fit()
    (ensemble,) = featx.ensemble(methods=["soft"])
    assert ensemble.run in featx.predict(["images/dark/000.png"])
    shutil.rmtree(fits[0].path)
    assert list(featx.predict(["images/dark/000.png"])) == [fits[1].run]
    assert [row.run for row in featx.evaluate()[0].rows] == [fits[1].run]


def test_test_scores_of_an_earlier_split_are_not_shown(toy_home: Path) -> None:
    featx.extract()
    featx.fit(heads=["logreg"])
    featx.evaluate(final=True)
    assert read_last_final(Study.open(None), "class") is not None
    Path("featx.toml").write_text(TOY_RECIPE.replace("[split]", "[split]\nseed = 5"))
    featx.extract()
    featx.fit(heads=["logreg"])
    assert read_last_final(Study.open(None), "class") is None
    assert len(Study.open(None).openings()) == 1


def test_a_missing_group_column_leaves_no_split(toy_home: Path) -> None:
    Path("featx.toml").write_text(TOY_RECIPE + '\n[groups]\nwho = "person"\n')
    assert featx.extract().label_problem == "no label column is called 'person'; columns: class"
    with pytest.raises(IncompleteError, match="the images have no split: no label column is called 'person'"):
        featx.fit(heads=["logreg"])


def test_groups_stay_whole_in_splits_and_folds(toy_home: Path) -> None:
    paths = sorted(Path("images").rglob("*.png"))
    rows = {"path": [str(path.relative_to("images")) for path in paths], "class": [path.parent.name for path in paths]}
    pd.DataFrame(rows | {"person": [f"p{row // 2}" for row in range(len(paths))]}).to_csv("images/l.csv", index=False)
    data = {"source": "images", "labels": {"file": "l.csv"}}
    recipe = toy_recipe(data=data, split={"test": 0.25, "val": 0.25, "by": "person"})
    Path("featx.toml").write_text(recipe)
    featx.extract()
    featx.fit()
    featx.ensemble()
    study = Study.open(None)
    person = pd.read_csv("images/l.csv").set_index("path")["person"]
    assert (study.split.groupby(person).nunique() == 1).all()
    for run in study.runs():
        oof = run.predictions.of("oof")
        folds = pd.Series(oof.fold, index=oof.ids)
        assert (folds.groupby(person).nunique() <= 1).all()


def test_copies_that_can_bias_scores_give_warnings(toy_home: Path) -> None:
    Path("featx.toml").write_text(TOY_RECIPE.replace("[split]", '[split]\nduplicates = "independent"'))
    assert featx.extract().warnings == []
    for number in range(8):
        shutil.copy(f"images/dark/{number:03}.png", f"images/light/copy{number}.png")
    apart, labels, in_train = featx.extract().warnings
    assert "images with copies are in several parts, first 'dark/0" in apart
    assert labels.startswith("8 images with copies have different labels, first 'dark/0")
    assert "times, first 'dark/0" in in_train
    assert in_train.endswith("copies of an image are always in the same fold")


def test_a_changed_annotation_changes_the_label_states(home: Path) -> None:
    for number in range(4):
        Path("faces").mkdir(exist_ok=True)
        Path(f"faces/{number}.png").write_bytes(b"")
        Path(f"faces/{number}.cls").write_text("ab"[number % 2])
    data = ReaderSpec(source="faces", reader="annotations")
    states_before = label_file_states(data, home)
    assert label_file_states(data, home) == states_before
    Path("faces/0.png").write_bytes(b"another picture")
    assert label_file_states(data, home) == states_before
    Path("faces/0.cls").write_text("another label")
    assert label_file_states(data, home) != states_before


def test_a_project_that_is_moved_as_a_whole_is_intact(home: Path) -> None:
    make_images(home / "before" / "images", n_each=20)
    (home / "before" / "featx.toml").write_text(TOY_RECIPE)
    (home / "before" / "runs").mkdir()
    featx.extract("before/featx.toml")
    split = Study.open("before/featx.toml").split
    (home / "before").rename(home / "after")
    study = Study.open("after/featx.toml")
    assert len(study.manifest) == 40
    pd.testing.assert_series_equal(study.split, split)


def test_a_missing_source_is_named_when_its_labels_are_needed(home: Path) -> None:
    ids = make_images(home / "images", n_each=20)
    pd.DataFrame({"path": ids, "class": ["a", "b"] * 20}).to_csv(home / "images" / "labels.csv", index=False)
    (home / "featx.toml").write_text(toy_recipe(data=LABEL_TABLE))
    featx.extract()
    (home / "images").rename(home / "elsewhere")
    with pytest.raises(IncompleteError, match=r"data\.source .*images' does not exist; put the images back"):
        Study.open(None).truth("class")
