"""Sections that a recipe does not state: its default heads, and the seed of sections without their own."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from featx.specs.base import Seed

# From the cheapest to the most expensive (docs/adr/0040-default-heads-by-evidence.md).
DEFAULT_HEADS = ("logreg", "lda", "svm", "xgboost")
# Default heads that take no weights of rows, and keys of targets that weight them.
UNWEIGHTED_HEADS = ("lda",)
WEIGHT_KEYS = ("soft", "weight", "confidence", "probability_confidence")
DEFAULT_HEADS_OF_NUMBERS = ("ridge", "svm", "rf", "xgboost")


def content_with_default_heads(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe with heads that fit the kinds of its targets, or without heads if it has networks alone."""
    if "head" in content:
        return {**content}
    if "finetune" in content and "embedding" not in content:
        return {**content, "embedding": (), "head": ()}
    targets = content["targets"].values() if isinstance(content.get("targets"), Mapping) else ()
    sections = [section for section in targets if isinstance(section, Mapping)]
    number_sections = [section for section in sections if section.get("kind") == "numbers"]
    class_sections = [section for section in sections if section.get("kind") != "numbers"]
    classifiers: tuple[str, ...] = DEFAULT_HEADS if class_sections or not sections else ()
    if class_sections and all(any(section.get(key) for key in WEIGHT_KEYS) for section in class_sections):
        classifiers = tuple(name for name in classifiers if name not in UNWEIGHTED_HEADS)
    names = (*classifiers, *(DEFAULT_HEADS_OF_NUMBERS if number_sections else ()))
    return {**content, "head": [{"name": name} for name in dict.fromkeys(names)]}


def sections_with_seed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections that have a seed, with the recipe's seed, if it states a valid one, where they state none."""
    try:
        seed = TypeAdapter(Seed).validate_python(content["seed"])
    except (KeyError, ValidationError):
        return {}
    split_section = content.get("split", {})
    sections: dict[str, Any] = {
        "split": {"seed": seed, **split_section} if isinstance(split_section, Mapping) else split_section
    }
    defaults: dict[str, list[dict[str, Any]]] = {"head": [], "finetune": [], "ensemble": [{}], "attack": []}
    for name, default in defaults.items():
        content_sections = content.get(name, default)
        is_list = isinstance(content_sections, list | tuple)
        sections[name] = [_with_seed(section, seed) for section in content_sections] if is_list else content_sections
    return sections


def _with_seed(section: Any, seed: Any) -> Any:
    # The runs of a grid of networks that lists them have seeds of their own; those of an attack are names.
    if not isinstance(section, Mapping):
        return section
    runs = section.get("runs")
    has_own_seeds = isinstance(runs, list | tuple) and any(isinstance(run, Mapping) for run in runs)
    return section if has_own_seeds else {"seed": seed, **section}
