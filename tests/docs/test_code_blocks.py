"""Blocks of code in the documentation: commands and options exist, recipes are valid, and Python code compiles."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import typer

from featx.cli.main import app
from featx.specs.recipe import load_recipe
from tests.docs.markdown_pages import PAGES, ROOT, CodeBlock

# Generated pages are compared with the code elsewhere.
GENERATED = {"docs/python_api.md", "docs/json_reference.md", "docs/recipe_reference.md", "docs/command_reference.md"}
BLOCKS = [block for page in PAGES.values() if page.name not in GENERATED for block in page.blocks]
SHELL_BLOCKS = [block for block in BLOCKS if block.language == "bash"]
TOML_BLOCKS = [block for block in BLOCKS if block.language == "toml"]
PYTHON_BLOCKS = [block for block in BLOCKS if block.language == "python"]
ROOT_COMMAND = typer.main.get_command(app)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
# A study to which the sections of a block are added, and the targets that some of them name.
MINIMAL_RECIPE: dict[str, Any] = {"data": {"source": "images"}, "targets": {"class": {"column": "class"}}}
NAMED_TARGETS = {"emotion": {"column": "emotion"}, "valence": {"column": "valence", "kind": "numbers"}}
# Packages that the tests do not install.
OTHER_PACKAGES = "lightgbm|dask_jobqueue|dask_kubernetes"
EXTRAS = re.compile(r"featx\[([\w,]+)\]")
OPTION = re.compile(r"--?[a-z][\w-]*")


def command_lines(code: str) -> Iterator[str]:
    """Yield the commands of a block, without comments; lines that end with a backslash are joined."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield shlex.join(words)


def find_command(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that words name, and the words behind its name.

    Raises
    ------
    ValueError
        no command has this name.
    """
    command: Any = ROOT_COMMAND
    words = list(words)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        if words[0] not in command.commands:
            raise ValueError(f"featx has no command {words[0]!r}")
        command = command.commands[words.pop(0)]
    return command, words


def command_problem(words: list[str]) -> str:
    """Return what is wrong with a call of featx, empty if nothing is; nothing is run."""
    try:
        command, arguments = find_command(words)
    except ValueError as error:
        return str(error)
    if hasattr(command, "commands") and not arguments:
        return "a group of commands is not a command"
    try:
        command.make_parser(command.context_class(command)).parse_args(arguments)
    # typer has click's errors under a private name.
    except Exception as error:
        return str(error.format_message()) if hasattr(error, "format_message") else repr(error)
    return ""


def line_problem(line: str) -> str:
    """Return what is wrong with a line of a shell, empty if nothing is."""
    for part in re.split(r" (?:'\|'|'&&') ", line):
        program, *words = shlex.split(part)
        if program == "featx" and (problem := command_problem(words)):
            return problem
        if program == "make" and (
            unknown_targets := [word for word in words if "=" not in word and word not in MAKE_TARGETS]
        ):
            return f"the Makefile has no target {unknown_targets[0]!r}"
        if program.startswith("python") and words[:1] == ["-m"] and words[1].startswith(("tests", "featx")):
            return "" if find_spec(words[1]) else f"there is no module {words[1]!r}"
    return extras_problem(line)


def extras_problem(text: str) -> str:
    """Return which extra of featx does not exist, empty if all do."""
    extras = {extra for group in EXTRAS.findall(text) for extra in group.split(",")}
    unknown_extras = extras - PROJECT["optional-dependencies"].keys()
    return f"pyproject.toml has no extra {min(unknown_extras)!r}" if unknown_extras else ""


def span_problem(span: str) -> str:
    """Return what is wrong with a call of featx inside a sentence, where arguments may be left out."""
    words = span.replace("…", "").split()[1:]
    # 'featx init|extract' and 'featx fit/finetune' are no calls.
    if not words or not re.fullmatch(r"[a-z]+", words[0]):
        return ""
    try:
        command, arguments = find_command(words)
    except ValueError as error:
        return str(error)
    if hasattr(command, "commands"):
        return ""
    command_options = {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    unknown_options = [option for word in arguments for option in OPTION.findall(word)[:1] if word.startswith("-")]
    unknown_options = [option for option in unknown_options if option not in command_options | {"-h", "--help"}]
    return f"'featx {words[0]}' has no option {unknown_options[0]!r}" if unknown_options else ""


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=str)
def test_shell_commands_exist_with_their_options(block: CodeBlock) -> None:
    lines = list(command_lines(block.code))
    assert lines
    assert {line: problem for line in lines if (problem := line_problem(line))} == {}


@pytest.mark.parametrize("name", PAGES)
def test_commands_in_sentences_exist_with_their_options(name: str) -> None:
    spans = [span for span in PAGES[name].spans if span.startswith("featx ")]
    if name == "CHANGELOG.md":
        # Old versions may have had other commands.
        spans = []
    problems = {span: problem for span in spans if (problem := span_problem(span) or extras_problem(span))}
    assert problems == {}


@pytest.mark.parametrize("block", TOML_BLOCKS, ids=str)
def test_parts_of_recipes_are_valid(block: CodeBlock, tmp_path: Path) -> None:
    sections = tomllib.loads(block.code)
    assert sections
    if sections.keys() == {"project"}:
        groups = sections["project"]["entry-points"]
        assert groups.keys() <= PROJECT["entry-points"].keys()
        return
    target_names = re.findall(r'^target = "(\w+)"', block.code, re.MULTILINE)
    targets = {name: NAMED_TARGETS[name] for name in target_names} or MINIMAL_RECIPE["targets"]
    (tmp_path / "featx.toml").write_text(tomlkit.dumps(MINIMAL_RECIPE | {"targets": targets} | sections))
    assert load_recipe(tmp_path / "featx.toml").targets


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=str)
def test_python_code_compiles(block: CodeBlock) -> None:
    assert compile(block.code, str(block), "exec").co_code


def test_every_block_of_python_runs_where_its_packages_are_installed() -> None:
    unmarked = [block for block in PYTHON_BLOCKS if not block.marker]
    assert [
        str(block) for block in unmarked if not re.search(rf"^from ({OTHER_PACKAGES})", block.code, re.MULTILINE)
    ] == []


def test_blocks_with_commands_say_that_they_are_of_a_shell() -> None:
    unmarked = [
        str(block) for block in BLOCKS if block.language in {"", "text"} and re.match(r"(featx|make|pip) ", block.code)
    ]
    assert unmarked == []


def test_every_block_that_is_marked_to_run_is_run_by_a_test() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    markers = {block.marker for block in PYTHON_BLOCKS if block.marker}
    assert len(markers) >= 10
    assert [marker for marker in markers if f'"{marker}"' not in tests and f"run: {marker} " not in tests] == []


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("featx extract --runtime onnx -r x.toml", ""),
        ("featx extrakt", "featx has no command 'extrakt'"),
        ("featx cache ls --all-of-it", "No such option"),
        ("featx cache", "a group of commands is not a command"),
        ("make nothing", "the Makefile has no target 'nothing'"),
        ("python -m tests.absent", "there is no module 'tests.absent'"),
        ("pip install 'featx[absent]'", "pyproject.toml has no extra 'absent'"),
    ],
)
def test_wrong_commands_are_found(line: str, problem: str) -> None:
    assert line_problem(line).startswith(problem)
    assert bool(line_problem(line)) == bool(problem)


def test_wrong_options_in_sentences_are_found() -> None:
    assert span_problem("featx extract --outcomes FILE.csv") == ""
    assert span_problem("featx runs rm RUN…") == ""
    assert span_problem("featx extract --absent") == "'featx extract' has no option '--absent'"
    assert span_problem("featx absent") == "featx has no command 'absent'"
