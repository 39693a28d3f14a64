"""The resolved specification of each embedding, as the last extraction recorded it."""

from collections.abc import Sequence
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
        State of the file of weights (`featx.files.atomic.file_state`), None for random weights. `spec` is valid while
        it is unchanged.
    deviation
        The measured deviation of a reduced precision from fp32 (fields of `featx.embeddings.deviation.Deviation`).
    reason
        The inputs of the choice of precision (`RuntimeSelector.reason`). `spec` is valid while these are unchanged.
    is_extra
        Whether ``featx extract --backbone`` requested it, beside the embeddings of the recipe; None if an earlier
        version recorded it, which did not state it.
    """

    weights_file: tuple[str, int, int] | None
    deviation: dict[str, float] | None = None
    reason: str
    is_extra: bool | None = None

    @property
    def holds(self) -> bool:
        """Whether the weights are unchanged and this version of featx computes the same embedding."""
        spec_fields = EmbeddingSpec.model_fields
        if any(getattr(self.spec, name) != spec_fields[name].default for name in ("decode", "format")):
            return False
        return self.weights_file is None or file_state(self.weights_file[0]) == self.weights_file


class EmbeddingLock(BaseModel):
    """The content of a lock file.

    Attributes
    ----------
    embeddings
        Entries of the embeddings that are complete.
    pending
        Entries of the embeddings that a running or interrupted extraction fills. They are recorded before the first
        image is embedded, so that clearing the cache keeps their stores.
    """

    embeddings: list[dict[str, Any]] = []
    pending: list[dict[str, Any]] = []


def read_lock(file: Path, next_step: str = "run 'featx extract' again") -> EmbeddingLock:
    """Return the content of a lock file; an empty one where there is no file."""
    return read_sealed(file, next_step, EmbeddingLock) if file.is_file() else EmbeddingLock()


def parse_entries(entries: Sequence[dict[str, Any]]) -> tuple[LockedEmbedding, ...]:
    """Return the resolved specs in entries of a lock file; empty if another version of featx wrote them."""
    try:
        return tuple(map(LockedEmbedding.model_validate, entries))
    except ValidationError:
        # The next extraction replaces them.
        return ()


def read_locked(folder: Path) -> tuple[LockedEmbedding, ...]:
    """Return the resolved specs of the last extraction in a study's folder; empty before the first one."""
    return parse_entries(read_lock(folder / EMBEDDINGS).embeddings)
