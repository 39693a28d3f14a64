"""True values of images to predict: the outputs of ``featx predict`` agree about how many images are scored."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import featx
from featx.cli.main import main
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_heads, toy_recipe


def predict(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    """Run the command, and return what it prints on standard output and on standard error."""
    capsys.readouterr()
    sys.argv = ["featx", "predict", *words]
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert not exit_info.value.code
    output = capsys.readouterr()
    return output.out, output.err


def n_scored(capsys: pytest.CaptureFixture[str], place: str) -> tuple[int, list[str]]:
    """Return the number of scored images, in which all outputs must agree, and the warnings, which all must show."""
    printed, errors = predict(capsys, place)
    content: dict[str, Any] = json.loads(predict(capsys, place, "--json")[0])
    predict(capsys, place, "--html", "page.html")
    page = Path("page.html").read_text()
    counts = {score["n"] for score in content["scores"].values()} or {0}
    counts.add(sum(map(int, re.findall(r"score on the (\d+) images? with a true value", printed))))
    counts.add(sum(map(int, re.findall(r"on the (\d+) images? with a true value", page))))
    (n,) = counts
    for warning in content["warnings"]:
        assert f"warning: {warning}" in errors
        assert warning.split("'")[0] in page
    return n, content["warnings"]


@pytest.fixture
def fitted(toy_home: Path) -> Path:
    """Return the working directory of a recipe on a label table, with new images in ``new``."""
    ids = sorted(str(path.relative_to("images")) for path in Path("images").rglob("*.png"))
    table = pd.DataFrame({"path": ids, "class": [name.split("/")[0] for name in ids]})
    table["level"] = table["class"].eq("light") * 1.0
    table.to_csv("images/labels.csv", index=False)
    targets = {"class": {"column": "class"}, "level": {"column": "level", "kind": "numbers"}}
    heads = [{**head, "target": target} for head, target in zip(toy_heads("logreg", "ridge"), targets, strict=True)]
    Path("featx.toml").write_text(toy_recipe(data=LABEL_TABLE, targets=targets, head=heads))
    featx.extract()
    featx.fit()
    make_images(Path("new"), ("a", "b"), n_each=3)
    return toy_home


def write_table(**columns: list[object]) -> None:
    """Write a label table of the new images."""
    pd.DataFrame({"path": [f"{name}/00{n}.png" for name in "ab" for n in range(3)], **columns}).to_csv(
        "new/truth.csv", index=False
    )


@pytest.mark.parametrize(
    ("columns", "n", "warning"),
    [
        ({"class": ["dark", "grey", "dark", "light", None, "grey"]}, 3, "3 of 6 rows of the label table have no valid"),
        ({"class": ["x", "x", "y", "y", "z", "z"]}, 0, "all 6 rows of the label table have no valid value of 'class'"),
        ({"class": ["x", "x", "dark", "y", "z", "z"]}, 1, "5 of 6 rows of the label table have no valid value of"),
        ({"level": [0.0, "?", 1.0, 0.5, "?", "-"]}, 3, "3 of 6 rows of the label table have no valid value of 'level'"),
    ],
)
def test_wrong_values_of_a_table_leave_the_other_rows_scored(
    columns: dict[str, list[object]], n: int, warning: str, fitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(**columns)
    n_images, warnings = n_scored(capsys, "new/truth.csv")
    assert n_images == n
    assert [text[: len(warning)] for text in warnings] == [warning]


def test_folders_that_are_no_class_are_named(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    n_images, warnings = n_scored(capsys, "new")
    assert n_images == 0
    assert warnings == [
        "images in the folders 'a' (3), 'b' (3) have no true value, because no class of 'class' is called so; classes: "
        "'dark', 'light'"
    ]
    shutil.move("new/a", "new/dark")
    n_images, warnings = n_scored(capsys, "new")
    assert n_images == 3
    assert [text.split(" have")[0] for text in warnings] == ["images in the folder 'b' (3)"]
    assert n_scored(capsys, "new/b") == (0, [])


def test_the_table_decides_about_its_images(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for old, new in (("a", "dark"), ("b", "light")):
        shutil.move(f"new/{old}", f"new/{new}")
    paths = [f"{name}/00{n}.png" for name in ("dark", "light") for n in range(3)]
    pd.DataFrame({"path": paths, "class": ["light", "light", None, "light", "?", "dark"]}).to_csv(
        "new/truth.csv", index=False
    )
    content = json.loads(predict(capsys, "new/truth.csv", "--json")[0])
    true_values = {row["image"]: row["true"] for row in content["predictions"] if "true" in row}
    assert [true_values[path] for path in paths] == ["light", "light", "", "light", "", "dark"]


def test_numbers_with_names_are_read_as_the_study_reads_them(
    toy_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = sorted(str(path.relative_to("images")) for path in Path("images").rglob("*.png"))
    numbers = [1 if name.startswith("light") else -1 for name in ids]
    pd.DataFrame({"path": ids, "sign": numbers}).to_csv("images/labels.csv", index=False)
    target = {"sign": {"column": "sign", "classes": ["no", "yes"]}}
    Path("featx.toml").write_text(toy_recipe(data=LABEL_TABLE, targets=target, head=toy_heads("logreg")))
    featx.extract()
    featx.fit()
    make_images(Path("new"), ("a", "b"), n_each=3)
    write_table(sign=[1, 1, 1, 1, 7, 1])
    n_images, warnings = n_scored(capsys, "new/truth.csv")
    assert n_images == 5
    assert [text.split(": ")[1] for text in warnings] == ["'7' (1); expected one of 'no', 'yes'"]
