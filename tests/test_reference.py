"""Reference pages in docs/ equal those that `tests.reference` builds from the code."""

import inspect

import pytest

from featx.cli.cache_commands import app as cache_app
from featx.cli.main import app
from featx.cli.runs_commands import app as runs_app
from tests.docstrings import attribute_texts
from tests.json_reference import JSON_COMMANDS, keys_of, nested_objects
from tests.reference import DOCS, PAGES, SECTIONS


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_page_equals_the_generated_one(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), "run 'python -m tests.reference'"


@pytest.mark.parametrize("title", SECTIONS)
def test_every_key_of_a_recipe_is_described(title: str) -> None:
    spec = SECTIONS[title]
    assert {name for name in spec.model_fields if not attribute_texts(spec).get(name)} == set()


def test_every_command_with_json_output_is_described() -> None:
    callbacks = {
        prefix + (command.name or getattr(command.callback, "__name__", "")): command.callback
        for prefix, group in (("", app), ("cache ", cache_app), ("runs ", runs_app))
        for command in group.registered_commands
    }
    with_json = {name for name, callback in callbacks.items() if "json" in inspect.signature(callback).parameters}
    assert {name.removesuffix(" NAME") for name in JSON_COMMANDS} == with_json


@pytest.mark.parametrize("command", JSON_COMMANDS)
def test_every_key_of_json_output_is_described(command: str) -> None:
    keys = [key for part in (*JSON_COMMANDS[command], *nested_objects(JSON_COMMANDS[command])) for key in keys_of(part)]
    assert keys
    assert [key.name for key in keys if not key.meaning] == []
