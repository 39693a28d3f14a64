"""Embed a few files directly, past the cache, for models that answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.engine import Lane, Rows, Runner, run
from featx.embeddings.groups import NetworkGroup, network_groups
from featx.errors import ArtifactError
from featx.images.contents import file_uri
from featx.images.digests import identify_all
from featx.progress import no_progress
from featx.specs.embedding import Decoding, EmbeddingRequest, EmbeddingSpec, Precision, Reduced, ResolvedEmbedding
from featx.specs.extraction import EngineSpec
from featx.storage.store import stored_as

if TYPE_CHECKING:
    from featx.networks.features import Built

BATCHED_FILES = 8  # files from which they are sent in batches; fewer are sent one by one, without padding
MANY_FILES = 256  # files from which it is worth the time to make a faster runtime ready


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
    warnings
        Where this machine computes otherwise than the one that the embeddings come from.
    """

    images: list[str]
    columns: dict[str, NDArray[np.float32]]
    unreadable: dict[str, str]
    warnings: list[str]


def embed_files(
    images: Sequence[str],
    embeddings: Sequence[ResolvedEmbedding],
    device: str,
    networks: "Mapping[EmbeddingRequest, Built] | None" = None,
) -> EmbeddedFiles:
    """Embed files as an extraction would: the same numbers up to 1e-6, which batches of another shape differ by.

    Parameters
    ----------
    images
        Paths.
    embeddings
        What is wanted of each.
    device
        As in `featx.specs.extraction.EngineSpec`.
    networks
        Networks that have been built already, by `EmbeddingRequest.network_key`; others are built once each.

    Raises
    ------
    ArtifactError
        this machine's weights or featx would give other numbers than `embeddings` say.
    """
    uris = {image: file_uri(str(Path(image).absolute())) for image in images}
    identities = dict(zip(images, identify_all([uris[image] for image in images]), strict=True))
    todo = list({found.digest: uris[image] for image, found in identities.items() if found.digest}.items())
    failed: dict[str, str] = {}
    vectors: dict[str, dict[str, NDArray[np.float32]]] = {one.spec.fingerprint(): {} for one in embeddings}
    warnings: list[str] = []
    # One file needs one worker; to start a worker takes longer than to decode a file.
    engine = EngineSpec(device=device, workers=1 if len(todo) < BATCHED_FILES else None)

    def lane(group: NetworkGroup, wanted: Sequence[EmbeddingSpec]) -> Lane:
        def keep(digests: Sequence[str], rows: Rows) -> None:
            for spec, x in zip(wanted, rows, strict=True):
                vectors[spec.fingerprint()] |= dict(zip(digests, stored_as(x, spec), strict=True))

        def runner() -> Runner:
            check_same(group.specs(wanted[0].precision), wanted)
            return _runner(group, wanted[0].precision, device, len(todo), warnings)

        return Lane(wanted[0].preprocessing, frozenset(digest for digest, _ in todo), runner, keep)

    for decoding, lanes in _by_decoding(embeddings, networks or {}, lane).items():
        failed |= run(lanes, todo, decoding, engine, no_progress).failed
    reasons = {image: failed.get(found.digest, found.reason) for image, found in identities.items()}
    readable = [image for image in images if not reasons[image]]
    columns = {
        name: np.array([of_digest[identities[image].digest] for image in readable], dtype=np.float32)
        for name, of_digest in vectors.items()
    }
    return EmbeddedFiles(readable, columns, {image: reason for image, reason in reasons.items() if reason}, warnings)


def _by_decoding(
    embeddings: Sequence[ResolvedEmbedding],
    networks: "Mapping[EmbeddingRequest, Built]",
    lane: Callable[[NetworkGroup, Sequence[EmbeddingSpec]], Lane],
) -> dict[Decoding, list[Lane]]:
    """Make lanes for all networks and precisions, by the way in which files are decoded."""
    lanes: dict[Decoding, list[Lane]] = {}
    for precision in dict.fromkeys(one.spec.precision for one in embeddings):
        specs = {one.request: one.spec for one in embeddings if one.spec.precision == precision}
        for group in network_groups(list(specs), networks):
            decoding = group.requests[0].decoding
            lanes.setdefault(decoding, []).append(lane(group, [specs[request] for request in group.requests]))
    return lanes


def _runner(group: NetworkGroup, precision: Precision, device: str, n_images: int, warnings: list[str]) -> Runner:
    """Return a network ready in a precision; where this machine does not have it in fp32, which is said."""
    from featx.embeddings.runtimes import Execution, is_here, is_installed

    rows = 1 if n_images < BATCHED_FILES else None
    if isinstance(precision, Reduced):
        if is_here(precision) and (device == "auto" or device.startswith(precision.device)):
            return group.portable.ready(Execution(precision.runtime, precision.device, precision), rows)
        warnings.append(
            f"{group.requests[0].backbone} was extracted in {precision}, which is not to be had here; it runs in "
            "fp32, from which those vectors were found to lie no farther than was allowed"
        )
    fast = n_images >= MANY_FILES and device in {"auto", "cpu"} and is_installed("openvino")
    return group.portable.ready(Execution("openvino" if fast else "torch", device), rows)


def check_same(ours: Sequence[EmbeddingSpec], wanted: Sequence[EmbeddingSpec]) -> None:
    """Check that this machine's networks make the embeddings that a model stands on.

    Raises
    ------
    ArtifactError
        they would make others; says what differs.
    """
    for here, there in zip(ours, wanted, strict=True):
        if here != there:
            odd = next(name for name in type(here).model_fields if getattr(here, name) != getattr(there, name))
            raise ArtifactError(
                f"the model was made on embedding {there.fingerprint()} of {there.backbone}, here it would be "
                f"{here.fingerprint()}: {odd} is {getattr(here, odd)!r}, expected {getattr(there, odd)!r}"
            )
