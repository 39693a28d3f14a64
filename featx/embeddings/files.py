"""Embed a few files directly, past the cache, for models that answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.engine import Lane, Rows, Runner, run
from featx.embeddings.fill import NetworkGroup, network_groups
from featx.errors import ArtifactError
from featx.images.contents import file_uri
from featx.images.digests import identify_all
from featx.progress import unwatched
from featx.specs import Decoding, EmbeddingSpec, EngineSpec, ResolvedEmbedding


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

    engine = EngineSpec(device=device)

    def lane(group: NetworkGroup) -> Lane:
        wanted = [specs[request] for request in group.requests]

        def keep(digests: Sequence[str], rows: Rows) -> None:
            for spec, x in zip(wanted, rows, strict=True):
                vectors[spec.fingerprint()] |= dict(zip(digests, x, strict=True))

        def runner() -> Runner:
            _check(group.resolved.specs, wanted)
            return group.runner(engine)

        return Lane(wanted[0].preprocessing, frozenset(digest for digest, _ in todo), runner, keep)

    by_decoding: dict[Decoding, list[NetworkGroup]] = {}
    for group in network_groups(list(specs)):
        by_decoding.setdefault(group.requests[0].decoding, []).append(group)
    for decoding, groups in by_decoding.items():
        failed |= run([lane(group) for group in groups], todo, decoding, engine, unwatched).failed
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
