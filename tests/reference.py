"""Build the reference pages in ``docs/`` from specs, signatures, docstrings and results.

::

    python -m tests.reference    # writes all files; tests/test_reference.py compares them with the code
"""

import inspect
import re
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import featx
from featx.specs.attacking import AttackSection
from featx.specs.corrupting import CorruptionSpec
from featx.specs.data import ArraySpec, LabelsSpec
from featx.specs.defences import AdversarialSpec, DistillationSpec
from featx.specs.embedding import Decoding
from featx.specs.ensembling import EnsembleSpec
from featx.specs.evaluation import EvaluationSpec
from featx.specs.extraction import EngineSpec
from featx.specs.finetuning import AugmentSpec, FinetuneSpec, LayersSpec, LossSpec, PhaseSpec, ScheduleSpec
from featx.specs.group import GroupSpec
from featx.specs.head import HeadSpec
from featx.specs.presets import PresetSpec
from featx.specs.recipe import Recipe
from featx.specs.sections import EmbeddingSection, FinetuneSection, PathsSpec
from featx.specs.smoothing import SmoothingSpec
from featx.specs.split import SplitSpec
from featx.specs.target import TargetSpec
from tests.command_reference import command_reference
from tests.docstring_markdown import as_markdown
from tests.docstrings import attribute_texts
from tests.json_reference import json_reference
from tests.module_list import architecture

# Longest signature that is shown on one line.
MAX_SIGNATURE_LENGTH = 88
DOCS = Path(__file__).parents[1] / "docs"
TABLE_HEAD = ("| key | type | default | meaning |", "|---|---|---|---|")
SECTIONS: dict[str, type[BaseModel]] = {
    "[data]": Recipe.model_fields["data"].annotation,  # type: ignore[dict-item]
    "[data] labels": LabelsSpec,
    "[[data.arrays]]": ArraySpec,
    "[targets.NAME]": TargetSpec,
    "[groups.NAME]": GroupSpec,
    "[split]": SplitSpec,
    "[decoding]": Decoding,
    "[extraction]": EngineSpec,
    "[[embedding]]": EmbeddingSection,
    "[[head]]": HeadSpec,
    "[[finetune]]": FinetuneSpec,
    "[[finetune]] phases": PhaseSpec,
    "[[finetune]] layers": LayersSpec,
    "[[finetune]] loss": LossSpec,
    "[[finetune]] schedule": ScheduleSpec,
    "[[finetune]] augment": AugmentSpec,
    "[[finetune]] adversarial": AdversarialSpec,
    "[[finetune]] distillation": DistillationSpec,
    "[[ensemble]]": EnsembleSpec,
    "[[smoothing]]": SmoothingSpec,
    "[[attack]]": AttackSection,
    "[evaluation]": EvaluationSpec,
    "[corruption]": CorruptionSpec,
    "[paths]": PathsSpec,
    "[presets.NAME]": PresetSpec,
}


def recipe_reference() -> str:
    """Return a table of keys, types, defaults and meanings for each section of a recipe."""
    parts = [
        "# Recipe reference",
        "Every key of a recipe, by section. `featx show RECIPE` prints a recipe with all its defaults. Lists are grids "
        "in these places: `tap` and `pool` of `[[embedding]]` (one embedding for each value), `embeddings` of "
        "`[[head]]` (one run for each value), and the keys of a run in `[[finetune]]` (one run for each combination). "
        "Examples are in [pipelines/](../pipelines/README.md).",
        "## Before the first section",
        "\n".join([*TABLE_HEAD, *_key_rows(Recipe, *(set(Recipe.model_fields) - {"seed"}))]),
    ]
    for title, spec in SECTIONS.items():
        # `[decoding]` applies to all embeddings.
        omitted = ["decoding"] if spec is EmbeddingSection else []
        rows = [
            *_key_rows(spec, *omitted),
            *(row for row in _key_rows(FinetuneSection, "runs") if title == "[[finetune]]"),
        ]
        table = "\n".join([*TABLE_HEAD, *rows])
        parts += [f"## `{title}`", _first_sentence(spec), table]
    return "\n\n".join(parts) + "\n"


def _key_rows(spec: type[BaseModel], *omitted: str) -> list[str]:
    """Return one row for each key of a section."""
    meanings = attribute_texts(spec)
    return [
        f"| `{name}` | {_cell(_type_text(field.annotation))} | {_cell(_default_text(field))} | "
        f"{_cell(meanings.get(name, ''))} |"
        for name, field in spec.model_fields.items()
        if name not in omitted
    ]


def python_api() -> str:
    """Return the signature and the docstring of each public function and class."""
    parts = [
        "# Python API",
        "The functions of package `featx`. The commands that make, compare or use models are functions of the same "
        "name; `featx fit --refit` is `featx.refit`. The functions of `featx cache` are in the module `featx.cache`.",
    ]
    for name in sorted(featx.__all__, key=str.lower):
        item = getattr(featx, name)
        is_error = inspect.isclass(item) and issubclass(item, Exception)
        signature = "(message)" if is_error else str(inspect.signature(item))
        signature = re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", signature)
        # Types are shown without their modules.
        signature = re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", signature)
        parts += [f"## `featx.{name}`", f"```python\n{_wrapped(name + signature)}\n```"]
        parts.append(as_markdown(inspect.getdoc(item) or ""))
    return "\n\n".join(parts) + "\n"


def _wrapped(signature: str) -> str:
    """Return a signature with one line for each parameter, if it is long."""
    if len(signature) <= MAX_SIGNATURE_LENGTH:
        return signature
    # Commas inside brackets separate no parameters.
    depth, lines, line = 0, [], ""
    head, _, remainder = signature.partition("(")
    parameters, _, tail = remainder.rpartition(")")
    for character in parameters:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth:
            lines.append(f"    {line.strip()},")
            line = ""
        else:
            line += character
    lines += [f"    {line.strip()},"] if line.strip() else []
    return "\n".join([f"{head}(", *lines, f"){tail}"])


def _first_sentence(spec: type[BaseModel]) -> str:
    return inspect.cleandoc(spec.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _type_text(annotation: Any) -> str:
    """Return a type in words: ``integer``, ``"a" or "b"``, ``list of text``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value!r}`" if isinstance(value, str) else f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type_text(part) for part in arguments if part is not type(None))
    if hasattr(annotation, "__metadata__"):
        return _type_text(arguments[0])
    if origin in (tuple, list):
        return f"list of {_type_text(arguments[0])}"
    if origin is dict:
        return f"table of {_type_text(arguments[1])}"
    names = {str: "text", int: "integer", float: "number", bool: "true or false", Path: "path"}
    if annotation in names:
        return names[annotation]
    return "table" if inspect.isclass(annotation) and issubclass(annotation, BaseModel) else str(annotation)


def _default_text(field: Any) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required" if field.default_factory is None else "empty"
    if isinstance(value, BaseModel) or (isinstance(value, tuple) and value and isinstance(value[0], BaseModel)):
        return "see its own section"
    if value is None or value in ((), {}):
        return "none"
    return f"`{list(value) if isinstance(value, tuple) else value!r}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("``", "`")


def decisions() -> str:
    """Return a list of all architecture decision records."""
    files = sorted(path for path in (DOCS / "adr").glob("*.md") if path.name != "README.md")
    rows = [f"- [{_record_title(path.read_text())}]({path.name})" for path in files]
    introduction = (
        "Why featx is built as it is: one page for each decision, with its context, the options, the consequences, and "
        "what would change it. [0001](0001-record-decisions.md) describes the form."
    )
    return "\n\n".join(["# Decisions", introduction, "\n".join(rows)]) + "\n"


def _record_title(text: str) -> str:
    """Return the number and the title of a record in one form."""
    number, title = re.findall(r"^# (\d+)[.:]?\s+(.+)$", text, re.MULTILINE)[0]
    return f"{int(number):04}: {title}"


PAGES = {
    "recipe_reference.md": recipe_reference,
    "python_api.md": python_api,
    "json_reference.md": json_reference,
    "command_reference.md": command_reference,
    "adr/README.md": decisions,
    "architecture.md": architecture,
}


if __name__ == "__main__":
    for name, build in PAGES.items():
        (DOCS / name).write_text(build())
