"""Inputs as people have them, each with its right value: names without endings, encodings, types, many classes.

Containers, pixels and names of columns have tests of their own: test_public_layouts_containers.py,
test_decoding_proposal.py, test_bands.py, tests/cli/test_awkward_names.py.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from featx.errors import DataError
from featx.images.init import init
from featx.specs.recipe import load_recipe
from featx.tables.encoding import encode_target
from tests.images.test_public_layouts import draw, recognised, write

N = 24
BREEDS = ["beagle", "collie"]


def hexadecimal(number: int) -> str:
    return f"{number:032x}"


ID_STYLES: dict[str, tuple[Callable[[int], str], Callable[[int], str]]] = {
    "without endings": (hexadecimal, lambda i: f"train/{i:032x}.jpg"),
    "without endings, of two formats": (hexadecimal, lambda i: f"train/{i:032x}.{['jpg', 'png'][i % 2]}"),
    "with endings in another case": (lambda i: f"{i}.JPG", lambda i: f"{i}.jpg"),
    "with zeros in front": (lambda i: f"{i:06}", lambda i: f"all/images/{i:06}.png"),
    "of another machine": (lambda i: f"D:\\study\\img\\{i % 3}\\{i}.png", lambda i: f"img/{i % 3}/{i}.png"),
    "with a dot and a slash": (lambda i: f"./img/{i}.png", lambda i: f"img/{i}.png"),
    "percent-encoded": (lambda i: f"a%20b/{i}.png", lambda i: f"a b/{i}.png"),
    "in three folders": (lambda i: f"{i}.png", lambda i: f"part{i % 3}/{i}.png"),
}


@pytest.mark.parametrize("style", ID_STYLES)
@pytest.mark.parametrize("is_named", [False, True], ids=["found", "named"])
def test_paths_lead_to_images_however_they_are_written(style: str, is_named: bool, home: Path) -> None:
    id_style, path_style = ID_STYLES[style]
    draw(home / "d", *map(path_style, range(N)))
    write(home / "d", "labels.csv", [("id", "breed"), *((id_style(i), BREEDS[i % 2]) for i in range(N))])
    options = {"labels": str(home / "d" / "labels.csv")} if is_named else {}
    recognition, _, listing = recognised(home / "d", **options)
    assert (recognition.n_found, recognition.target, recognition.classes) == (N, "breed", {"beagle": 12, "collie": 12})
    by_file = {
        Path(uri).name: label
        for uri, label in zip(listing.manifest.uris, listing.manifest.column("breed"), strict=True)
    }
    assert by_file == {Path(path_style(i)).name: BREEDS[i % 2] for i in range(N)}


ENCODINGS = [("cp1252", ";"), ("utf-16", "\t"), ("latin-1", "|"), ("utf-8-sig", ","), ("utf-16-le", ";")]


@pytest.mark.parametrize(("encoding", "separator"), ENCODINGS)
def test_encodings_and_separators_are_detected_and_reported(encoding: str, separator: str, home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    rows = [("filename", "Diagnose"), *((f"{i}.png", ["gesund", "Ödem"][i % 2]) for i in range(N))]
    text = "\r\n".join(separator.join(row) for row in rows)
    (home / "d" / "labels.csv").write_bytes(text.encode(encoding))
    recognition, _, _ = recognised(home / "d")
    assert recognition.classes == {"gesund": 12, "Ödem": 12}
    (table,) = recognition.inventory.tables
    assert table.format.split(", separated by ")[1] in {"semicolons", "tabs", "|", "commas"}
    assert table.format in recognition.choice[0]


COLUMNS = {
    "zeros in front": (["001", "002", "003", "unknown"], {"001": 6, "002": 6, "003": 6, "unknown": 6}),
    "words for missing": (["cat", "NA", "None", "dog"], {"NA": 6, "None": 6, "cat": 6, "dog": 6}),
    "truth values": (["True", "False"], {"False": 12, "True": 12}),
    "signs": (["-1", "+1"], {"-1": 12, "1": 12}),
    "fractions": (["0.5", "1.0", "0"], {"0": 8, "0.5": 8, "1": 8}),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_column_has_one_type_and_its_values_are_kept(kind: str, home: Path) -> None:
    values, expected = COLUMNS[kind]
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    write(home / "d", "labels.csv", [("file", "y"), *((f"{i}.png", values[i % len(values)]) for i in range(N))])
    assert recognised(home / "d", target="y")[0].classes == expected


def test_parquet_columns_of_lists_and_structs_are_no_targets(home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    frame = pd.DataFrame(
        {
            "bbox": [[0, i] for i in range(N)],
            "meta": [{"a": i % 2} for i in range(N)],
            "label": pd.Categorical([BREEDS[i % 2] for i in range(N)]),
        },
        index=pd.Index([f"{i}.png" for i in range(N)], name="file_name"),
    )
    frame.to_parquet(home / "d" / "labels.parquet")
    recognition, _, _ = recognised(home / "d")
    assert (recognition.target, list(recognition.candidates)) == ("label", ["label"])


@pytest.mark.parametrize(("n_classes", "n_each"), [(102, 5), (150, 4), (300, 6), (7, 40)])
def test_any_number_of_class_folders_is_recognised(n_classes: int, n_each: int, home: Path) -> None:
    draw(home / "d", *(f"{code:03}/{i}.png" for code in range(n_classes) for i in range(n_each)))
    recognition, recipe, listing = recognised(home / "d")
    assert len(recognition.classes) == n_classes
    assert len(encode_target(listing.manifest, "class", recipe.targets["class"]).names) == n_classes


def test_two_tables_that_fit_equally_are_a_question(home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    for name, labels in (("a", ["x", "y"]), ("b", ["u", "v"])):
        write(home / "d", f"{name}.csv", [("file", name), *((f"{i}.png", labels[i % 2]) for i in range(N))])
    with pytest.raises(
        DataError, match=r"2 tables fit: a\.csv .*; b\.csv .*; choose one with 'featx init SOURCE --lab"
    ):
        init(home / "d")
    assert recognised(home / "d", target="b")[0].classes == {"u": 12, "v": 12}


def test_labels_that_name_no_image_are_reported(home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    write(home / "d", "labels.csv", [("file", "y"), *((f"other{i}.txt", i % 2) for i in range(N))])
    with pytest.raises(
        DataError, match=r"names no image of the source: no column holds their paths \(first row 'other"
    ):
        init(home / "d", labels=home / "d" / "labels.csv")
    assert "nothing is fitted" in init(home / "d").warnings[-1]


def test_a_pattern_that_fits_some_names_reports_the_others(home: Path) -> None:
    draw(home / "d", *(f"{20 + i % 30}_{i % 2}_{i}.png" for i in range(N)), "cover.png", "back_page.png")
    recognition, recipe, listing = recognised(home / "d", labels="{age:int}_{sex:int}_{image}", target="sex")
    assert recognition.ignored == {"does not match the pattern '{age:int}_{sex:int}_{image}'": 2}
    assert (recipe.data.drop_unlabelled, len(listing)) == (True, N)


def test_similar_class_names_are_reported_with_the_way_to_merge_them(home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    names = ["Dog", "dog ", "cat"]
    write(home / "d", "labels.csv", [("file", "y"), *((f"{i}.png", names[i % 3]) for i in range(N))])
    (warning,) = recognised(home / "d")[0].warnings
    assert "classes 'Dog' (8) and 'dog' (8) differ in case or spaces only; if they are one, set map = { " in warning
    assert warning.endswith('set map = { "dog" = "Dog" }')


def test_a_given_split_without_a_test_part_is_kept(home: Path) -> None:
    draw(home / "d", *(f"{part}/{name}/{i}.png" for part in ("train", "val") for name in BREEDS for i in range(12)))
    recognised(home / "d")
    recipe = load_recipe()
    assert (recipe.split.test, recipe.split.test_size) == (None, 0.0)
    assert "cuts a test part from the given train part" in (home / "featx.toml").read_text()


@pytest.mark.parametrize(
    ("column", "values", "parts"),
    [
        ("Usage", ["Training", "PublicTest", "PrivateTest"], {"train": 8, "val": 8, "test": 8}),
        ("subset", ["Train", "Train", "Test"], {"train": 16, "test": 8}),
        ("is_test", [0, 0, 1], {"train": 16, "test": 8}),
        ("partition", [0, 1, 2], {"train": 8, "val": 8, "test": 8}),
        ("phase", ["TRAINING", "VALIDATION", "TESTING"], {"train": 8, "val": 8, "test": 8}),
    ],
)
def test_parts_in_any_wording_are_the_split(
    column: str, values: list[object], parts: dict[str, int], home: Path
) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    rows = [(f"{i}.png", BREEDS[i // 3 % 2], values[i % 3]) for i in range(N)]
    write(home / "d", "labels.csv", [("file", "breed", column), *rows])
    recognition, recipe, _ = recognised(home / "d")
    assert (recognition.parts, recipe.split.column, recognition.target) == (parts, column, "breed")


KINDS = {
    "a measured number": ([20 + 0.7 * i for i in range(N)], "numbers"),
    "several labels": (["A;B", "A", "B", "C;A"] * 6, "labels"),
    "ranges": (["0-9", "10-19", "20+"] * 8, "classes"),
    "codes": ([1, 2, 3] * 8, "classes"),
}


@pytest.mark.parametrize("values", KINDS)
def test_the_kind_of_target_is_proposed(values: str, home: Path) -> None:
    cells, kind = KINDS[values]
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    write(home / "d", "labels.csv", [("file", "y"), *((f"{i}.png", cells[i]) for i in range(N))])
    recognition, recipe, _ = recognised(home / "d")
    assert (recognition.kind, recipe.targets["y"].ordered) == (kind, values == "ranges")


@pytest.mark.parametrize(
    ("name", "comment", "separator", "encoding"),
    [
        ("labels.tsv", "", "\t", "utf-8"),
        ("labels.csv", "# made by hand\n", ",", "utf-8"),
        ("labels.csv", "", ",", "utf-16"),
        ("labels.csv", "", ";", "cp1252"),
        ("labels.csv", "", ",", "utf-8"),
    ],
)
def test_a_split_table_may_have_another_format(
    name: str, comment: str, separator: str, encoding: str, home: Path
) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    rows = [("file", "Größe"), *((f"{i}.png", ("groß", "klein")[i % 2]) for i in range(N))]
    text = comment + "\n".join(separator.join(row) for row in rows)
    (home / "d" / name).write_text(text, encoding=encoding)
    write(
        home / "d", "split.csv", [("file", "split"), *((f"{i}.png", "test" if i > 15 else "train") for i in range(N))]
    )
    recognition, recipe, _ = recognised(home / "d")
    assert recipe.data.labels is not None
    assert recipe.data.labels.join == ("split.csv",)
    assert (recognition.target, recognition.parts) == ("Größe", {"train": 16, "test": N - 16})


def test_a_split_table_may_be_an_excel_file(home: Path) -> None:
    pytest.importorskip("openpyxl")
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    write(home / "d", "labels.csv", [("file", "breed"), *((f"{i}.png", BREEDS[i % 2]) for i in range(N))])
    parts = pd.DataFrame({"file": [f"{i}.png" for i in range(N)], "split": ["train"] * 16 + ["test"] * (N - 16)})
    with pd.ExcelWriter(home / "d" / "parts.xlsx") as book:
        pd.DataFrame({"notes": ["by hand"]}).to_excel(book, sheet_name="notes", index=False)
        parts.to_excel(book, sheet_name="parts", index=False)
    recognition, _, listing = recognised(home / "d")
    assert (recognition.target, recognition.parts) == ("breed", {"train": 16, "test": N - 16})
    assert listing.manifest.column("split")["3.png"] == "train"


def test_a_second_table_with_lists_is_not_joined(home: Path) -> None:
    draw(home / "d", *(f"{i}.png" for i in range(N)))
    write(home / "d", "labels.csv", [("file", "breed"), *((f"{i}.png", BREEDS[i % 2]) for i in range(N))])
    boxes = pd.DataFrame({"file": [f"{i}.png" for i in range(N)], "bbox": [[0, i] for i in range(N)]})
    boxes.to_json(home / "d" / "boxes.jsonl", orient="records", lines=True)
    recognition, recipe, _ = recognised(home / "d")
    assert (recognition.target, recipe.data.labels and recipe.data.labels.join) == ("breed", ())
