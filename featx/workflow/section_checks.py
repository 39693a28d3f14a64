"""Checks of a recipe's sections against runs and files, before the first stage starts."""

from collections.abc import Iterator
from pathlib import Path

from featx.errors import RecipeError
from featx.specs.embedding import EmbeddingRequest
from featx.specs.recipe import Recipe
from featx.study.folders import study_folder
from featx.study.planned_runs import find_unknown_runs


def check_sections(recipe: Recipe) -> None:
    """Raise an error if a section names a run that will not exist, or a file of weights that does not exist.

    Raises
    ------
    RecipeError
        The message lists all problems with the paths of their keys.
    """
    finished_names = [header.parent.name for header in study_folder(recipe).glob("[!.]*/header.json")]
    if problems := [*find_unknown_runs(recipe, finished_names), *_missing_weights(recipe)]:
        raise RecipeError(recipe.reference, problems)


def _missing_weights(recipe: Recipe) -> Iterator[str]:
    """Yield one message for each section whose file of weights does not exist."""
    for key, request in dict.fromkeys(_requests(recipe)):
        if request.has_own_weights and not Path(recipe.completed(request).weights).is_file():
            yield f"{key}.weights: there is no file {request.weights}; paths start from the recipe's folder"


def _requests(recipe: Recipe) -> Iterator[tuple[str, EmbeddingRequest]]:
    """Yield the path of each section of networks or embeddings, with its requests."""
    for number, embedding in enumerate(recipe.embedding):
        yield from ((f"embedding[{number}]", request) for request in embedding.requests())
    for number, section in enumerate(recipe.finetune):
        yield from ((f"finetune[{number}]", spec.request) for spec in section.runs)
