"""Load the images to explore: those of a recipe, before or after ``featx extract``, or those of a bare source."""

import tomllib
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from featx.embeddings.labelled_listing import assign_parts, read_listing
from featx.errors import DataError, IncompleteError
from featx.exploration.explored_images import ExploredImages
from featx.files.atomic import file_state
from featx.images.digests import DigestCache, ImageIdentity, identify_with_cache
from featx.images.init import Recognition, propose_recipe
from featx.images.readers import Listing
from featx.images.sources import URI_SCHEME
from featx.locations import is_url, reads_source
from featx.progress import ProgressCallback
from featx.specs.recipe import DEFAULT_RECIPE, Recipe, load_recipe, parse_recipe
from featx.study.study import Study
from featx.tables.encoding import encode_target
from featx.tables.ids import sample_rows
from featx.tables.manifest import Manifest
from featx.tables.truth import AnyTruth

DIGESTS_FILE = "digests.sqlite"
MISSING_REASON, CHANGED_REASON = "is gone since the extraction", "changed since the extraction"


@dataclass(frozen=True)
class ExploredSource:
    """Source that a user named: a recipe, or a source with the recipe that ``featx init`` would write.

    Attributes
    ----------
    study
        The study of the recipe.
    recognition
        What was recognised in the source; None for a recipe.
    """

    study: Study
    recognition: Recognition | None = None


def open_source(source: str | None, recipe: str | Path | Recipe | None) -> ExploredSource:
    """Return the study to explore.

    Parameters
    ----------
    source
        A folder, an archive, an array file, a label table or a URL; None for the source of the recipe.
    recipe
        Recipe or its path. With a source, a recipe that exists has to read it, and one that does not exist is neither
        needed nor written.

    Raises
    ------
    DataError
        the source is not recognised, or the recipe reads another source.
    RecipeError
        there is no recipe and no source.
    """
    if source is None:
        return ExploredSource(Study.open(recipe))
    if isinstance(recipe, Recipe) or Path(recipe or DEFAULT_RECIPE).exists():
        loaded_recipe = load_recipe(recipe or DEFAULT_RECIPE)
        if not reads_source(loaded_recipe.data, loaded_recipe.folder, source):
            raise DataError(
                f"recipe {loaded_recipe.name!r} reads {loaded_recipe.data.source!r}, found {source!r}; name a recipe "
                "that does not exist yet with '-r', or leave SOURCE out"
            )
        return ExploredSource(Study.open(loaded_recipe))
    file = Path(recipe or DEFAULT_RECIPE)
    text, recognition = propose_recipe(source, None, None, file)
    return ExploredSource(Study(parse_recipe(tomllib.loads(text), file)), recognition)


def load_images(explored_source: ExploredSource, max_images: int | None, progress: ProgressCallback) -> ExploredImages:
    """Return the images with labels, parts and groups, without measured properties.

    Parameters
    ----------
    explored_source
        The study to explore.
    max_images
        Number of images of an even sample; None for all images.
    progress
        Receives the progress of reading.

    Raises
    ------
    DataError
        there are no images, or none can be read.
    """
    study = explored_source.study
    try:
        images = _load_extracted(study)
    except IncompleteError as error:
        is_first = not (study.folder / "extraction.json").is_file()
        note = (
            "nothing was extracted yet; analyses of embeddings are made after 'featx extract'"
            if is_first
            else (f"analyses of embeddings are left out: {error}")
        )
        images = replace(_load_listed(study, progress), notes=(note,))
    n_found = len(images) + len(images.unreadable.keys() - set(images.ids))
    images = replace(images, recognition=explored_source.recognition, n_found=n_found)
    return images if max_images is None or max_images >= len(images) else _sample(images, max_images)


def _sample(images: ExploredImages, n_images: int) -> ExploredImages:
    rows = sample_rows(len(images), n_images)
    ids = images.ids[rows]
    id_index = pd.Index(ids)
    note = f"a sample of {len(ids)} of {len(images)} images was explored"
    return replace(
        images,
        ids=ids,
        uris=images.uris[rows],
        digests=images.digests[rows],
        parts=images.parts[rows],
        truths={name: truth.take(ids[id_index.isin(truth.ids)]) for name, truth in images.truths.items()},
        groups={name: values.reindex(id_index) for name, values in images.groups.items()},
        notes=(*images.notes, note),
    )


def _load_extracted(study: Study) -> ExploredImages:
    """Return the images of the last extraction.

    Raises
    ------
    IncompleteError
        nothing was extracted, or the data or the recipe changed since.
    """
    manifest = study.manifest
    usable_images = manifest.take(manifest.ids[[bool(digest) for digest in manifest.digests]])
    reasons = dict(zip(study.failures["id"], study.failures["reason"], strict=True))
    reasons |= _find_changed(study, usable_images)
    has_split = not study.label_problem
    parts = (
        study.split.reindex(usable_images.ids).fillna("").to_numpy(object)
        if has_split
        else _no_parts(len(usable_images))
    )
    columns = {**study.recipe.group_labels, **_split_group(study.recipe)}
    return ExploredImages(
        study=study,
        ids=usable_images.ids,
        uris=usable_images.uris,
        digests=usable_images.digests,
        parts=parts,
        truths={name: study.labels(name) for name in study.recipe.targets} if has_split else {},
        groups={name: study.group_column(column, usable_images.ids) for name, column in columns.items()},
        unreadable=reasons,
        ignored=study.ignored,
        label_problem=study.label_problem,
        is_extracted=True,
    )


def _find_changed(study: Study, manifest: Manifest) -> dict[str, str]:
    """Return the reason of each image whose file is gone or has another content than at the extraction, by id.

    Only plain files are checked, and only those are read whose size or time of change differs.
    """
    rows = [row for row, uri in enumerate(manifest.uris) if not is_url(uri) and not URI_SCHEME.match(uri)]
    states = [file_state(manifest.uris[row]) for row in rows]
    reasons = {manifest.ids[row]: MISSING_REASON for row, state in zip(rows, states, strict=True) if state is None}
    file_states = [(row, state[1:]) for row, state in zip(rows, states, strict=True) if state is not None]
    uris = [manifest.uris[row] for row, _ in file_states]
    with (
        DigestCache(study.cache.local_folder / DIGESTS_FILE) as cache,
        closing(identify_with_cache(uris, [state for _, state in file_states], cache)) as results,
    ):
        for (row, _), (identity, _) in zip(file_states, results, strict=True):
            if identity.digest != manifest.digests[row]:
                reasons[manifest.ids[row]] = CHANGED_REASON
    return reasons


def _load_listed(study: Study, progress: ProgressCallback) -> ExploredImages:
    """Return the images that the recipe lists, with digests that are computed now."""
    listing, truths, problem = read_listing(study, study.recipe.data.drop_unlabelled, progress)
    if not len(listing.manifest):
        raise DataError(f"no images in {study.recipe.data.source!r}; check data.source and data.labels")
    assignment = assign_parts(study, listing, truths, problem)
    listing, problem = assignment.listing, assignment.problem
    manifest, reasons = _identify(study, listing, progress)
    series = assignment.parts
    parts = _no_parts(len(manifest)) if series is None else series.reindex(pd.Index(manifest.ids)).to_numpy(object)
    open_ids = manifest.ids[parts != "test"]
    encoded_targets = {} if problem else _encode_targets(study.recipe, listing.manifest)
    columns = {**study.recipe.group_labels, **_split_group(study.recipe)}
    return ExploredImages(
        study=study,
        ids=manifest.ids,
        uris=manifest.uris,
        digests=manifest.digests,
        parts=parts,
        truths={name: truth.take(open_ids) for name, truth in encoded_targets.items()},
        groups={name: manifest.column(column) for name, column in columns.items() if column in manifest.labels},
        unreadable=reasons,
        ignored=dict(Counter(listing.ignored.values()).most_common()),
        label_problem=problem,
    )


def _encode_targets(recipe: Recipe, manifest: Manifest) -> dict[str, AnyTruth]:
    return {name: encode_target(manifest, name, target) for name, target in recipe.targets.items()}


def _split_group(recipe: Recipe) -> dict[str, str]:
    """Return the column that the split keeps together, by its name; empty if there is none."""
    split_column = recipe.split.by
    return {} if split_column is None or split_column in recipe.group_labels.values() else {split_column: split_column}


def _no_parts(n_images: int) -> "np.ndarray[Any, np.dtype[np.object_]]":
    return np.full(n_images, "", dtype=object)


def _identify(study: Study, listing: Listing, progress: ProgressCallback) -> tuple[Manifest, dict[str, str]]:
    """Return the images whose bytes can be read, with digests, and the reason of each other image by id.

    Raises
    ------
    DataError
        no image can be read.
    """
    manifest = listing.manifest
    known_identities = {name: ImageIdentity("", *outcome) for name, outcome in listing.known.items()}
    is_open = np.array([name not in known_identities for name in manifest.ids], dtype=bool)
    uris, states = manifest.uris[is_open].tolist(), listing.states[is_open].tolist()
    identities = []
    with (
        DigestCache(study.cache.local_folder / DIGESTS_FILE) as cache,
        closing(identify_with_cache(uris, states, cache)) as results,
    ):
        for name in manifest.ids:
            identities.append(known_identities[name] if name in known_identities else next(results)[0])
            progress("read", len(identities), len(manifest))
    digests = np.array([identity.digest for identity in identities], dtype=object)
    reasons = {
        name: f"{identity.outcome}: {identity.reason}"
        for name, identity in zip(manifest.ids, identities, strict=True)
        if not identity.digest
    }
    if len(reasons) == len(manifest):
        name, reason = next(iter(reasons.items()))
        raise DataError(f"none of {len(manifest)} images can be read, first {name!r}: {reason}; check data.source")
    identified_manifest = Manifest(manifest.ids, manifest.uris, manifest.labels, digests)
    return identified_manifest.take(manifest.ids[digests != ""]), reasons
