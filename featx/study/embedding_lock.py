"""The resolved specification of each embedding, as the last extraction recorded it."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from featx.files.atomic import file_state
from featx.files.seals import read_sealed
from featx.specs.embedding import EmbeddingSpec, ResolvedEmbedding

# The files that record the resolved embeddings of heads, and those of fine-tuned networks.
EMBEDDINGS = "embeddings.lock.json"
BOUNDARIES = "boundaries.lock.json"


class LockedEmbedding(ResolvedEmbedding):
    """The resolved spec of one requested embedding at its last extraction.

    Attributes
    ----------
    weights_file
        Path, size in bytes and mtime in ns of the weights, None for random weights. `spec` is valid while these are.
    drift
        The measured deviation of a reduced precision from fp32 (fields of `featx.embeddings.drift.Drift`).
    reason
        The inputs of the choice of precision (`RuntimeSelector.reason`). `spec` is valid while these are unchanged.
    """

    weights_file: tuple[str, int, int] | None
    drift: dict[str, float] | None = None
    reason: str

    @property
    def holds(self) -> bool:
        """Whether the weights are unchanged and this version of featx computes the same embedding."""
        spec_fields = EmbeddingSpec.model_fields
        if any(getattr(self.spec, name) != spec_fields[name].default for name in ("decode", "format")):
            return False
        return self.weights_file is None or file_state(self.weights_file[0]) == self.weights_file


class EmbeddingLock(BaseModel):
    """The content of a lock file."""

    embeddings: list[dict[str, Any]]


def read_locked(folder: Path) -> tuple[LockedEmbedding, ...]:
    """Return the resolved specs of the last extraction in a study's folder; empty before the first one."""
    path = folder / EMBEDDINGS
    if not path.is_file():
        return ()
    entries = read_sealed(path, "run 'featx extract' again", EmbeddingLock).embeddings
    try:
        return tuple(map(LockedEmbedding.model_validate, entries))
    except ValidationError:
        # Another version wrote the file; the next extraction replaces it.
        return ()
