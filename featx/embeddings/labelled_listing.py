"""Images of a recipe with their labels and parts; a problem of the labels does not stop an extraction."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from featx.errors import DataError
from featx.images.image_selection import select_images
from featx.images.readers import Listing, read_source
from featx.images.split_columns import parts_of_column
from featx.progress import ProgressCallback
from featx.specs.group import GroupSpec
from featx.specs.recipe import Recipe
from featx.study.splits import split
from featx.study.study import Study
from featx.tables.encoding import bin_numbers, strata
from featx.tables.truth import Truth, class_names
from featx.tables.undersampling import surplus_rules


@dataclass(frozen=True, eq=False)
class AssignedParts:
    """The split of the images, or the problem of the labels that leaves none.

    Attributes
    ----------
    listing
        The images, without those that are surplus in a part that is balanced after the split.
    truths
        Strata of each target for these images.
    parts
        Part of each image, indexed by id; None if there is a problem.
    problem
        The problem, with the way out; empty if there is none.
    """

    listing: Listing
    truths: list[Truth]
    parts: "pd.Series[str] | None"
    problem: str = ""


def read_listing(study: Study, drop_unlabelled: bool, progress: ProgressCallback) -> tuple[Listing, list[Truth], str]:
    """Return the selected images, the strata of each target, and the problem of the labels if there is one.

    The images are embedded also if there is a problem: those that the targets select if they can be applied, otherwise
    those that ``data.keep`` and ``data.sample`` select.

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
    listing = read_source(recipe.reader_spec.model_copy(update={"drop_unlabelled": drop_unlabelled}), recipe.folder)
    select = partial(select_images, split=recipe.split, sample=recipe.data.sample, keep=recipe.data.keep)
    if not recipe.targets:
        problem = (
            "the recipe has no [targets]; write another one with 'featx init SOURCE --labels FILE --force', or add a "
            "target, such as [targets.class] with column = 'class', if there is such a label column"
        )
        return select(listing, {}), [], problem
    selected_listing: Listing | None = None
    try:
        listing = _with_bands(listing, recipe.groups)
        selected_listing = select(listing, recipe.targets, drop_unlabelled=drop_unlabelled)
        truths = [strata(selected_listing.manifest, name, target) for name, target in recipe.targets.items()]
        for column in recipe.group_labels.values():
            selected_listing.manifest.column(column)
        _split_and_balance(recipe, selected_listing, truths)
    except DataError as error:
        if selected_listing is None:
            selected_listing = _select_without_targets(listing, recipe)
        progress("note", 0, 1, f"labels: {error}; the images are embedded all the same")
        return selected_listing, [], str(error)
    return selected_listing, truths, ""


def _select_without_targets(listing: Listing, recipe: Recipe) -> Listing:
    """Return the images that ``data.keep`` and ``data.sample`` select; `keep` is left out if it cannot be applied."""
    select = partial(select_images, listing, {}, recipe.split, sample=recipe.data.sample)
    try:
        return select(keep=recipe.data.keep)
    except DataError:
        # The problem of the labels that is reported names the column or the value.
        return select()


def _with_bands(listing: Listing, groups: Mapping[str, GroupSpec]) -> Listing:
    """Return the listing with a label column for each grouping by bands of numbers."""
    for name, group in groups.items():
        if group.bins is not None:
            bands = bin_numbers(listing.manifest.column(group.column), group.bins, f"groups.{name}")
            listing = replace(listing, manifest=listing.manifest.with_column(name, bands.astype(object)))
    return listing


def assign_parts(study: Study, listing: Listing, truths: list[Truth], label_problem: str) -> AssignedParts:
    """Return the part of each image, or the problem that leaves no split.

    Parameters
    ----------
    study
        The study.
    listing
        The images.
    truths
        Strata of each target; the first one stratifies the split.
    label_problem
        Problem of the labels that `read_listing` returned; empty if there is none.
    """
    if label_problem:
        return AssignedParts(listing, truths, None, label_problem)
    try:
        return _split_and_balance(study.recipe, listing, truths)
    except DataError as error:
        return AssignedParts(listing, truths, None, str(error))


def _split_and_balance(recipe: Recipe, listing: Listing, truths: list[Truth]) -> AssignedParts:
    """Return the split, without the surplus images of the parts that are cut here and balanced by themselves."""
    parts = split(listing.manifest, truths[0], recipe.split, recipe.folder)
    given_parts = set(parts_of_column(listing.manifest, recipe.split).dropna())
    rng = np.random.default_rng(recipe.split.seed)
    rules: dict[str, str] = {}
    for (name, target), truth in zip(recipe.targets.items(), truths, strict=True):
        for part, size in target.balanced_parts.items():
            if part not in given_parts:
                rules |= surplus_rules(class_names(truth)[parts == part], name, size, rng, part)
    if not rules:
        return AssignedParts(listing, truths, parts)
    listing = listing.without(rules)
    ids = listing.manifest.ids
    return AssignedParts(listing, [truth.take(ids) for truth in truths], parts.reindex(pd.Index(ids)))
