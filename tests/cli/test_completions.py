"""Completion of names in the shell, and its silence where there is no recipe.

Modules: cli.completions.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from featx.cli.main import app
from tests.recipes import toy_recipe

RUNS = ("logreg-class-11111111", "logreg-blocks.4-class-22222222", "soft-class-33333333")


@pytest.fixture
def study(home: Path) -> Path:
    """Write a recipe and the folders of three runs; return the working directory."""
    (home / "featx.toml").write_text(toy_recipe(targets={"class": {"column": "class"}, "age": {"column": "age"}}))
    for name in RUNS:
        (home / "runs/featx" / name).mkdir(parents=True)
        (home / "runs/featx" / name / "header.json").write_text("{}")
    (home / "runs/featx/.unfinished").mkdir()
    return home


def completed(*words: str) -> list[str]:
    """Return what bash offers for the last word."""
    environment = {
        "_FEATX_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("featx", *words)),
        "COMP_CWORD": str(len(words)),
    }
    result = CliRunner().invoke(app, env=environment, prog_name="featx")
    return result.output.split()


def test_runs_heads_embeddings_and_targets_are_completed(study: Path) -> None:
    for words in (("predict", "--run"), ("runs", "show"), ("runs", "rm"), ("export",), ("ensemble", "--members")):
        assert completed(*words, "logreg-") == sorted(RUNS[:2]), words
    assert completed("show", "soft") == [RUNS[2]]
    assert completed("fit", "--refit", "so") == [RUNS[2]]
    assert completed("fit", "--head", "l") == ["lda", "logreg"]
    assert completed("fit", "--embedding", "toy") == ["toy/last/avg,weights=none"]
    assert completed("evaluate", "--target", "a") == ["age"]


def test_the_recipe_of_the_command_is_used(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("featx.toml").rename("other.toml")
    Path("runs/featx").rename("runs/other")
    assert completed("export", "logreg-") == []
    assert completed("export", "-r", "other.toml", "logreg-") == sorted(RUNS[:2])
    monkeypatch.setenv("FEATX_RECIPE", "other.toml")
    assert completed("export", "logreg-") == sorted(RUNS[:2])


@pytest.mark.parametrize("text", ["not toml [", "[head]\n", None])
def test_a_recipe_with_errors_gives_no_completion_and_no_message(text: str | None, home: Path) -> None:
    if text is not None:
        (home / "featx.toml").write_text(text)
    assert completed("export", "log") == []
    assert completed("evaluate", "--target", "a") == []


def test_a_completion_imports_no_network_and_no_table_library(study: Path) -> None:
    embedding = [{"backbone": "small_cnn", "weights": "none"}]
    Path("featx.toml").write_text(toy_recipe(embedding=embedding))
    code = (
        "import sys\nfrom featx.cli.completions import complete_run\n"
        "class Context:\n    params = {}\n"
        "assert len(complete_run(Context(), 'logreg')) == 2\n"
        "print([name for name in ('torch', 'sklearn', 'pandas') if name in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert process.stdout == "[]\n"
