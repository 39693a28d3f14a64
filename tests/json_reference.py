"""Tables of the keys that each command prints with ``--json``, from the dataclasses that the commands return."""

import dataclasses
import inspect
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from featx.cache.clearing import ClearingResult
from featx.cache.exporting import ExportedVectors
from featx.cache.listing import StoreListing
from featx.cache.verification import VerificationResult
from featx.embeddings.doctor import Diagnosis
from featx.embeddings.extract import Extraction
from featx.ensembles.ensemble import EnsembleResult
from featx.evaluation.evaluation_table import Evaluation, RunEvaluation
from featx.evaluation.leaks import CopyPair, Leaks
from featx.evaluation.pivot import Pivot
from featx.exports.export import ExportedModel
from featx.finetuning.training_run import FinetuningResult
from featx.heads.budget import SkippedHead
from featx.heads.fit import FitResult
from featx.images.init import Recognition
from featx.networks.available import BackboneRow
from featx.reports.exploration.explore_page import WrittenExploration
from featx.reports.report import ReportFiles
from featx.robustness.robustness_evaluation import RobustnessEvaluation
from featx.robustness.smooth import SmoothingResult
from featx.storage.compaction import CompactionResult
from featx.study.run_changes import RemovedRuns
from featx.study.run_listing import RunSummary
from featx.workflow.outer_splits import SplitResult, SummaryOfSplits
from tests.docstrings import attribute_texts


@dataclass(frozen=True)
class Key:
    """A key that a command adds to those of the dataclasses.

    Attributes
    ----------
    name
        The key.
    type
        Python type of the value, or words for it.
    meaning
        Description of the value.
    only_after_error
        Whether the key is there only if an error ended the command.
    """

    name: str
    type: Any
    meaning: str
    only_after_error: bool = False


Part = type | Key
BEST_RUN = Key("best_run", str, "Name of the best run in `runs`.")
# A class stands for the keys of all its fields.
JSON_COMMANDS: Mapping[str, Sequence[Part]] = {
    "init": [Recognition],
    "extract": [Extraction],
    "explore": [WrittenExploration],
    "leaks": [
        Leaks,
        Key("n_pairs", int, "Number of pairs."),
        Key("n_disagreeing", int, "Number of pairs with different labels."),
    ],
    "attack": [
        Key("evaluations", list[RobustnessEvaluation], "One for each group of sections on the same images and runs."),
    ],
    "smooth": [Key("runs", list[SmoothingResult], "The smoothed runs, in the order in which they were named.")],
    "corrupt": [
        Key("target", str, "Name of the target."),
        Key("part", str, "The part whose images were corrupted: `val` or `test`."),
        Key("n", int, "Number of images."),
        Key("n_rows", int, "Number of rows of the part, of which the images are a sample."),
        Key("score", str, "Name of the score."),
        Key("reference", str | None, "Run that the mean corruption errors are relative to."),
        Key(
            "runs",
            "list of objects",
            "The runs, the best mean score first: `run`, `label`, `original` (`score` and `interval` on the original "
            "images), `mean` and `interval` over all kinds and severities, `by_kind`, `cells` and `probes` (`kind`, "
            "`severity`, `score`, `interval`), `errors` (`mean`, `relative`, `problems`), and `consistency` "
            "(`share_4`, `share_8`, `largest_change`); null where it was not evaluated.",
        ),
        Key("score_drop_by_kind", dict[str, float], "Loss of score by each kind, averaged over severities and runs."),
        Key("problems", list[str], "Reasons why there are no mean corruption errors."),
    ],
    "fit": [
        Key("runs", list[FitResult], "The runs, in the order in which they were fitted."),
        BEST_RUN,
        Key("accuracy", float | None, "Out-of-fold accuracy of the best run; null for targets without classes."),
        Key("val_accuracy", float | None, "Accuracy of the best run on the val part."),
        Key("search_s", float, "Seconds of all searches of this call."),
        Key("train_s", float, "Seconds of all final fits of this call."),
        Key("skipped", list[SkippedHead], "Heads that `--budget` left no time for; empty without a budget."),
    ],
    "finetune": [Key("runs", list[FinetuningResult], "The runs, best first."), BEST_RUN],
    "ensemble": [
        Key("runs", list[EnsembleResult], "The ensembles, best first."),
        BEST_RUN,
        Key("metric", str, "Name of the score of the best ensemble."),
        Key("score", float, "Score of the best ensemble."),
        Key("best_member_score", float, "Score of its best member."),
    ],
    "evaluate": [
        Key("targets", list[Evaluation], "The comparison of all runs, one for each target."),
        Key("chosen", str, "Name of the chosen run of the first target."),
        Key("part", str, "The part whose rows were scored: `val` or `test`."),
        Key("accuracy", float, "Accuracy of the chosen run; for numbers the key is `mae`, its mean absolute error."),
        Key("n_openings", int, "Number of times that the test split of the first target has been opened."),
        Key("pivots", list[Pivot], "The tables of `--by`, one for each target with these settings; empty without it."),
        Key("attacks", list[RobustnessEvaluation], "Stored results of attacks, one for each target that has some."),
    ],
    "report": [ReportFiles],
    "predict": [
        Key(
            "predictions",
            "list of objects",
            "One object for each image and run: `image`, `run`, and for classes `label`, `probability` and "
            "`proba.CLASS` of each class; for labels `labels` and `has.LABEL`; for numbers `value.NAME`. "
            "`--coverage` adds `set`, or `low.NAME` and `high.NAME`. If folders or a label table state true values, "
            "also `true` or `true.NAME`, empty or null where unknown.",
        ),
        Key("unreadable", dict[str, str], "Images that cannot be read, with the reason."),
        Key("warnings", list[str], "Warnings about the predictions."),
        Key(
            "scores",
            "object of objects",
            "Name of a run → `score` (`accuracy` or `mae`), `value`, `n`, `low` and `high` (95 % interval), on the "
            "images whose true value is known; the best run first.",
        ),
        Key(
            "error",
            str,
            "Message of the error that ended the command after the listed predictions, `interrupted` for Ctrl-C; only "
            "then. The exit code is that of the error. A command that fails before the first one prints no JSON.",
            only_after_error=True,
        ),
    ],
    "export": [Key("files", list[ExportedModel], "The written models.")],
    "run": [
        Key(
            "stages",
            "list of objects",
            "The finished stages, each with `stage`, its name, and `result`, the object or objects that the command of "
            "the same name returns. A recipe with outer splits has a stage `split` for each of them, whose result is a "
            "SplitResult, and a stage `splits` with a SummaryOfSplits.",
        )
    ],
    "show": [
        Key(
            "KEY",
            "any",
            "The keys of the recipe, with defaults, or the fields of the run's header; for an ensemble also `method`, "
            "`members` and `cost`.",
        )
    ],
    "backbones": [Key("backbones", list[BackboneRow], "The backbones that are listed by name.")],
    "backbones NAME": [
        Key("backbone", str, "Name of the backbone."),
        Key("blocks", "list of objects", "Blocks that fine-tuning names, first to last."),
        Key("layers", "list of objects", "Layers that `tap` names, in the order in which they finish."),
    ],
    "heads": [Key("heads", "list of objects", "The heads, each with `name` and a description, `about`.")],
    "doctor": [Diagnosis],
    "runs ls": [
        Key("runs", list[RunSummary], "The finished runs, oldest first."),
        Key("n_bytes", int, "Size of all runs in bytes."),
    ],
    "runs show": [RunSummary],
    "runs rm": [RemovedRuns],
    "runs rename": [
        Key("run", str, "New name of the run."),
        Key("path", str, "New path of its folder."),
        Key("old_name", str, "Old name of the run."),
    ],
    "cache ls": [
        Key("stores", list[StoreListing], "The stores."),
        Key("n_bytes", int, "Size of all stores in bytes."),
    ],
    "cache verify": [
        Key("stores", list[VerificationResult], "The verified stores."),
        Key("n_damaged_rows", int, "Number of damaged rows of all stores."),
    ],
    "cache compact": [Key("stores", list[CompactionResult], "The compacted stores.")],
    "cache gc": [ClearingResult],
    "cache export": [ExportedVectors],
}
# Results of stages of ``featx run`` that no command of the same name returns.
RESULTS_OF_STAGES = (SplitResult, SummaryOfSplits)
# Keys of objects whose JSON differs from the dataclass.
ADDED: Mapping[type, Sequence[Key]] = {
    CopyPair: [Key("differing_targets", list[str], "Targets for which the two labels differ.")],
    RunEvaluation: [Key("accuracy, …", float, "Each score of the run, under its own name.")],
}
REMOVED: Mapping[type, Sequence[str]] = {RunEvaluation: ["scores"]}


def keys_of(part: Part) -> list[Key]:
    """Return the keys of a class in the order of its fields, or the key itself."""
    if isinstance(part, Key):
        return [part]
    hints, texts = get_type_hints(part), attribute_texts(part)
    names = [name for name in field_names(part) if name not in REMOVED.get(part, ())]
    return [*(Key(name, hints[name], texts.get(name, "")) for name in names), *ADDED.get(part, ())]


def field_names(kind: type) -> list[str]:
    """Return the names of the fields of a dataclass or of a pydantic model."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return list(kind.model_fields)  # type: ignore[attr-defined]


def is_object(value: Any) -> bool:
    return inspect.isclass(value) and (dataclasses.is_dataclass(value) or issubclass(value, BaseModel))


def nested_objects(parts: Sequence[Part]) -> Iterator[type]:
    """Yield the classes of all objects inside some parts, each after the one that contains it."""
    for key in (key for part in parts for key in keys_of(part)):
        for kind in flat_types(key.type):
            if is_object(kind):
                yield kind
                yield from nested_objects([kind])


def flat_types(annotation: Any) -> Iterator[Any]:
    """Yield a type and all types inside its brackets."""
    yield annotation
    for argument in get_args(annotation):
        yield from flat_types(argument)


def type_text(annotation: Any) -> str:
    """Return a type in the words of JSON: ``list of text``, ``number or null``."""
    if isinstance(annotation, str):
        return annotation
    if is_object(annotation):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value!r}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(map(type_text, arguments))
    if origin is dict or origin is Mapping:
        return f"object of {type_text(arguments[1])}"
    if origin is tuple and len(set(arguments)) == len(arguments) > 1 and Ellipsis not in arguments:
        return f"list of {', '.join(map(type_text, arguments))}"
    if origin is not None:
        return f"list of {type_text(arguments[0])}"
    names = {str: "text", int: "integer", float: "number", bool: "true or false", type(None): "null", Any: "any"}
    return names[annotation]


def table(parts: Sequence[Part]) -> str:
    """Return the Markdown table of some keys."""
    keys = [key for part in parts for key in keys_of(part)]
    rows = [f"| `{key.name}` | {type_text(key.type)} | {meaning_cell(key.meaning)} |" for key in keys]
    return "\n".join(["| key | type | meaning |", "|---|---|---|", *rows])


def meaning_cell(text: str) -> str:
    """Return a description as a cell of a table, without marks of footnotes."""
    return re.sub(r" ?\[\d+\]_", "", text).replace("|", "\\|").replace("``", "`")


def json_reference() -> str:
    """Return the page that lists the keys of every command with ``--json``, and of the objects inside."""
    parts = [
        "# JSON reference",
        "With `--json` a command prints one JSON object on standard output; progress and warnings go to standard "
        "error. Where a description says None or nan, the value is null. Each table lists the keys of one command; the "
        "objects inside are described [below](#objects).",
    ]
    for name, keys in JSON_COMMANDS.items():
        parts += [f"## `featx {name} --json`", table(keys)]
    parts.append("## Objects")
    nested = [kind for keys in (*JSON_COMMANDS.values(), RESULTS_OF_STAGES) for kind in nested_objects(keys)]
    for kind in dict.fromkeys([*nested, *RESULTS_OF_STAGES]):
        sentence = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
        parts += [f"### {kind.__name__}", sentence, table([kind])]
    return "\n\n".join(parts) + "\n"
