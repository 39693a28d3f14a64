"""Selection of images from extraction to truth: parts, tables with gaps, groups and errors of recipes."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

import featx
from featx.cli.run_table import evaluations as print_evaluations
from featx.errors import IncompleteError, RecipeError
from featx.study.study import Study
from tests.conftest import TOY_RECIPE, make_images
from tests.recipes import toy_heads, toy_recipe

EMOTIONS = {"train": {"angry": 3, "happy": 14, "sad": 10}, "test": {"angry": 2, "happy": 5, "sad": 4}}


@pytest.fixture
def emotions(home: Path) -> Path:
    """Folders as in FER2013, train/<class> and test/<class>, with a few files of other kinds."""
    for part, counts in EMOTIONS.items():
        for name, number in counts.items():
            for index, image in enumerate(make_images(home / "made" / part, (name,), n_each=number)):
                place = home / "images" / part / name / f"{index}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                content = (home / "made" / part / image).read_bytes()
                place.write_bytes(content + f"{part}{name}{index}".encode())
    (home / "images" / "train" / "happy" / "notes.txt").write_text("words")
    return home


def study_of(text: str) -> Study:
    """Run an extraction of a recipe and return its study."""
    Path("featx.toml").write_text(text)
    featx.extract()
    return Study.open(None)


HAPPY_SAD = TOY_RECIPE.replace('column = "class"', 'column = "class"\nkeep = ["happy", "sad"]').replace(
    "test = 0.25", 'column = "split"'
)


def left_out(study: Study) -> dict[str, int]:
    """Return the number of ignored images by rule."""
    outcomes = study.outcomes[study.outcomes["outcome"] == "ignored"]
    return {str(rule): int(number) for rule, number in outcomes["reason"].value_counts().items()}


def test_the_happy_sad_study_keeps_two_classes_and_balances_each_part(emotions: Path) -> None:
    study = study_of(HAPPY_SAD.replace('"sad"]', '"sad"]\nbalance = "undersample"'))

    counts = study.outcomes["outcome"].value_counts().to_dict()
    assert counts == {"embedded": 28, "ignored": 11}
    assert sum(counts.values()) == len(set(study.outcomes["id"])) == 39
    assert left_out(study) == {
        "is 'angry', which targets.class.keep leaves out": 5,
        "is surplus in class 'happy', dropped by targets.class.balance": 5,
        "is not an image: its suffix is '.txt'": 1,
    }
    names = study.split.index.to_series().str.extract(r"^(?P<given>\w+)/(?P<name>\w+)/")
    counts_by_part = names.assign(part=study.split).groupby(["given", "part", "name"]).size().unstack()
    assert counts_by_part.loc["test"].to_numpy().tolist() == [[4, 4]]
    assert counts_by_part.loc["train"].sum().tolist() == [10, 10]
    assert sorted(set(names["name"])) == ["happy", "sad"]
    assert study.truth("class").classes == ("happy", "sad")


def test_images_return_when_the_recipe_keeps_more_classes(emotions: Path) -> None:
    study_of(HAPPY_SAD)
    wider_recipe = HAPPY_SAD.replace('keep = ["happy", "sad"]\n', "")
    wider_study = study_of(wider_recipe)
    assert left_out(wider_study) == {"is not an image: its suffix is '.txt'": 1}
    assert wider_study.truth("class").classes == ("angry", "happy", "sad")


@pytest.mark.parametrize(
    ("first_line", "second_line"),
    [
        ('keep = ["happy", "sad"]', ""),
        ("", 'keep = ["happy", "sad"]'),
        ('keep = ["happy", "sad"]', 'keep = ["happy", "angry"]'),
        ("", 'drop = ["angry"]'),
        ("", 'balance = "undersample"'),
        ('balance = "undersample"', ""),
        ('keep = ["happy", "other"]\nmap = { sad = "other" }', 'keep = ["happy", "other"]\nmap = { angry = "other" }'),
    ],
    ids=str,
)
def test_a_changed_selection_needs_a_new_extraction(emotions: Path, first_line: str, second_line: str) -> None:
    keep_line = 'keep = ["happy", "sad"]'
    study_of(HAPPY_SAD.replace(keep_line, first_line))
    Path("featx.toml").write_text(HAPPY_SAD.replace(keep_line, second_line))
    with pytest.raises(IncompleteError, match=r"changed after the last extraction; run 'featx extract'"):
        Study.open(None).truth("class")


TABLE = toy_recipe(
    data={"source": "images", "labels": {"file": "faces.csv"}},
    targets={
        "emotion": {"column": "emotion", "keep": ["happy", "sad"]},
        "age": {"column": "age", "bins": [20, 40]},
    },
    groups={"gender": "gender"},
    split={"test": 0, "val": 0, "stratify": False},
    head=None,
)


@pytest.fixture
def faces(home: Path) -> pd.DataFrame:
    """Twelve faces in a table with gaps."""
    names = make_images(home / "images", ("faces",), n_each=12)
    frame = pd.DataFrame(
        {
            "path": names,
            "emotion": ["happy", "sad", "angry"] * 4,
            "age": [15, 25, 65, 20, 40, None, 35, 19, 41, 39, None, 1],
            "gender": ["f", "m"] * 6,
        }
    )
    frame.to_csv(home / "images" / "faces.csv", index=False)
    return frame


def test_each_of_two_targets_ignores_images_by_its_own_rule(faces: pd.DataFrame) -> None:
    Path("featx.toml").write_text(TABLE)
    assert "targets.age: 1 of 8 images have no 'age', first 'faces/010.png'" in featx.extract().label_problem

    study = study_of(TABLE.replace("[data]", "[data]\ndrop_unlabelled = true"))

    outcomes = study.outcomes.set_index("id")
    assert outcomes["outcome"].value_counts().to_dict() == {"cached": 7, "ignored": 5}
    by_rule = outcomes[outcomes["outcome"] == "ignored"]["reason"].to_dict()
    assert by_rule == {
        **{f"faces/{number:03}.png": "is 'angry', which targets.emotion.keep leaves out" for number in (2, 5, 8, 11)},
        "faces/010.png": "has no label in column 'age'",
    }
    truth = study.truth("age")
    assert truth.classes == ("<20", "20–40", "≥40")
    expected = {
        f"faces/{number:03}.png": int(np.digitize(faces["age"][number], [20, 40])) for number in (0, 1, 3, 4, 6, 7, 9)
    }
    assert dict(zip(truth.ids, truth.codes.tolist(), strict=True)) == expected
    assert dict.fromkeys(study.truth("emotion").classes) == dict.fromkeys(["happy", "sad"])


def test_the_drop_unlabelled_argument_equals_the_recipe_setting(faces: pd.DataFrame) -> None:
    Path("featx.toml").write_text(TABLE)
    assert featx.extract(drop_unlabelled=True).n_ignored == 5


BANDS = {"gender": "gender", "generation": {"column": "age", "bins": [20, 40]}}
BAND_SECTIONS = {
    "data": {"source": "images", "labels": {"file": "faces.csv"}},
    "targets": {"gender": {"column": "gender"}},
    "split": {"test": 0, "val": 0, "stratify": False},
    "head": None,
}


def test_a_grouping_by_bands_is_a_label_column(faces: pd.DataFrame) -> None:
    study = study_of(toy_recipe(groups=BANDS, **BAND_SECTIONS))
    ids = study.manifest.ids
    bands = study.group_values(ids)["generation"]
    expected = faces["age"].map(lambda age: "<20" if age < 20 else "20–40" if age < 40 else "≥40", na_action="ignore")
    assert bands.isna().tolist() == faces["age"].isna().tolist()
    assert bands.dropna().tolist() == expected.dropna().tolist()
    assert study.group_names(["gender", "generation"], ids[:2]).tolist() == ["f × <20", "m × 20–40"]
    names = study.group_names(["gender", "generation"], ids)
    assert [name is None for name in names] == faces["age"].isna().tolist()


def test_changed_bands_need_a_new_extraction(faces: pd.DataFrame) -> None:
    study_of(toy_recipe(groups=BANDS, **BAND_SECTIONS))
    other_groups = {"generation": {"column": "age", "bins": [30]}}
    Path("featx.toml").write_text(toy_recipe(groups=other_groups, **BAND_SECTIONS))
    with pytest.raises(IncompleteError, match=r"the recipe's \[groups\] changed after the last extraction"):
        Study.open(None).truth("gender")


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"column": "emotion", "bins": [1]}, "groups.age_band: 'bins' needs numbers, column 'emotion' holds 'happy'"),
        ({"column": "years", "bins": [1]}, "no label column is called 'years'"),
    ],
)
def test_bands_of_a_column_that_does_not_fit_leave_no_split(faces: pd.DataFrame, group: object, message: str) -> None:
    Path("featx.toml").write_text(toy_recipe(groups={"age_band": group}, **BAND_SECTIONS))
    assert message in featx.extract().label_problem


def test_bands_do_not_replace_a_label_column(faces: pd.DataFrame) -> None:
    Path("featx.toml").write_text(toy_recipe(groups={"age": {"column": "age", "bins": [20]}}, **BAND_SECTIONS))
    assert "groups.age: a label column has this name already" in featx.extract().label_problem


def test_edges_that_do_not_rise_are_an_error_of_the_recipe(faces: pd.DataFrame) -> None:
    Path("featx.toml").write_text(toy_recipe(groups={"b": {"column": "age", "bins": [40, 20]}}, **BAND_SECTIONS))
    with pytest.raises(RecipeError, match=r"groups.b.bins: expected bins = \[b0, b1, …\] in rising order"):
        featx.extract()


def test_group_columns_must_exist(faces: pd.DataFrame) -> None:
    Path("featx.toml").write_text(TABLE.replace('gender = "gender"', 'gender = "sex"'))
    problem = featx.extract(drop_unlabelled=True).label_problem
    assert problem == "no label column is called 'sex'; columns: emotion, age, gender"


def test_errors_of_several_targets_are_reported_together(faces: pd.DataFrame) -> None:
    Path("featx.toml").write_text(TABLE.replace("bins = [20, 40]", "bins = [40, 20]").replace('"happy", "sad"', '"x"'))
    with pytest.raises(RecipeError, match=r"targets\.emotion\.keep: .*targets\.age: expected bins = .* rising order"):
        featx.extract()
    Path("featx.toml").write_text(TABLE.replace('"happy", "sad"', '"happy", "sat"'))
    problem = featx.extract().label_problem
    assert "targets.emotion.keep: column 'emotion' holds no 'sat'; did you mean 'sad'" in problem


def test_parts_are_balanced_to_given_numbers_before_val_is_cut(emotions: Path) -> None:
    recipe = HAPPY_SAD.replace('"sad"]', '"sad"]\nbalance = { train = 16, test = 6 }')
    study = study_of(
        recipe.replace(
            "val = 0.25", 'val = 0.25\nval_of = "rest"\nmethod = "train_test_split"\nduplicates = "independent"'
        )
    )

    parts = study.split.groupby([study.split, study.split.index.str.split("/").str[1]]).size().to_dict()
    assert parts == {
        ("test", "happy"): 3,
        ("test", "sad"): 3,
        ("train", "happy"): 6,
        ("train", "sad"): 6,
        ("val", "happy"): 2,
        ("val", "sad"): 2,
    }


def test_only_the_test_part_of_a_split_can_be_balanced(home: Path) -> None:
    make_images(home / "images", ("dark",), n_each=40)
    make_images(home / "images", ("dim", "light"), n_each=12)
    recipe = toy_recipe(
        targets={"class": {"column": "class", "keep": ["dark", "light"], "balance": {"test": 4}}},
        split={"test": 0.25, "val": 0.25, "method": "train_test_split"},
    )

    study = study_of(recipe)
    parts = study.split.groupby([study.split, study.split.index.str.split("/").str[0]]).size().to_dict()
    n_surplus = left_out(study)["is surplus in class 'dark', dropped by targets.class.balance.test"]

    assert parts["test", "dark"] == parts["test", "light"] == 2
    assert parts["train", "dark"] + parts["val", "dark"] + n_surplus == 38
    assert study.outcomes["outcome"].value_counts().to_dict()["embedded"] == len(study.split)


def test_the_celeba_gender_split_is_that_of_the_study(home: Path) -> None:
    names = make_images(home / "images")
    order = np.random.default_rng(3).permutation(len(names))
    table = pd.DataFrame({"image_id": names, "Male": [1 if "light" in name else -1 for name in names]}).iloc[order]
    table.to_csv("images/attributes.csv", index=False)
    train, held_out = train_test_split(table, test_size=0.2, random_state=42)
    val, test = train_test_split(held_out, test_size=0.5, random_state=42)

    study = study_of(
        toy_recipe(
            data={"source": "images", "labels": {"file": "attributes.csv", "path": "image_id"}},
            targets={"gender": {"column": "Male"}},
            split={
                "test": 0.1,
                "val": 0.1,
                "method": "train_test_split",
                "order": "together",
                "stratify": False,
                "duplicates": "independent",
                "seed": 42,
            },
        )
    )

    for part, rows in (("train", train), ("val", val), ("test", test)):
        assert set(study.ids(part)) == set(rows["image_id"])


def test_nothing_is_called_sealed_without_a_test_part(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_images(home / "images")
    study_of(toy_recipe(split={"test": 0, "val": 0.25}, head=toy_heads("logreg")))
    featx.fit()

    print_evaluations(featx.evaluate())
    featx.report()

    output, page = capsys.readouterr().out, Path("runs/featx/report.html").read_text()
    assert "there is no test part" in output
    assert "The split has no test part" in page
    assert "sealed" not in output + page


F_SAMPLE = {"sample": 3, "keep": {"gender": ["f"]}}


@pytest.mark.parametrize(
    ("selection", "sections", "n_images", "problem"),
    [
        (
            F_SAMPLE,
            {"targets": {"age": {"column": "age", "kind": "numbers"}}},
            3,
            "2 of 3 images have no finite number",
        ),
        (F_SAMPLE, {"targets": {"age": {"column": "ages"}}}, 3, "'ages'"),
        (F_SAMPLE, {"targets": {"emotion": {"column": "emotion"}}, "groups": {"g": "genders"}}, 3, "'genders'"),
        (F_SAMPLE, {"groups": {"gender": {"column": "emotion", "bins": [1]}}}, 3, "'emotion'"),
        ({"keep": {"gender": ["f"]}}, {"targets": {"age": {"column": "ages"}}}, 6, "'ages'"),
        ({"sample": 3, "keep": {"gender": ["x"]}}, {}, 3, "column 'gender' holds no 'x'"),
    ],
)
def test_a_label_problem_leaves_the_selection_of_images(
    faces: pd.DataFrame, selection: dict[str, Any], sections: dict[str, Any], n_images: int, problem: str
) -> None:
    faces.assign(age=faces["age"].where(faces.index < 2)).to_csv("images/faces.csv", index=False)
    data = {"source": "images", "labels": {"file": "faces.csv"}, **selection}
    Path("featx.toml").write_text(toy_recipe(**{**BAND_SECTIONS, "data": data, **sections}))

    extraction = featx.extract()

    assert problem in extraction.label_problem
    assert extraction.n_embedded == n_images
