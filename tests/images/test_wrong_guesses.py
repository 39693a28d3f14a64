"""Sources that could be read wrong without a word: each is read right, asked about, or warned of."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from featx.errors import DataError
from featx.images.init import init
from featx.images.readers import read_source
from featx.specs.recipe import load_recipe
from tests.images.test_public_layouts import draw, recognised, write

N = 24
LABELS = ["cat", "dog"]


def rows(n: int = N) -> list[tuple[str, str]]:
    return [(f"{i}.png", LABELS[i % 2]) for i in range(n)]


@pytest.mark.parametrize("name", ["Salt,Pepper", "a;b", "x|y", "golden retriever"])
def test_the_name_of_a_folder_is_one_class(name: str, home: Path) -> None:
    draw(home / "d", *(f"{folder}/{i}.png" for folder in (name, "Salt", "golden", "ant") for i in range(8)))
    recognition, recipe, _ = recognised(home / "d")
    assert (recognition.kind, recognition.classes[name]) == ("classes", 8)
    assert recipe.targets["class"].separator is None


def test_the_name_of_a_folder_of_arrays_is_one_class(home: Path) -> None:
    for name in ("Salt,Pepper", "Salt", "Pepper"):
        (home / "d" / name).mkdir(parents=True)
        for i in range(8):
            np.save(home / "d" / name / f"{i}.npy", np.full((6, 6, 3), 10 * i, dtype=np.uint8))
    recognition = recognised(home / "d")[0]
    assert (recognition.reader, recognition.kind, recognition.classes["Salt,Pepper"]) == ("npy_folders", "classes", 8)


@pytest.mark.parametrize("wrong_part", ["", "tset"])
def test_a_split_column_with_wrong_cells_is_reported_and_no_target(wrong_part: str, home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    parts = ["train"] * 14 + ["test"] * 6 + [wrong_part] * 4
    cells = [(*row, part) for row, part in zip(rows(), parts, strict=True)]
    write(home / "d", "labels.csv", [("file", "y", "split"), *cells])
    recognition, _, _ = recognised(home / "d")
    assert recognition.candidates == {"y": 2}
    assert any(
        "column 'split' looks like a split, but 4 of 24 rows have no part" in text for text in recognition.warnings
    )


def test_paths_that_fit_two_folders_are_an_error(home: Path) -> None:
    draw(home / "d", *(f"{folder}/{i}.png" for folder in ("raw", "processed") for i in range(N)))
    write(home / "d", "labels.csv", [("file", "y"), *rows()])
    with pytest.raises(
        DataError, match=r"24 paths fit several images, first '0\.png' \('processed/0\.png', 'raw/0\.png'\)"
    ):
        init(home / "d")


def test_a_table_beside_its_images_is_preferred_to_a_copy_elsewhere(home: Path) -> None:
    draw(home / "d", *(f"{prefix}{i}.png" for prefix in ("", "backup/") for i in range(N)))
    write(home / "d", "labels.csv", [("file", "y"), *rows()])
    assert all("backup" not in uri for uri in recognised(home / "d")[2].manifest.uris)


def test_class_folders_beside_a_table_are_reported(home: Path) -> None:
    draw(home / "d", *(f"{name}/{i}.png" for name in LABELS for i in range(12)))
    cells = [(f"{name}/{i}.png", i % 3) for name in LABELS for i in range(12)]
    write(home / "d", "meta.csv", [("image", "camera"), *cells])
    recognition, _, _ = recognised(home / "d")
    assert any("the images lie in folders of 2 names ('cat', 'dog')" in text for text in recognition.warnings)


def test_json_as_pandas_writes_it_is_read(home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    (home / "d" / "labels.json").write_text(
        json.dumps(json.loads(pd.DataFrame(rows(), columns=["path", "y"]).to_json()))
    )
    assert recognised(home / "d")[0].classes == {"cat": 12, "dog": 12}


def test_split_tables_with_other_sheets_are_not_joined(home: Path) -> None:
    pytest.importorskip("openpyxl")
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    write(home / "d", "labels.csv", [("file", "y"), *rows()])
    for sheet, column in (("one", "split"), ("two", "subset")):
        parts = pd.DataFrame({"file": [f"{i}.png" for i in range(N)], column: (["train"] * 3 + ["test"]) * (N // 4)})
        with pd.ExcelWriter(home / "d" / f"{sheet}.xlsx") as book:
            pd.DataFrame({"note": ["by hand"]}).to_excel(book, sheet_name="notes", index=False)
            parts.to_excel(book, sheet_name=sheet, index=False)
    recognition, recipe, _ = recognised(home / "d")
    assert recipe.data.labels is not None
    assert (recipe.data.labels.join, recipe.data.labels.sheet) == (("one.xlsx",), "one")
    assert recognition.n_found == N


def test_the_sheet_of_an_excel_file_is_named(home: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    book = openpyxl.Workbook()
    book.active.append(["Read me first"])
    sheet = book.create_sheet("labels")
    for row in [("file", "y"), *rows()]:
        sheet.append(row)
    book.save(home / "d" / "labels.xlsx")
    recognition, recipe, _ = recognised(home / "d")
    assert recipe.data.labels is not None
    assert (recipe.data.labels.sheet, recognition.n_found) == ("labels", N)
    assert "Excel, sheet 'labels'" in recognition.choice[0]


@pytest.mark.parametrize("folders", ["patient{p:02}/study1", "patient{p:02}/study{i}", "ward/patient{p}"])
def test_folders_of_patients_and_studies_beside_a_table_are_no_classes(folders: str, home: Path) -> None:
    names = [f"{folders.format(p=i // 8, i=i % 2)}/view{i}.png" for i in range(N)]
    draw(home / "d", *names)
    write(home / "d", "labels.csv", [("file", "y"), *((name, LABELS[i % 2]) for i, name in enumerate(names))])
    assert recognised(home / "d")[0].warnings == []


def test_numbers_of_different_signs_are_no_similar_names(home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    write(home / "d", "labels.csv", [("file", "y"), *((f"{i}.png", [-1, 1][i % 2]) for i in range(N))])
    assert recognised(home / "d")[0].warnings == []


def test_a_table_whose_images_are_not_there_is_not_taken(home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    write(home / "d", "labels.csv", [("file", "y"), *((f"x{i}.jpg", LABELS[i % 2]) for i in range(N))])
    with pytest.raises(DataError, match=r"names 24 images, none of which is in the source \(first 'x0\.jpg'\)"):
        init(home / "d", labels=home / "d" / "labels.csv")
    assert init(home / "d").reader == "images"
    recipe = load_recipe()
    assert len(read_source(recipe.data, recipe.folder)) == N


@pytest.mark.parametrize(("n_each", "n_groups"), [(3, 0), (5, 0), (6, 0), (9, 0), (12, 8), (40, 12)])
def test_the_recipe_of_few_images_can_be_fitted_or_says_why_not(n_each: int, n_groups: int, toy_home: Path) -> None:
    import featx

    source = toy_home / "few"
    names = [(f"{code}-{i}.png", code, i % n_groups if n_groups else i) for code in "ab" for i in range(n_each)]
    draw(source, *(name for name, _, _ in names))
    columns = ("file", "y", "patient") if n_groups else ("file", "y", "number")
    write(source, "labels.csv", [columns, *((name, code, f"p{group}") for name, code, group in names)])
    recognition = init(source, target="y", recipe="few.toml")
    text = Path("few.toml").read_text().replace('"efficientnet_lite0"', '"toy"\nweights = "none"')
    Path("few.toml").write_text(text)
    featx.extract("few.toml")
    if n_each < 5:
        assert "fit needs 5 or more of each class" in recognition.split_reason
    else:
        (run,) = featx.fit("few.toml", heads=["logreg"], trials=1)
        assert run.n_trials == 1


@pytest.mark.parametrize("target", [None, "camera"])
def test_the_groups_that_stay_together_are_not_the_classes(target: str | None, home: Path) -> None:
    draw(home / "d", *(name for name, _ in rows()))
    table = [(name, f"camera{i % 6}") for i, (name, _) in enumerate(rows())]
    write(home / "d", "labels.csv", [("path", "camera"), *table])
    init(home / "d", target=target)
    recipe = load_recipe()
    assert list(recipe.targets) == ["camera"]
    assert recipe.split.by is None


@pytest.mark.parametrize("column", ["fold", "phase", "part", "set", "usage"])
def test_numbers_of_folds_and_phases_are_no_parts(column: str, home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    cells = [(name, i // 3 % 3, label) for i, (name, label) in enumerate(rows())]
    write(home / "d", "labels.csv", [("file", column, "species"), *cells])
    recognition, _, _ = recognised(home / "d")
    assert (recognition.split_column, recognition.parts) == (None, {})
    assert column in recognition.candidates
    assert recognition.target == ("species" if column == "fold" else column)


def test_a_phase_beside_patients_is_the_target(home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    cells = [(f"{i}.png", i // 3, i % 3) for i in range(N)]
    write(home / "d", "labels.csv", [("file", "patient", "phase"), *cells])
    recognition, _, _ = recognised(home / "d")
    assert (recognition.target, recognition.group_column, recognition.split_column) == ("phase", "patient", None)


@pytest.mark.parametrize("column", ["split", "phase"])
def test_the_only_label_column_and_the_target_are_no_split(column: str, home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    write(home / "d", "labels.csv", [("file", column), *((f"{i}.png", i % 3) for i in range(N))])
    options = {"labels": "d/labels.csv"} if column == "split" else {}
    recognition, _, _ = recognised(home / "d", **options)
    assert (recognition.target, recognition.split_column) == (column, None)
    write(home / "d", "labels.csv", [("file", column, "y"), *((f"{i}.png", i % 3, i % 2) for i in range(N))])
    (home / "featx.toml").unlink()
    recognition, _, _ = recognised(home / "d", target=column)
    assert (recognition.target, recognition.split_column) == (column, None)


def test_numbers_that_are_read_as_parts_are_reported(home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    write(home / "d", "labels.csv", [("file", "y", "split"), *((f"{i}.png", i // 3 % 2, i % 3) for i in range(N))])
    recognition, _, _ = recognised(home / "d")
    text = "the numbers of column 'split' are read as parts (0 = train, 1 = val, 2 = test); if they are labels"
    assert any(text in warning for warning in recognition.warnings)


NAMES = {
    "commas in names": (["carcinoma, ductal", "carcinoma, lobular", "adenoma, ductal", "adenoma, lobular"], "classes"),
    "one name with a comma": (["cat", "dog", "bird", "horse, wild"], "classes"),
    "adjectives": (["glass", "broken glass", "plastic", "broken plastic"], "labels"),
    "semicolons in names": (
        ["carcinoma; ductal", "carcinoma; lobular", "adenoma; ductal", "adenoma; lobular"],
        "labels",
    ),
    "lists with commas": (["cat", "dog", "cat,dog", "cat,fox", "fox"], "labels"),
}


@pytest.mark.parametrize("case", NAMES)
def test_cells_that_are_read_as_several_labels_are_reported(case: str, home: Path) -> None:
    cells, kind = NAMES[case]
    draw(home / "d", *(f"{i}.png" for i in range(60)))
    write(home / "d", "labels.tsv", [("file", "y"), *((f"{i}.png", cells[i % len(cells)]) for i in range(60))], "\t")
    recognition, recipe, _ = recognised(home / "d")
    assert recognition.kind == kind
    separator = recipe.targets["y"].separator
    text = f"the cells of 'y' are read as several labels separated by {separator!r}, such as "
    assert any(text in warning for warning in recognition.warnings) == (kind == "labels")
    advice = "if each cell is one class, remove 'kind' and 'separator' from [targets.y]"
    assert any(advice in warning for warning in recognition.warnings) == (kind == "labels")


def test_lists_with_bars_need_no_warning(home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    cells = ["Edema|Mass", "Edema", "Mass", "Nodule"]
    write(home / "d", "labels.csv", [("file", "y"), *((f"{i}.png", cells[i % 4]) for i in range(N))])
    recognition, _, _ = recognised(home / "d")
    assert (recognition.kind, recognition.warnings) == ("labels", [])
