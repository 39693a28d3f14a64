"""Every command for targets, classes and groups that are called anything."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from featx.cli.main import main
from featx.workspace import Study
from tests.conftest import make_images

TARGETS = {
    "slash": "Gender (M/F)",
    "traversal": "x/../../../../esc",
    "hidden": ".hidden",
    "option": "-rf",
    "long": "n" * 300,
    "device": "CON",
    "newline": "line\nbreak",
    "backslash": "a\\..\\b",
    "escape": "\x1b[31mred",
    "markup": "[/]",
}
RECIPE = """
[data]
source = "images"
labels = {{ file = "labels.csv" }}
[targets.{target}]
column = {target}
[groups]
{target} = {target}
[split]
test = 0.2
val = 0.2
[[embedding]]
backbone = "toy"
weights = "none"
[[head]]
name = "logreg"
trials = 1
folds = 2
[[head]]
name = "lda"
trials = 1
folds = 2
[[finetune]]
backbone = "toy"
weights = "none"
epochs = 1
strategy = "head"
"""
Command = Callable[..., str]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs a command, which must succeed, and returns its output."""

    def call(*words: str) -> str:
        capfd.readouterr()
        sys.argv = ["featx", *words]
        with pytest.raises(SystemExit) as stopped:
            main()
        output = capfd.readouterr()
        assert not stopped.value.code, output.err
        for text in (output.out, output.err):
            assert all(char.isprintable() or char == "\n" for char in text), repr(text)
        return output.out

    return call


def write_study(target: str, classes: tuple[str, str] = ("dark", "light")) -> None:
    """Write images, a table with one label column called `target`, and a recipe for it."""
    make_images(Path("images"), n_each=20)
    ids = sorted(path.relative_to("images").as_posix() for path in Path("images").rglob("*.png"))
    names = dict(zip(("dark", "light"), classes, strict=True))
    table = pd.DataFrame({"path": ids, target: [names[name.partition("/")[0]] for name in ids]})
    table.to_csv("images/labels.csv", index=False)
    Path("study").mkdir()
    Path("study/featx.toml").write_text(
        RECIPE.replace('"images"', '"../images"', 1).format(target=json.dumps(target)).replace("\x7f", "\\u007f")
    )


@pytest.fixture
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory four folders deep, so that a name that leads upwards stays inside the test's folder."""
    deep = home / "a" / "b" / "c" / "d"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    return home


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_command_works_whatever_a_target_is_called(target: str, here: Path, command: Command) -> None:
    write_study(target)
    recipe = ("-r", "study/featx.toml")
    command("extract", *recipe)
    command("fit", *recipe)
    command("finetune", *recipe)
    command("ensemble", "--method", "soft", *recipe)
    command("evaluate", "--per-class", "--groups", *recipe)
    found = json.loads(command("evaluate", "--final", "--target", target, "--json", *recipe))
    assert found["targets"][0]["target"] == target
    command("leaks", *recipe)
    command("report", *recipe)
    command("predict", "images/dark/001.png", "--csv", "answers.csv", *recipe)
    runs = Study.open("study/featx.toml").runs(target)
    assert {run.spec["target"] for run in runs} == {target}
    assert len(runs) == 4
    head = next(run for run in runs if run.kind == "head")
    command("export", head.name, "--format", "joblib", "--out", "exported", *recipe)
    command("show", str(head.path))
    command("cache", "ls", *recipe)
    assert {path.name for path in Path.cwd().iterdir()} == {
        *("images", "study", "cache", "runs", "exported", "answers.csv")
    }
    for folder in (here, here / "a", here / "a/b", here / "a/b/c"):
        assert len(list(folder.iterdir())) == 1
