"""Commands for targets, classes and groups with unusual names.

Modules: cli.text.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest
from rich.cells import cell_len

from featx.cli.main import main
from featx.study.study import Study
from tests.conftest import make_images
from tests.recipes import toy_heads, toy_recipe

TARGETS = (
    "Gender (M/F)",
    "x/../../../../esc",
    ".hidden",
    "-rf",
    "n" * 300,
    "CON",
    "line\nbreak",
    "\x1b[31m[/]",
)
Command = Callable[..., str]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs a command, which must succeed, and returns its output."""

    def call(*words: str) -> str:
        capfd.readouterr()
        sys.argv = ["featx", *words]
        with pytest.raises(SystemExit) as exit_info:
            main()
        output = capfd.readouterr()
        assert not exit_info.value.code, output.err
        for text in (output.out, output.err):
            assert all(char.isprintable() or char == "\n" for char in text), repr(text)
        if os.environ.get("COLUMNS") and "--json" not in words:
            wide = [line for line in output.out.splitlines() if cell_len(line) > int(os.environ["COLUMNS"])]
            # Paths of results are not broken, so that they can be copied.
            assert [line for line in wide if " " in line] == []
        return output.out

    return call


def write_study(*targets: str, classes: Sequence[str] = ("dark", "light")) -> None:
    """Write images, a table with equal label columns called `targets`, and a recipe for them."""
    ids = make_images(Path("images"), [f"{code}" for code in range(len(classes))], n_each=20)
    labels = [classes[int(name.partition("/")[0])] for name in ids]
    table = pd.DataFrame({"path": ids, **dict.fromkeys(targets, labels)})
    table.to_csv("images/labels.csv", index=False)
    Path("study").mkdir()
    Path("study/featx.toml").write_text(
        toy_recipe(
            data={"source": "../images", "labels": {"file": "labels.csv"}},
            targets={target: {"column": target} for target in targets},
            groups={targets[0]: targets[0]},
            split={"test": 0.2, "val": 0.2},
            head=toy_heads("lda", folds=2),
            finetune=[
                {"target": target, "backbone": "toy", "weights": "none", "epochs": 1, "strategy": "head"}
                for target in targets[:2]
            ],
        )
    )


@pytest.fixture
def nested_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder four levels deep, so that a name with ``..`` stays below the top, which is returned."""
    deep = home / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    return home


def test_every_command_works_for_any_target_name(
    nested_home: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    write_study(*TARGETS)
    recipe = ("-r", "study/featx.toml")
    command("extract", *recipe)
    command("fit", *recipe)
    command("finetune", *recipe)
    for target in TARGETS[:2]:
        command("ensemble", "--method", "soft", "--target", target, *recipe)
    command("evaluate", "--per-class", "--groups", *recipe)
    output = json.loads(command("evaluate", "--final", "--target", TARGETS[1], "--json", *recipe))
    assert [table["target"] for table in output["targets"]] == [TARGETS[1]]
    output = json.loads(command("evaluate", "--json", *recipe))
    assert {table["target"] for table in output["targets"]} == set(TARGETS)
    command("leaks", *recipe)
    command("report", *recipe)
    command("predict", "images/0/001.png", "--output", "predictions.csv", *recipe)
    for target in TARGETS:
        runs = Study.open("study/featx.toml").runs(target)
        assert {run.spec.target for run in runs} == {target}
        assert len(runs) == (3 if target in TARGETS[:2] else 1)
        head = next(run for run in runs if run.kind == "head")
        command("show", str(head.path))
    command("export", head.name, "--format", "joblib", "--out", "exported", *recipe)
    command("cache", "ls", *recipe)
    assert {path.name for path in Path.cwd().iterdir()} == {"images", "study", "exported", "predictions.csv"}
    assert {path.name for path in Path("study").iterdir()} == {"featx.toml", "cache", "runs"}
    for folder in (nested_home, nested_home / "a", nested_home / "a/b", nested_home / "a/b/c"):
        assert len(list(folder.iterdir())) == 1


CLASSES = (
    "[/]",
    "[red]cat",
    "\x1b]0;title\x07",
    ":cat:",
    "[link=http://x.org]y",
    "a\nerror: b",
    "$x^{",
    "\u202egnp",
    "\x9b2J",
    "=1+1",
)
ESCAPED_CLASSES = (
    "[/]",
    "[red]cat",
    r"\x1b]0;title\x07",
    ":cat:",
    "[link=http://x.org]y",
    r"a\nerror: b",
    "$x^{",
    r"\u202egnp",
    r"\x9b2J",
    "=1+1",
)


def test_class_names_are_printed_unchanged_or_escaped(nested_home: Path, command: Command) -> None:
    write_study("[bold]y", classes=CLASSES)
    # Two copies have different classes.
    Path("images/0/000.png").replace("images/1/000.png")
    Path("images/0/000.png").write_bytes(Path("images/1/000.png").read_bytes())
    recipe = ("-r", "study/featx.toml")
    texts = [
        command("extract", *recipe),
        command("fit", "--head", "lda", *recipe),
        command("evaluate", "--per-class", "--groups", *recipe),
        command("leaks", "--all", *recipe),
        command("predict", *(f"images/{code}/003.png" for code in range(len(CLASSES))), *recipe),
    ]
    assert "[bold]y" in texts[2]
    for name in ESCAPED_CLASSES:
        assert f"\n{name} " in texts[2]
        assert name in texts[4]
    predictions = json.loads(command("predict", "images/0/003.png", "--json", *recipe))["predictions"]
    assert {f"proba.{name}" for name in CLASSES} <= predictions[0].keys()
    table = json.loads(command("evaluate", "--per-class", "--json", *recipe))["targets"][0]
    assert set(table["classes"]) == set(CLASSES)


def test_an_error_with_control_characters_is_one_line(nested_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_study("y\n\x1b[2J[/]")
    sys.argv = ["featx", "fit", "--target", "z\n\x1b[2J[/]", "-r", "study/featx.toml"]
    with pytest.raises(SystemExit):
        main()
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if not line.isprintable()] == []
    assert sum(line.startswith("error: ") for line in lines) == 1


def test_csv_files_of_commands_contain_no_formulas(nested_home: Path, command: Command) -> None:
    write_study("y", classes=("=1+1", "@sum"))
    Path("images/0/002.png").rename("=1+1.png")
    Path("images/0/001.png").rename("images/+1.png")
    table = pd.read_csv("images/labels.csv").replace({"path": {"0/001.png": "+1.png", "0/002.png": "=gone.png"}})
    table.to_csv("images/labels.csv", index=False)
    recipe = ("-r", "study/featx.toml")
    sys.argv = ["featx", "extract", "--outcomes", "outcomes.csv", *recipe]
    # One image is missing, which is an error.
    with pytest.raises(SystemExit):
        main()
    command("fit", "--head", "lda", *recipe)
    command("predict", "=1+1.png", "images/1/001.png", "--output", "predictions.csv", *recipe)
    for file in ("outcomes.csv", "predictions.csv"):
        cells = pd.read_csv(file, header=None, dtype=str, keep_default_na=False).to_numpy().ravel()
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
        assert any(cell.startswith(("'=", "'@")) for cell in cells)
    predictions = pd.read_csv("predictions.csv")
    assert set(predictions["label"]) <= {"'=1+1", "'@sum"}
    assert predictions["probability"].between(0, 1).all()
