"""Sources and label tables become recipes that read the same images."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from featx.errors import DataError, ReadError
from featx.images.init import init
from featx.images.readers import read_source
from featx.registry import ENSEMBLE_METHODS
from featx.specs.ensembling import DEFAULT_METHODS, UNTRAINED_METHODS
from featx.specs.recipe import load_recipe
from featx.tables.encoding import encode_classes
from featx.tables.manifest import Manifest
from tests.conftest import make_images


def draw(folder: Path, *names: str, size: tuple[int, int] = (6, 4)) -> None:
    """Write small images."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(folder / name)


def table(folder: Path, frame: pd.DataFrame) -> None:
    """Write a label table and the images that it names."""
    draw(folder, *frame["path"])
    frame.to_csv(folder / "labels.csv", index=False)


def read(recipe: str | Path = "featx.toml") -> Manifest:
    """Return the images of a recipe."""
    loaded_recipe = load_recipe(recipe)
    return read_source(loaded_recipe.data, loaded_recipe.folder).manifest


def uncommented(recipe: Path, beginning: str) -> None:
    """Remove the comment sign from a line of a recipe."""
    lines = recipe.read_text().split("\n")
    assert sum(line.startswith(f"# {beginning}") for line in lines) == 1
    recipe.write_text(
        "\n".join(line.removeprefix("# ") if line.startswith(f"# {beginning}") else line for line in lines)
    )


def test_class_folders_become_a_recipe_that_reads_them_back(home: Path) -> None:
    draw(home / "images", "cat/1.png", "cat/2.png", "dog/1.png", size=(6, 4))
    draw(home / "images", "dog/2.png", size=(9, 9))
    (home / "images" / "dog" / "3.png").write_bytes(b"no image")
    recognition = init("images")
    assert (recognition.reader, recognition.n_found, recognition.target) == ("folder", 5, "class")
    assert recognition.classes == {"cat": 2, "dog": 3}
    assert recognition.sizes_px == {"6×4": 3, "9×9": 1}
    assert (recognition.n_measured, recognition.n_unreadable) == (5, 1)
    assert read().ids.tolist() == ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png", "dog/3.png"]
    assert load_recipe().targets["class"].column == "class"


def test_commented_settings_of_a_recipe_are_valid(home: Path) -> None:
    draw(home / "images", "b/1.png", "a/1.png")
    init("images")
    uncommented(home / "featx.toml", "classes = ")
    assert load_recipe().targets["class"].classes == ("a", "b")


@pytest.mark.parametrize(("n_each", "n_votes"), [(12, 2), (40, 4)])
def test_votes_are_not_trained_on_a_few_val_rows(n_each: int, n_votes: int, home: Path) -> None:
    make_images(home / "images", n_each=n_each)
    init("images")
    (section,) = load_recipe().ensemble
    assert section.methods == DEFAULT_METHODS[:n_votes]
    assert not any(ENSEMBLE_METHODS.get(name).is_trained for name in UNTRAINED_METHODS)


def test_part_folders_become_the_split(home: Path) -> None:
    draw(home / "images", *(f"{part}/{name}/1.png" for part in ("train", "test") for name in ("cat", "dog")))
    assert init("images").parts == {"train": 2, "test": 2}
    recipe = load_recipe()
    assert (recipe.split.column, recipe.split.val) == ("split", 0.15)
    assert "# test: given by the source" in (home / "featx.toml").read_text()


def test_a_label_table_becomes_a_recipe_that_reads_it_back(home: Path) -> None:
    paths = [f"pictures/{i}.png" for i in range(6)]
    table(
        home / "data", pd.DataFrame({"note": list("abcdef"), "path": paths, "y z": [1, -1] * 3, "kind": ["k", "l"] * 3})
    )
    recognition = init("data")
    assert (recognition.reader, recognition.target, recognition.candidates) == ("table", "y z", {"y z": 2, "kind": 2})
    assert recognition.classes == {"-1": 3, "1": 3}
    assert read().ids.tolist() == paths
    assert all(Path(uri).is_file() for uri in read().uris)
    assert load_recipe().targets["y z"].column == "y z"


def test_numeric_classes_are_listed_in_the_order_of_their_codes(home: Path) -> None:
    levels = [-2, -1, 2, 3, 10] * 3
    table(home / "data", pd.DataFrame({"path": [f"{i}.png" for i in range(15)], "level": levels}))
    recognition = init("data")
    recipe = load_recipe()
    assert list(recognition.classes) == ["-2", "-1", "2", "3", "10"]
    assert encode_classes(read(), "level", recipe.targets["level"]).classes == tuple(recognition.classes)


def test_labels_of_elpv_need_no_options(home: Path) -> None:
    names = [f"images/cell{i:04}.png" for i in range(8)]
    draw(home / "elpv", *names)
    lines = [f"{name}  {i % 4 / 3}          {['mono', 'poly'][i % 2]}" for i, name in enumerate(names)]
    (home / "elpv" / "labels.csv").write_text("\n".join(lines) + "\n")
    recognition = init("elpv")
    assert (recognition.n_found, recognition.target, recognition.candidates) == (
        8,
        "column2",
        {"column2": 4, "column3": 2},
    )
    assert read().ids.tolist() == names
    uncommented(home / "featx.toml", "above = ")
    assert encode_classes(read(), "column2", load_recipe().targets["column2"]).codes.tolist() == [0, 0, 1, 1] * 2


@pytest.mark.parametrize("column", ["défaut", 'a "b"', "a.b", "a-b", "#", "è è", "_"])
def test_any_column_name_can_be_a_target(column: str, home: Path) -> None:
    table(home / "data", pd.DataFrame({"path": ["1.png", "2.png"], column: ["x", "y"]}))
    assert init("data").target == column
    assert load_recipe().targets[column].column == column


ODD_NAMES = [
    "line\nbreak",
    "x]\n[paths]\ncache = '/tmp/x'\n#",
    "\x7f",
    "\x1b[31m",
    "\x85x",
    "\"\"\" '''",
    "a\\",
    "\u202e",
    "=1+1",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_unusual_names_are_escaped_everywhere_in_the_recipe(name: str, home: Path) -> None:
    frame = pd.DataFrame({"path": ["1.png", "2.png", "3.png"], "b": ["x", f"y{name}", "x"], f"c{name}": [1, 2, 1]})
    frame[f"a{name}"] = [f"u{name}", "v", "v"]
    frame[f"split{name}"] = ["train", "val", "test"]
    folder = home / f"data{name}".replace("/", "-")
    table(folder, frame)
    init(folder, target=f"a{name}")
    recipe = load_recipe()
    assert {key: target.column for key, target in recipe.targets.items()} == {f"a{name}": f"a{name}"}
    assert recipe.split.column == f"split{name}"
    assert recipe.data.source == folder.name
    assert recipe.paths.cache is None
    uncommented(home / "featx.toml", "classes = ")
    assert set(load_recipe().targets[f"a{name}"].classes or ()) == {f"u{name}", "v"}


def test_a_source_name_that_is_not_unicode_is_an_error(home: Path) -> None:
    draw(home / "images\udcff", "cat/1.png", "dog/1.png")
    with pytest.raises(DataError, match="is not Unicode"):
        init("images\udcff")
    assert not (home / "featx.toml").exists()


def test_a_recipe_in_another_folder_reads_the_same_images(home: Path) -> None:
    draw(home / "images", "cat/1.png", "dog/1.png")
    init("images", recipe="deep/study.toml")
    init("images", recipe="images/inside.toml")
    assert read("deep/study.toml").ids.tolist() == read("images/inside.toml").ids.tolist() == ["cat/1.png", "dog/1.png"]
    assert load_recipe("images/inside.toml").data.source == "."


def test_a_recipe_is_not_overwritten_unless_forced(home: Path) -> None:
    draw(home / "images", "cat/1.png", "dog/1.png")
    (home / "featx.toml").write_text("mine")
    with pytest.raises(DataError, match=r"^featx\.toml exists; use it, write another recipe with '-r NAME"):
        init("images")
    assert (home / "featx.toml").read_text() == "mine"
    init("images", force=True)
    assert len(read()) == 2


def test_a_named_target_must_be_a_column(home: Path) -> None:
    table(home / "data", pd.DataFrame({"path": ["1.png", "2.png"], "a": ["x", "y"], "b": ["u", "v"]}))
    with pytest.raises(DataError, match=r"no label column is called 'c'; columns of labels\.csv: path, a, b"):
        init("data", target="c")
    assert not (home / "featx.toml").exists()
    assert init("data", target="b").classes == {"u": 1, "v": 1}
    assert list(load_recipe().targets) == ["b"]


def test_columns_that_cannot_be_classes_are_reported_with_counts(home: Path) -> None:
    table(
        home / "data", pd.DataFrame({"path": [f"{i}.png" for i in range(6)], "one": ["x"] * 6, "all": list("abcdef")})
    )
    recognition = init("data")
    assert recognition.target == ""
    assert recognition.choice == [
        "none: labels.csv has no column that could be predicted: 'one' (only the value 'x'), 'all' (6 different texts "
        "in 6 rows)"
    ]
    assert "expected 2 to 1000 classes that repeat, or numbers; choose a column with" in recognition.warnings[-1]
    assert init("data", target="all", force=True).target == "all"


def test_an_unrecognised_source_is_reported(home: Path) -> None:
    (home / "images").mkdir()
    with pytest.raises(
        DataError, match="no images with labels were recognised in 'images': found no files; put images"
    ):
        init("images")
    with pytest.raises(DataError, match="'gone' does not exist; expected a folder of images"):
        init("gone")


def test_a_named_table_must_exist_and_be_a_table(home: Path) -> None:
    draw(home / "images", "cat/1.png", "dog/1.png")
    with pytest.raises(DataError, match=r"'gone\.csv' does not exist; expected a label table"):
        init("images", labels="gone.csv")
    (home / "empty.csv").touch()
    with pytest.raises(ReadError, match=r"empty\.csv cannot be read as a table"):
        init("images", labels="empty.csv")
    assert not (home / "featx.toml").exists()


def test_a_stray_table_does_not_hide_class_folders(home: Path) -> None:
    draw(home / "images", "cat/1.png", "dog/1.png")
    (home / "images" / "sizes.csv").write_text("name,n\nada,36\n")
    (home / "images" / "broken.csv").touch()
    assert init("images").reader == "folder"


def test_an_unreadable_label_table_is_a_warning(home: Path) -> None:
    make_images(home / "images", n_each=3)
    Path("images/labels.csv").write_text("path,age\ndark/000.png,1,2\ndark/001.png,1\n")
    (warning,) = init("images").warnings
    assert "labels.csv cannot be read as a table" in warning
    assert "correct it and run 'featx init' again" in warning
