"""Write the tables of an extraction, also while other extractions of the same recipe run."""

from collections.abc import Sequence

import pandas as pd

from featx.embeddings.labelled_listing import AssignedParts
from featx.files.atomic import write_table
from featx.files.seals import write_sealed
from featx.storage.leases import remove_leftovers
from featx.study.embedding_lock import EMBEDDINGS, LockedEmbedding, read_locked
from featx.study.extraction_tables import SPLIT, extraction_lock, seal_extraction
from featx.study.split_state import split_state
from featx.study.study import Study
from featx.study.study_owner import write_owner
from featx.tables.manifest import Manifest
from featx.text.masking import remove_secrets


def write_extraction(
    study: Study,
    manifest: Manifest,
    assigned_parts: AssignedParts,
    outcomes: pd.DataFrame,
    locked_embeddings: Sequence[LockedEmbedding],
) -> None:
    """Write the tables that the later stages read; without a split, an earlier one is removed.

    Parameters
    ----------
    study
        The study that was extracted.
    manifest
        All its images, with digests where they can be read.
    assigned_parts
        The split, or the problem of the labels.
    outcomes
        Outcome of each file.
    locked_embeddings
        The resolved embeddings. Those that other extractions have recorded stay.
    """
    with extraction_lock(study.folder):
        remove_leftovers(study.folder)
        frame = manifest.to_frame()
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
        write_sealed(study.folder / "source.json", study.labels_state())
        write_owner(study.recipe)
        seal_extraction(study.folder, assigned_parts.problem)


def _record_embeddings(study: Study, locked_embeddings: Sequence[LockedEmbedding]) -> None:
    """Write the embeddings into the lock file, in place of those of the same requests."""
    new_requests = {embedding.request for embedding in locked_embeddings}
    # Another extraction may have recorded embeddings since this one began.
    kept_embeddings = [item for item in read_locked(study.folder) if item.request not in new_requests]
    entries = [item.model_dump(mode="json") for item in (*kept_embeddings, *locked_embeddings)]
    write_sealed(study.folder / EMBEDDINGS, {"embeddings": entries})
