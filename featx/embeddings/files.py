"""Embeddings of files without the cache, for models that predict new images."""

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
from featx.images.digests import identify_images
from featx.progress import no_progress
from featx.specs.embedding import (
    Decoding,
    EmbeddingRequest,
    EmbeddingSpec,
    Precision,
    ReducedPrecision,
    ResolvedEmbedding,
)
from featx.specs.extraction import EngineSpec
from featx.storage.store import to_stored_dtype

if TYPE_CHECKING:
    from featx.networks.features import BuiltBackbone

# Fewer files are sent one by one: a batch would be padded with black images.
MIN_FILES_TO_BATCH = 8
# Building a faster runtime costs more than it saves for fewer files.
MIN_FILES_FOR_OPENVINO = 256


@dataclass(frozen=True)
class EmbeddedFiles:
    """Embeddings of the files that could be read.

    Attributes
    ----------
    images
        The n paths as given, repeated ones included.
    columns
        Fingerprint of each embedding → (n, d) float32.
    unreadable
        Path → reason.
    warnings
        Differences between this machine's arithmetic and that of the machine which extracted the embeddings.
    """

    images: list[str]
    columns: dict[str, NDArray[np.float32]]
    unreadable: dict[str, str]
    warnings: list[str]


def embed_files(
    images: Sequence[str],
    embeddings: Sequence[ResolvedEmbedding],
    device: str,
    networks: "Mapping[EmbeddingRequest, BuiltBackbone] | None" = None,
) -> EmbeddedFiles:
    """Embed files as an extraction does; values differ by at most 1e-6, since batches have another shape.

    Parameters
    ----------
    images
        Paths.
    embeddings
        Embeddings to compute for each file.
    device
        Device name, see `featx.specs.extraction.EngineSpec`.
    networks
        Networks that are already built, by `EmbeddingRequest.network_key`; each of the others is built once.

    Raises
    ------
    ArtifactError
        this machine's weights or version of featx would give other values than `embeddings` name.
    """
    uris = {image: file_uri(str(Path(image).absolute())) for image in images}
    identities = dict(zip(images, identify_images([uris[image] for image in images]), strict=True))
    todo = list({identity.digest: uris[image] for image, identity in identities.items() if identity.digest}.items())
    failed: dict[str, str] = {}
    vectors: dict[str, dict[str, NDArray[np.float32]]] = {embedding.spec.fingerprint(): {} for embedding in embeddings}
    warnings: list[str] = []
    # A few files need one worker: starting a second one takes longer than decoding them.
    engine = EngineSpec(device=device, workers=1 if len(todo) < MIN_FILES_TO_BATCH else None)

    def make_lane(group: NetworkGroup, specs: Sequence[EmbeddingSpec]) -> Lane:
        def collect(digests: Sequence[str], rows: Rows) -> None:
            for spec, x in zip(specs, rows, strict=True):
                vectors[spec.fingerprint()] |= dict(zip(digests, to_stored_dtype(x, spec), strict=True))

        def build_runner() -> Runner:
            check_same_embeddings(group.specs(specs[0].precision), specs)
            return _build_runner(group, specs[0].precision, device, len(todo), warnings)

        return Lane(specs[0].preprocessing, frozenset(digest for digest, _ in todo), build_runner, collect)

    for decoding, lanes in _lanes_by_decoding(embeddings, networks or {}, make_lane).items():
        failed |= run(lanes, todo, decoding, engine, no_progress).failed
    reasons = {image: failed.get(identity.digest, identity.reason) for image, identity in identities.items()}
    readable = [image for image in images if not reasons[image]]
    columns = {
        name: np.array([by_digest[identities[image].digest] for image in readable], dtype=np.float32)
        for name, by_digest in vectors.items()
    }
    return EmbeddedFiles(readable, columns, {image: reason for image, reason in reasons.items() if reason}, warnings)


def _lanes_by_decoding(
    embeddings: Sequence[ResolvedEmbedding],
    networks: "Mapping[EmbeddingRequest, BuiltBackbone]",
    make_lane: Callable[[NetworkGroup, Sequence[EmbeddingSpec]], Lane],
) -> dict[Decoding, list[Lane]]:
    """Return a lane for each network and precision, by the settings of decoding."""
    lanes: dict[Decoding, list[Lane]] = {}
    for precision in dict.fromkeys(embedding.spec.precision for embedding in embeddings):
        specs = {embedding.request: embedding.spec for embedding in embeddings if embedding.spec.precision == precision}
        for group in network_groups(list(specs), networks):
            decoding = group.requests[0].decoding
            lanes.setdefault(decoding, []).append(make_lane(group, [specs[request] for request in group.requests]))
    return lanes


def _build_runner(group: NetworkGroup, precision: Precision, device: str, n_images: int, warnings: list[str]) -> Runner:
    """Build the runner of a network in a precision, or in fp32 with a warning where this machine does not have it."""
    from featx.embeddings.runtimes import Execution, can_compute, is_installed

    rows = 1 if n_images < MIN_FILES_TO_BATCH else None
    if isinstance(precision, ReducedPrecision):
        if can_compute(precision) and (device == "auto" or device.startswith(precision.device)):
            return group.portable.build_runner(Execution(precision.runtime, precision.device, precision), rows)
        warnings.append(
            f"{group.requests[0].backbone} was extracted in {precision}, which is not available here; it runs in "
            "fp32, and the vectors may differ as far as 'extraction.min_cosine' allowed"
        )
    use_openvino = n_images >= MIN_FILES_FOR_OPENVINO and device in {"auto", "cpu"} and is_installed("openvino")
    return group.portable.build_runner(Execution("openvino" if use_openvino else "torch", device), rows)


def check_same_embeddings(ours: Sequence[EmbeddingSpec], expected: Sequence[EmbeddingSpec]) -> None:
    """Check that this machine's networks compute the embeddings that a model was trained on.

    Raises
    ------
    ArtifactError
        they would compute other ones; the message names the first field that differs.
    """
    for spec, expected_spec in zip(ours, expected, strict=True):
        if spec != expected_spec:
            name = next(
                field for field in type(spec).model_fields if getattr(spec, field) != getattr(expected_spec, field)
            )
            raise ArtifactError(
                f"the model was trained on embedding {expected_spec.fingerprint()} of {expected_spec.backbone}; this "
                f"machine computes {spec.fingerprint()}: {name} is {getattr(spec, name)!r}, expected "
                f"{getattr(expected_spec, name)!r}"
            )
