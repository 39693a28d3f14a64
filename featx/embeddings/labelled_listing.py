"""Images of a recipe with their labels and parts; a problem of the labels does not stop an extraction."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from featx.errors import DataError
from featx.images.image_selection import select_images
from featx.images.readers import Listing, read_source
from featx.progress import ProgressCallback
from featx.study.splits import split
from featx.study.study import Study
from featx.tables.encoding import strata
from featx.tables.manifest import Manifest
from featx.tables.truth import Truth


@dataclass(frozen=True, eq=False)
class AssignedParts:
    """The split of the images, or the problem of the labels that leaves none.

    Attributes
    ----------
    parts
        Part of each image, indexed by id; None if there is a problem.
    problem
        The problem, with the way out; empty if there is none.
    """

    parts: "pd.Series[str] | None"
    problem: str = ""


def read_listing(study: Study, drop_unlabelled: bool, progress: ProgressCallback) -> tuple[Listing, list[Truth], str]:
    """Return the selected images, the strata of each target, and the problem of the labels if there is one.

    All images are selected if there is a problem: they are embedded all the same.

    Parameters
    ----------
    study
        The study.
    drop_unlabelled
        Whether images without a label are left out, even if the recipe does not say so.
    progress
        Callback that gets the problem.

    Raises
    ------
    DataError
        there are no images, or the source cannot be listed.
    """
    recipe = study.recipe
    drop_unlabelled = drop_unlabelled or recipe.data.drop_unlabelled
    listing = read_source(recipe.data.model_copy(update={"drop_unlabelled": drop_unlabelled}), recipe.folder)
    if not recipe.targets:
        return listing, [], f"{recipe.name} has no [targets]; add one, such as [targets.class] with column = 'class'"
    try:
        selected = select_images(listing, recipe.targets, recipe.split, drop_unlabelled, recipe.data.sample)
        truths = [strata(selected.manifest, name, target) for name, target in recipe.targets.items()]
        for column in recipe.groups.values():
            selected.manifest.column(column)
        split(selected.manifest, truths[0], recipe.split)
    except DataError as error:
        progress("note", 0, 1, f"labels: {error}; the images are embedded all the same")
        return listing, [], str(error)
    return selected, truths, ""


def assign_parts(study: Study, manifest: Manifest, truths: Sequence[Truth], label_problem: str) -> AssignedParts:
    """Return the part of each image, or the problem that leaves no split.

    Parameters
    ----------
    study
        The study.
    manifest
        The images.
    truths
        Strata of each target; the first one stratifies the split.
    label_problem
        Problem of the labels that `read_listing` returned; empty if there is none.
    """
    if label_problem:
        return AssignedParts(None, label_problem)
    try:
        return AssignedParts(split(manifest, truths[0], study.recipe.split))
    except DataError as error:
        return AssignedParts(None, str(error))
