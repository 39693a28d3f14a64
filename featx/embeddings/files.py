"""Embed a few files directly, past the cache, for models that answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.batches import Failure
from featx.embeddings.fill import network_groups
from featx.errors import ArtifactError
from featx.images.contents import file_uri
from featx.images.digests import identify_all
from featx.specs import EmbeddingSpec, ResolvedEmbedding


@dataclass(frozen=True)
class EmbeddedFiles:
    """Embeddings of files that could be read.

    Attributes
    ----------
    images
        Their n paths as they were given; one given twice stands twice.
    columns
        Fingerprint → (n, d).
    unreadable
        Path → reason.
    """

    images: list[str]
    columns: dict[str, NDArray[np.float32]]
    unreadable: dict[str, str]


def embed_files(images: Sequence[str], embeddings: Sequence[ResolvedEmbedding], device: str) -> EmbeddedFiles:
    """Embed files as an extraction would: the same numbers, the same reasons.

    Raises
    ------
    ArtifactError
        this machine's weights or featx would give other numbers than `embeddings` say.
    """
    uris = {image: file_uri(str(Path(image).absolute())) for image in images}
    identities = dict(zip(images, identify_all([uris[image] for image in images]), strict=True))
    todo = list({found.digest: uris[image] for image, found in identities.items() if found.digest}.items())
    specs = {one.request: one.spec for one in embeddings}
    failed: dict[str, str] = {}
    vectors: dict[str, dict[str, NDArray[np.float32]]] = {one.spec.fingerprint(): {} for one in embeddings}

    def note(failure: Failure) -> None:
        failed[failure.digest] = failure.reason

    for group in network_groups(list(specs)):
        wanted = [specs[request] for request in group.requests]
        _check(group.resolved.specs, wanted)
        for digests, outputs in group.embed(todo, wanted[0], device, note):
            for spec, rows in zip(wanted, outputs, strict=True):
                vectors[spec.fingerprint()] |= dict(zip(digests, rows, strict=True))
    reasons = {image: failed.get(found.digest, found.reason) for image, found in identities.items()}
    readable = [image for image in images if not reasons[image]]
    columns = {
        name: np.array([of_digest[identities[image].digest] for image in readable], dtype=np.float32)
        for name, of_digest in vectors.items()
    }
    return EmbeddedFiles(readable, columns, {image: reason for image, reason in reasons.items() if reason})


def _check(ours: Sequence[EmbeddingSpec], wanted: Sequence[EmbeddingSpec]) -> None:
    for here, there in zip(ours, wanted, strict=True):
        if here != there:
            odd = next(name for name in type(here).model_fields if getattr(here, name) != getattr(there, name))
            raise ArtifactError(
                f"the model was made on embedding {there.fingerprint()} of {there.backbone}, here it would be "
                f"{here.fingerprint()}: {odd} is {getattr(here, odd)!r}, expected {getattr(there, odd)!r}"
            )
