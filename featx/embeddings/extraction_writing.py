"""Write the tables of an extraction, also while other extractions of the same recipe run."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import pandas as pd

from featx.artifacts.header import read_header
from featx.embeddings.labelled_listing import AssignedParts
from featx.errors import ArtifactError
from featx.files.atomic import write_table
from featx.files.seals import HEADER_FILE, write_sealed
from featx.specs.recipe import Recipe
from featx.storage.leases import remove_leftovers
from featx.study.embedding_lock import EMBEDDINGS, LockedEmbedding, parse_entries, read_lock
from featx.study.extraction_tables import SPLIT, extraction_lock, seal_extraction
from featx.study.split_state import split_state
from featx.study.study import Study
from featx.study.study_owner import write_owner
from featx.text.masking import remove_secrets


def write_extraction(
    study: Study,
    labels_state: dict[str, Any],
    assigned_parts: AssignedParts,
    outcomes: pd.DataFrame,
    locked_embeddings: Sequence[LockedEmbedding],
) -> None:
    """Write the tables that the later stages read; without a split, an earlier one is removed.

    Parameters
    ----------
    study
        The study that was extracted.
    labels_state
        State of the labels before they were read (`featx.study.extracted_data.ExtractedData.labels_state`), so that a
        later change requires a new extraction.
    assigned_parts
        All its images, with digests where they can be read, and the split or the problem of the labels.
    outcomes
        Outcome of each file.
    locked_embeddings
        The resolved embeddings. Others stay recorded if the recipe, ``--backbone`` or a run needs them.
    """
    with extraction_lock(study.folder):
        remove_leftovers(study.folder)
        frame = assigned_parts.listing.manifest.to_frame()
        frame["uri"] = [remove_secrets(uri, study.recipe.data.source) for uri in frame["uri"]]
        write_table(study.folder / "manifest.parquet", frame)
        if assigned_parts.parts is None:
            for name in (SPLIT, "split.json"):
                (study.folder / name).unlink(missing_ok=True)
        else:
            write_table(study.folder / SPLIT, assigned_parts.parts.rename_axis("id").reset_index())
            write_sealed(study.folder / "split.json", split_state(study.recipe))
        write_table(study.folder / "outcomes.parquet", outcomes)
        _record_embeddings(study, locked_embeddings)
        write_sealed(study.folder / "source.json", labels_state)
        write_owner(study.recipe)
        decoding = study.recipe.decoding if needs_all_decoded(study.recipe, locked_embeddings) else None
        seal_extraction(study.folder, assigned_parts.problem, decoding)


def needs_all_decoded(recipe: Recipe, locked_embeddings: Sequence[LockedEmbedding]) -> bool:
    """Return whether an extraction decodes all images by ``[decoding]``: for fine-tuning, or if no network embeds them.

    Fine-tuning reads the images themselves, so that all are decoded even if their vectors are cached.
    """
    return bool(recipe.finetune) or not locked_embeddings


def record_pending(study: Study, embeddings: Iterable[LockedEmbedding]) -> None:
    """Record embeddings before their stores are filled, so that clearing the cache meanwhile keeps these stores."""
    file = study.folder / EMBEDDINGS
    with extraction_lock(study.folder):
        lock = read_lock(file)
        entries = [item.model_dump(mode="json") for item in _mark_extra(study, embeddings)]
        new_entries = [entry for entry in entries if entry not in (*lock.embeddings, *lock.pending)]
        if new_entries:
            lock.pending += new_entries
            write_sealed(file, lock.model_dump())


def _record_embeddings(study: Study, embeddings: Sequence[LockedEmbedding]) -> None:
    """Write the embeddings into the lock file, with those that others recorded and that are still needed."""
    new_requests = {embedding.request for embedding in embeddings}
    run_embeddings = _find_run_embeddings(study)

    def select_needed(entries: Sequence[dict[str, Any]]) -> list[LockedEmbedding]:
        """Return the other embeddings of the recipe and of ``--backbone``, and those of finished runs."""
        return [
            item
            for item in parse_entries(entries)
            if item.request not in new_requests
            and (
                item.request in study.recipe.requests
                or (item.is_extra is not False and item.request.decoding == study.recipe.decoding)
                or item.spec.fingerprint() in run_embeddings
            )
        ]

    # Another extraction may have recorded embeddings since this one began.
    lock = read_lock(study.folder / EMBEDDINGS)
    complete = [*select_needed(lock.embeddings), *_mark_extra(study, embeddings)]
    lists = {"embeddings": complete, "pending": select_needed(lock.pending)}
    entries = {name: [item.model_dump(mode="json") for item in items] for name, items in lists.items()}
    write_sealed(study.folder / EMBEDDINGS, entries)


def _mark_extra(study: Study, embeddings: Iterable[LockedEmbedding]) -> list[LockedEmbedding]:
    """Return the embeddings, marked if the recipe does not name them."""
    requests = set(study.recipe.requests)
    return [item.model_copy(update={"is_extra": item.request not in requests}) for item in embeddings]


def _find_run_embeddings(study: Study) -> set[str]:
    """Return the fingerprints of the embeddings that the finished runs of a study use."""
    fingerprints: set[str] = set()
    for file in study.folder.rglob(f"[!.]*/{HEADER_FILE}"):
        # A damaged run is reported where it is used.
        with suppress(ArtifactError):
            fingerprints |= {item.spec.fingerprint() for item in read_header(file.parent)[1].embeddings}
    return fingerprints
