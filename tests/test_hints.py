"""Options that messages name exist in the command that the message is printed by."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import featx
from tests.command_reference import ROOT_COMMAND, all_commands

ROOT = Path(featx.__file__).parent
OPTIONS = {
    name: {text for parameter in command.params for text in (*parameter.opts, *parameter.secondary_opts)}
    for name, command in all_commands(ROOT_COMMAND)
}
COMMAND = re.compile(rf"(?<![\w.])featx ({'|'.join(sorted(OPTIONS, key=len, reverse=True))})\b")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*\b")
OTHER_PROGRAM = re.compile(r"\b(dask worker|embedding-atlas) .*")
CLUSTER_COMMANDS = ("extract", "fit", "run")
# Commands that a module belongs to; all others name an option together with its command.
COMMANDS_OF_MODULES = {
    "cache/cache_place.py": ("cache ls", "cache verify", "cache compact", "cache gc", "cache export"),
    "cli/attack_command.py": ("attack",),
    "cli/cache_commands.py": ("cache verify",),
    "cli/corrupt_command.py": ("corrupt",),
    "cli/extraction_output.py": ("extract",),
    "cli/fit_command.py": ("fit",),
    "cli/leak_commands.py": ("leaks",),
    "cli/listing_commands.py": ("doctor",),
    "cli/pivot_table.py": ("evaluate",),
    "cli/prediction_command.py": ("predict",),
    "cli/runs_commands.py": ("runs rm",),
    "cli/stage_lines.py": ("run",),
    "embeddings/external.py": ("predict",),
    "embeddings/outcomes.py": ("extract",),
    "exports/export.py": ("export",),
    "exports/onnx_estimators.py": ("export",),
    "exports/fp32_refit.py": ("export",),
    "heads/refit.py": ("fit",),
    "parallel/dask_client.py": CLUSTER_COMMANDS,
    "parallel/local_workers.py": CLUSTER_COMMANDS,
    "specs/extraction.py": CLUSTER_COMMANDS,
    "workflow/outer_splits.py": ("run",),
    "workflow/repeats.py": ("run",),
    "workflow/run.py": ("run",),
}
# Modules that declare options of several commands, whose help texts name other options of one of them.
COMMANDS_OF_DECLARATIONS = {
    "cli/model_commands.py": ("evaluate", "export"),
    "cli/options.py": ("attack", "evaluate", "run"),
}
# Options of all commands that print tables.
COMMON_OPTIONS = {"--wide", "--verbose", "--quiet", "--json"}


def message_texts(tree: ast.AST) -> Iterator[str]:
    """Yield the texts of a module, fields of f-strings as ``{}``; neither docstrings nor declarations of options."""
    documented_types = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documented = (node for node in ast.walk(tree) if isinstance(node, documented_types) and ast.get_docstring(node))
    skipped = {id(getattr(node.body[0], "value", None)) for node in documented}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in ast.walk(node) if isinstance(part, ast.Constant)}
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


def wrong_options(module: str, text: str) -> list[str]:
    """Return the options in a text that the command does not have which stands before them or owns the module."""
    text = OTHER_PROGRAM.sub("", text)
    wrong_names = []
    for match in OPTION.finditer(text):
        named_commands = COMMAND.findall(text[: match.start()])
        commands = named_commands[-1:] or COMMANDS_OF_MODULES.get(module, ())
        is_known = bool(commands) and all(match[0] in OPTIONS[command] for command in commands)
        is_known |= any(match[0] in OPTIONS[command] for command in COMMANDS_OF_DECLARATIONS.get(module, ()))
        if not is_known and match[0] not in COMMON_OPTIONS:
            wrong_names.append(match[0])
    return wrong_names


def test_messages_name_options_of_their_commands() -> None:
    problems = []
    n_named = 0
    for path in sorted(ROOT.rglob("*.py")):
        module = path.relative_to(ROOT).as_posix()
        for text in message_texts(ast.parse(path.read_text())):
            # The declaration of an option, or an argument of another program.
            if re.fullmatch(r"-\S+", text):
                continue
            n_named += len(OPTION.findall(text))
            problems += [f"{module}: {name} in {text!r}" for name in wrong_options(module, text)]
    assert n_named > 50
    assert problems == []


@pytest.mark.parametrize(
    ("module", "text", "names"),
    [
        ("tables/encoding.py", "leave them out with '--drop-unlabelled'", ["--drop-unlabelled"]),
        ("tables/encoding.py", "leave them out with 'featx extract --drop-unlabelled'", []),
        ("workflow/run.py", "featx run --drop-unlabelled", ["--drop-unlabelled"]),
        ("cli/leak_commands.py", "'--final' opens them", []),
        ("parallel/dask_client.py", "use '--workers-local N'; or dask worker {} --nthreads 1", []),
        ("tables/encoding.py", "3 more rows: --verbose", []),
    ],
)
def test_options_of_other_commands_are_found(module: str, text: str, names: list[str]) -> None:
    assert wrong_options(module, text) == names
