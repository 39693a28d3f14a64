"""Options of all commands about what is printed (``--wide``, ``--verbose`` and ``--quiet``), and the next command."""

import functools
import inspect
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

import typer

from featx.cli.json_output import json_alone
from featx.foreign_code import refusing_exits


@dataclass(frozen=True)
class OutputSettings:
    """Extent of what a command prints.

    Attributes
    ----------
    wide
        Whether tables have all their columns and runs their full names.
    verbose
        Whether details are printed below the summary.
    quiet
        Whether only the result and errors are printed.
    recipe
        Recipe as it was typed, with ``#PRESET`` if a preset was named; empty for the default one.
    """

    wide: bool = False
    verbose: bool = False
    quiet: bool = False
    recipe: str = ""


DEFAULT_SETTINGS = OutputSettings()
_SETTINGS: ContextVar[OutputSettings] = ContextVar("featx output settings", default=DEFAULT_SETTINGS)
OPTIONS: dict[str, Any] = {
    "wide": Annotated[bool, typer.Option("--wide", help="Print all columns of tables, and full names of runs.")],
    "verbose": Annotated[bool, typer.Option("-v", "--verbose", help="Print details below the summary.")],
    "quiet": Annotated[bool, typer.Option("-q", "--quiet", help="Print only the result and errors.")],
}


def output_settings() -> OutputSettings:
    """Return the settings of the command that runs."""
    return _SETTINGS.get()


@contextmanager
def printing(settings: OutputSettings) -> Iterator[None]:
    """Print by these settings until the block ends."""
    token = _SETTINGS.set(settings)
    try:
        yield
    finally:
        _SETTINGS.reset(token)


def with_recipe_option(command: str) -> str:
    """Return a command to type next with the recipe that was named for the command that runs."""
    recipe = output_settings().recipe
    if not recipe:
        return command
    # 'featx run' takes the recipe as its argument.
    option = "" if command.split()[:2] == ["featx", "run"] else "-r "
    return f"{command} {option}{shlex.quote(recipe)}"


def _typed_recipe(options: Mapping[str, Any]) -> str:
    """Return the recipe that the options of a command name, with its preset; empty for the whole default recipe."""
    recipe = options.get("recipe") or options.get("recipe_option") or ""
    if not options.get("preset"):
        return str(recipe)
    from featx.specs.recipe import find_recipe

    return f"{recipe or find_recipe()}#{options['preset']}"


def with_output_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that has the options of `OutputSettings` beside its own."""

    @functools.wraps(command)
    def call(*args: Any, **options: Any) -> None:
        settings = OutputSettings(**{name: options.pop(name) for name in OPTIONS}, recipe=_typed_recipe(options))
        if settings.verbose and settings.quiet:
            raise typer.BadParameter("--verbose and --quiet exclude each other; leave out one of them")
        with printing(settings), refusing_exits(), json_alone() if options.get("json") else nullcontext():
            command(*args, **options)

    signature = inspect.signature(command)
    keyword_only = inspect.Parameter.KEYWORD_ONLY
    output_parameters = [
        inspect.Parameter(name, keyword_only, default=False, annotation=option) for name, option in OPTIONS.items()
    ]
    call.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *output_parameters])  # type: ignore[attr-defined]
    call.__annotations__ = get_type_hints(command, include_extras=True) | OPTIONS
    return call
