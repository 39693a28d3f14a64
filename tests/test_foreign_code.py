"""Code that is not featx's own cannot end the program silently, and does not print among results.

Modules: study.split_functions, cli.output_settings, cli.json_output, cli.main.
"""

import json
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from typer.testing import CliRunner

import featx
from featx import registry
from featx.cli.main import app, main
from featx.errors import DataError
from featx.foreign_code import foreign_code, refusing_exits
from featx.heads.builtin import knn
from featx.heads.head_definition import Head, HeadTask
from featx.registry import ENSEMBLE_METHODS, HEADS
from tests.recipes import toy_heads, toy_recipe

# A head and an ensemble method that fail.
FAILING_PACKAGE = """
from dataclasses import replace
from featx.ensembles.fixed_rules import soft
from featx.heads.builtin import knn

def fail(*_):
    return {}['gone']

def head(task):
    return replace(knn(task), build=fail)

votes = replace(soft, fit=fail)
"""


class Stopped(BaseException):
    """An exception that `except Exception` does not catch."""


def test_any_exception_but_an_interruption_becomes_an_error() -> None:
    for error in (ValueError("bad"), SystemExit(3), Stopped()):
        message = rf"it failed \({type(error).__name__}: .*\); expected more"
        with pytest.raises(DataError, match=message), foreign_code("it failed", "expected more"):
            raise error
    with pytest.raises(KeyboardInterrupt), foreign_code("it failed", "expected more"):
        raise KeyboardInterrupt


def test_an_exit_names_the_function_that_made_it() -> None:
    def stop() -> None:
        sys.exit("no more")

    message = r"^stop \(test_foreign_code\.py, line \d+\) ended the program .*no more"
    with pytest.raises(DataError, match=message), refusing_exits():
        stop()
    with pytest.raises(ValueError, match="bad"), refusing_exits():
        raise ValueError("bad")


@pytest.fixture
def odd_head(monkeypatch: pytest.MonkeyPatch) -> str:
    """Register a head that prints, and ends the program where the environment says so."""

    def build(task: HeadTask) -> Head:
        sys.stdout.write("a head speaks")
        if Path("stop").exists():
            sys.exit(4)
        return knn(task)

    monkeypatch.setitem(HEADS._added, "odd", build)
    return "odd"


def test_json_is_alone_on_standard_output(toy_home: Path, odd_head: str) -> None:
    function = "def cut(labels, seed):\n    print('hi')\n    return ['test', 'train'] * (len(labels) // 2)"
    Path("cuts.py").write_text(function)
    split = {"cut": "cuts.py:cut", "val": 0.2}
    Path("featx.toml").write_text(toy_recipe(split=split, head=toy_heads(odd_head)))
    for command in (["extract", "--json"], ["fit", "--json"], ["runs", "ls", "--json"], ["run", "--json"]):
        result = CliRunner().invoke(app, command)
        assert json.loads(result.stdout), command
    assert "a head speaks" in result.stderr


def test_a_head_that_ends_the_program_is_named(toy_home: Path, odd_head: str) -> None:
    Path("featx.toml").write_text(toy_recipe(head=toy_heads(odd_head)))
    featx.extract()
    Path("stop").touch()
    result = CliRunner().invoke(app, ["fit"])
    assert isinstance(result.exception, DataError)
    assert str(result.exception).startswith("build (test_foreign_code.py, line ")
    assert "ended the program with SystemExit (4)" in str(result.exception)


def test_an_entry_point_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mine", "no_such_package:head", "featx.heads")
    monkeypatch.setattr(registry, "_entry_points", lambda group: {"mine": point})
    heads: registry.Registry[object] = registry.Registry("head", "featx.heads")
    with pytest.raises(
        DataError, match=r"the head 'mine' \(no_such_package:head\) cannot be imported \(ModuleNotFound"
    ):
        heads.get("mine")


@pytest.fixture
def failing_package(monkeypatch: pytest.MonkeyPatch, toy_home: Path) -> None:
    """Install a package whose head and ensemble method fail."""
    Path("failing_package").mkdir()
    Path("failing_package/__init__.py").write_text(FAILING_PACKAGE)
    Path("failing_package-1.0.dist-info").mkdir()
    Path("failing_package-1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: failing-package\nVersion: 1.0\n"
    )
    Path("failing_package-1.0.dist-info/entry_points.txt").write_text(
        "[featx.heads]\nodd = failing_package:head\n[featx.ensemble_methods]\nodd_votes = failing_package:votes\n"
    )
    monkeypatch.syspath_prepend(toy_home)
    monkeypatch.setattr(registry, "_entry_points", registry._entry_points.__wrapped__)
    for entries in (HEADS, ENSEMBLE_METHODS):
        monkeypatch.setattr(entries, "_added", dict(entries._added))


@pytest.mark.usefixtures("failing_package")
@pytest.mark.parametrize("command", [["fit", "--head", "odd"], ["ensemble", "--method", "odd_votes"]])
def test_an_error_of_another_package_is_one_line_that_names_it(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("featx.toml").write_text(toy_recipe(head=toy_heads("knn", "lda")))
    featx.extract()
    featx.fit()
    monkeypatch.setattr(sys, "argv", ["featx", *command])
    with pytest.raises(SystemExit):
        main()
    message = capsys.readouterr().err.replace("\n", " ")
    assert "the package 'failing_package' (head 'odd', ensemble method 'odd_votes') failed in fail" in message
    assert "(failing_package, line 7) with KeyError: 'gone'" in message
