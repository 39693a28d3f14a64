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
    """What one request was resolved to when it was last extracted.

    Attributes
    ----------
    weights_file
        Path, size in bytes and mtime in ns of the weights; None for random ones. While it holds, `spec` does.
    drift
        How far a reduced precision was found from fp32 (`featx.embeddings.precision.Drift`).
    reason
        What its precision was decided on (`featx.embeddings.runtime_selection.RuntimeSelector.reason`). `spec` holds as
        long as this does.
    """

    weights_file: tuple[str, int, int] | None
    drift: dict[str, float] | None = None
    reason: str

    @property
    def holds(self) -> bool:
        """Whether the weights still lie there, and what the spec says is still how featx does it."""
        current = EmbeddingSpec.model_fields
        if any(getattr(self.spec, name) != current[name].default for name in ("decode", "format")):
            return False
        return self.weights_file is None or file_state(self.weights_file[0]) == self.weights_file


class EmbeddingLock(BaseModel):
    """The content of the files that name what embeddings were resolved to."""

    embeddings: list[dict[str, Any]]


def read_locked(folder: Path) -> tuple[LockedEmbedding, ...]:
    """Return what the embeddings of a study's last extraction were resolved to; empty before the first."""
    path = folder / EMBEDDINGS
    if not path.is_file():
        return ()
    locked = read_sealed(path, "run 'featx extract' again", EmbeddingLock).embeddings
    try:
        return tuple(map(LockedEmbedding.model_validate, locked))
    except ValidationError:  # written by another version: the next extraction writes it anew
        return ()
