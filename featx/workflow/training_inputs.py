"""Inputs of the runs of a recipe that its sections do not state: embeddings, the decoding, the content of weights."""

from pathlib import Path
from typing import Any

from featx.files.atomic import file_sha256
from featx.specs.embedding import Decoding
from featx.specs.recipe import Recipe
from featx.study.study import Study


def recipe_embeddings(study: Study) -> list[str]:
    """Return the fingerprints of the recipe's own extracted embeddings, without those that were added to them."""
    return [item.spec.fingerprint() for item in study.locked if item.request in study.recipe.requests]


def training_inputs(recipe: Recipe) -> list[Any]:
    """Return the decoding, and the SHA-256 of each file that a ``[[finetune]]`` section names as its weights.

    Defaults are left out, so that the list is empty for most recipes. Networks that are trained here are no inputs.
    """
    requests = {recipe.completed(spec.request) for section in recipe.finetune for spec in section.runs}
    files = sorted({request.weights for request in requests if request.has_own_weights})
    decoding = recipe.decoding.identity() if requests else {}
    default_decoding = Decoding().identity()
    changes = {name: value for name, value in decoding.items() if value != default_decoding[name]}
    return [*filter(None, [changes]), *(file_sha256(Path(file)) for file in files)]
