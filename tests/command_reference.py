"""Reference of all commands and options, from the command line's own help."""

import re
from collections.abc import Iterator
from typing import Any

import typer

from featx.cli.main import app

ROOT_COMMAND: Any = typer.main.get_command(app)
# Options of every command that prints results, described once.
COMMON_OPTIONS = ("json", "wide", "verbose", "quiet")
TYPE_NAMES = {
    "<list[str]>": "TEXT",
    "<str>": "TEXT",
    "<int>": "N",
    "<int range>": "N",
    "<float>": "X",
    "<float range>": "X",
    "<path>": "PATH",
    "<list[path]>": "PATH",
    "<list[float]>": "X",
}


def command_reference() -> str:
    """Return a section for each command: its purpose, examples, arguments and options."""
    parts = [
        "# Command reference",
        "Every command with its arguments and options, as `featx COMMAND --help` prints them. Commands that print "
        "results also have these options:",
        _table(_rows(ROOT_COMMAND.commands["extract"], COMMON_OPTIONS)),
        "`-h` or `--help` prints the help of a command. `featx --install-completion` sets up completion for the "
        "shell. [terminal.md](terminal.md) describes what commands print, [json_reference.md](json_reference.md) the "
        "keys of `--json`.",
    ]
    for name, command in all_commands(ROOT_COMMAND):
        purpose, *paragraphs = command.help.split("\n\n")
        parts += [f"## featx {name}", _one_line(purpose)]
        parts += [_example_block(text) if text.startswith("Example") else _one_line(text) for text in paragraphs]
        if rows := _rows(command):
            parts.append(_table(rows))
    return "\n\n".join(parts) + "\n"


def all_commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the name and the object of each command, in the order of the help."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from all_commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def _rows(command: Any, names: tuple[str, ...] | None = None) -> list[str]:
    """Return the rows of the named parameters, by default of all that are not common to all commands."""
    context = command.context_class(command)
    hidden = {*COMMON_OPTIONS, "help"}
    parameters = [
        parameter
        for parameter in command.params
        if (parameter.name in names if names else parameter.name not in hidden)
    ]
    return [f"| {_cells(*record)} |" for parameter in parameters if (record := parameter.get_help_record(context))]


def _cells(declaration: str, text: str) -> str:
    """Return the two cells of a parameter: its declaration and its meaning."""
    if not declaration.startswith("-"):
        # An argument is called by its placeholder, or by its name in capitals.
        declaration = declaration.partition(" <")[0]
        declaration = declaration.upper() if declaration.strip(".").islower() else declaration
    for type_name, name in TYPE_NAMES.items():
        declaration = declaration.replace(f" {type_name}", f" {name}")
    return " | ".join(part.replace("|", "\\|") for part in (f"`{declaration}`", _one_line(text)))


def _table(rows: list[str]) -> str:
    return "\n".join(["| argument or option | meaning |", "|---|---|", *rows])


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _example_block(text: str) -> str:
    """Return a block with one line for each example."""
    lines = [part.strip() for part in re.sub("^Examples?: ", "", _one_line(text)).split(" · ")]
    return "\n".join(["```bash", *lines, "```"])
