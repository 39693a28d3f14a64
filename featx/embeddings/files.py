"""Embed a few files directly, past the cache, for models that answer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.batches import Failure, batched, decoded, finite
from featx.embeddings.devices import device_named, embed
from featx.embeddings.store import DEVICE_ROWS
from featx.errors import ArtifactError
from featx.images.decode import fit_to
from featx.images.digests import Identity, identify_all
from featx.networks.features import resolve
from featx.specs import EmbeddingRequest, ResolvedEmbedding


@dataclass(frozen=True)
class EmbeddedFiles:
    """Embeddings of files that could be read.

    Attributes
    ----------
    images
        Their n paths, in the order given.
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
    identities = dict(zip(images, identify_all(images), strict=True))
    groups: dict[EmbeddingRequest, list[ResolvedEmbedding]] = {}
    for one in embeddings:
        groups.setdefault(one.request.network_key, []).append(one)
    failed: dict[str, str] = {}
    vectors: dict[str, dict[str, NDArray[np.float32]]] = {}
    for group in groups.values():
        vectors |= _embed_group(identities, group, device, failed)
    reasons = {image: failed.get(found.digest, found.reason) for image, found in identities.items()}
    readable = [image for image in identities if not reasons[image]]
    columns = {
        name: np.stack([of_digest[identities[image].digest] for image in readable])
        if readable
        else np.empty((0, 0), np.float32)
        for name, of_digest in vectors.items()
    }
    return EmbeddedFiles(readable, columns, {image: reason for image, reason in reasons.items() if reason})


def _embed_group(
    identities: dict[str, Identity], group: Sequence[ResolvedEmbedding], device: str, failed: dict[str, str]
) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Return fingerprint → digest → vector, from one pass through one network."""
    resolved = resolve([one.request for one in group])
    for ours, wanted in zip(resolved.specs, group, strict=True):
        if ours != wanted.spec:
            odd = next(name for name in type(ours).model_fields if getattr(ours, name) != getattr(wanted.spec, name))
            raise ArtifactError(
                f"the model was made on embedding {wanted.spec.fingerprint()}, here {wanted.request.name} gives "
                f"{ours.fingerprint()}: {odd} is {getattr(ours, odd)!r}, expected {getattr(wanted.spec, odd)!r}"
            )
    todo = {found.digest: image for image, found in identities.items() if found.digest}

    def note(failure: Failure) -> None:
        failed[failure.digest] = failure.reason

    batches = batched(decoded(list(todo.items()), fit_to(group[0].spec.preprocessing)), DEVICE_ROWS, note)
    names = [one.spec.fingerprint() for one in group]
    vectors: dict[str, dict[str, NDArray[np.float32]]] = {name: {} for name in names}
    for digests, outputs in embed(batches, resolved.network, device_named(device)):
        kept, columns = finite(digests, outputs, note)
        for name, rows in zip(names, columns, strict=True):
            vectors[name] |= dict(zip(kept, rows, strict=True))
    return vectors
