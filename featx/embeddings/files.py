"""Embeddings of files without the cache, for models that predict new images."""

import threading
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.engine import DecoderMaker, NetworkPass, Rows, Runner, run
from featx.embeddings.groups import NetworkGroup, network_groups
from featx.embeddings.workers import Decoder, Images
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
# Numbers of files from which on networks run in another way.
FILES_THRESHOLDS = (MIN_FILES_TO_BATCH, MIN_FILES_FOR_OPENVINO)
# Fingerprint of an embedding → digest → vector (d,).
Vectors = dict[str, dict[str, NDArray[np.float32]]]


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
    digests
        Path → digest of the content, for the files that could be read.
    """

    images: list[str]
    columns: dict[str, NDArray[np.float32]]
    unreadable: dict[str, str]
    warnings: list[str]
    digests: dict[str, str] = field(default_factory=dict)


class FileEmbedder:
    """Embeds files as an extraction does, batch by batch; each network is built once. Several threads may use it.

    Values differ by at most 1e-6 from those of an extraction, since batches have another shape.

    Parameters
    ----------
    embeddings
        Embeddings to compute for each file.
    device
        Device name, see `featx.specs.extraction.EngineSpec`.
    networks
        Networks that are already built, by `EmbeddingRequest.network_key`; each of the others is built once.
    n_images
        Number of images of all batches, which decides how the networks run; None takes that of each batch.
    """

    def __init__(
        self,
        embeddings: Sequence[ResolvedEmbedding],
        device: str,
        networks: "Mapping[EmbeddingRequest, BuiltBackbone] | None" = None,
        n_images: int | None = None,
    ) -> None:
        self._fingerprints = [embedding.spec.fingerprint() for embedding in embeddings]
        self._groups = _groups_by_decoding(embeddings, networks or {})
        self._device = device
        self._n_images = n_images
        # By network, precision, and the number of `FILES_THRESHOLDS` that the number of images reaches.
        self._runners: dict[tuple[NetworkGroup, Precision, int], Runner] = {}
        self._warnings: list[str] = []
        self._lock = threading.Lock()

    def embed_paths(self, paths: Sequence[str]) -> EmbeddedFiles:
        """Return the embeddings of files by their paths, all in one batch; errors are those of `embed`."""
        return self.embed(paths, [file_uri(str(Path(path).absolute())) for path in paths])

    def embed(self, images: Sequence[str], uris: Sequence[str]) -> EmbeddedFiles:
        """Return the embeddings of one batch.

        Parameters
        ----------
        images
            Ids of the images, repeated ones included.
        uris
            Their uris.

        Raises
        ------
        ArtifactError
            this machine's weights or version of featx would give other values than the embeddings name.
        """
        identities = dict(zip(images, identify_images(uris), strict=True))
        places = dict(zip(images, uris, strict=True))
        unique_images = list(
            {identity.digest: places[image] for image, identity in identities.items() if identity.digest}.items()
        )
        vectors, failure_reasons = self.embed_contents(dict.fromkeys(self.decodings, unique_images))
        reasons = {
            image: failure_reasons.get(identity.digest, identity.reason) for image, identity in identities.items()
        }
        readable_images = [image for image in images if not reasons[image]]
        columns = {
            name: np.array([vectors_by_digest[identities[image].digest] for image in readable_images], dtype=np.float32)
            for name, vectors_by_digest in vectors.items()
        }
        unreadable_reasons = {image: reason for image, reason in reasons.items() if reason}
        warnings = list(dict.fromkeys(self._warnings))
        readable_digests = {image: identities[image].digest for image in readable_images}
        return EmbeddedFiles(readable_images, columns, unreadable_reasons, warnings, readable_digests)

    @property
    def decodings(self) -> list[Decoding]:
        """The settings of decoding of the embeddings, each once."""
        return list(self._groups)

    def embed_contents(
        self, images_by_decoding: Mapping[Decoding, Images], make_decoder: DecoderMaker = Decoder
    ) -> tuple[Vectors, dict[str, str]]:
        """Return the vectors of images by fingerprint and digest, and the reasons of those that failed by digest.

        Parameters
        ----------
        images_by_decoding
            Settings of decoding → (digest, place or content) of each image, the same digests for each.
        make_decoder
            Makes what workers do with the images; by default they are decoded and resized.
        """
        n_images = len(next(iter(images_by_decoding.values()), ())) if self._n_images is None else self._n_images
        # A few files need one worker: starting a second one takes longer than decoding them.
        engine = EngineSpec(device=self._device, workers=1 if n_images < MIN_FILES_TO_BATCH else None)
        vectors: Vectors = {name: {} for name in self._fingerprints}
        failure_reasons: dict[str, str] = {}
        for decoding, groups in self._groups.items():
            digests = frozenset(digest for digest, _ in images_by_decoding[decoding])
            network_passes = [
                self._make_network_pass(group, specs, digests, vectors, n_images) for group, specs in groups
            ]
            failure_reasons |= run(
                network_passes, images_by_decoding[decoding], decoding, engine, no_progress, make_decoder
            ).failed
        return vectors, failure_reasons

    def _make_network_pass(
        self,
        group: NetworkGroup,
        specs: Sequence[EmbeddingSpec],
        digests: frozenset[str],
        vectors: Vectors,
        n_images: int,
    ) -> NetworkPass:
        """Return the pass of a network whose rows become `vectors`, by fingerprint and digest."""

        def collect(row_digests: Sequence[str], rows: Rows) -> None:
            for spec, x in zip(specs, rows, strict=True):
                vectors[spec.fingerprint()] |= dict(zip(row_digests, to_stored_dtype(x, spec), strict=True))

        def find_runner() -> Runner:
            return self._get_runner(group, specs, n_images)

        return NetworkPass(specs[0].preprocessing, digests, find_runner, collect)

    def _get_runner(self, group: NetworkGroup, specs: Sequence[EmbeddingSpec], n_images: int) -> Runner:
        """Return the runner of a network for a number of images, which is built once."""
        precision = specs[0].precision
        key = group, precision, bisect(FILES_THRESHOLDS, n_images)
        with self._lock:
            if key not in self._runners:
                check_same_embeddings(group.specs(precision), specs)
                self._runners[key] = _build_runner(group, precision, self._device, n_images, self._warnings)
            return self._runners[key]


def _groups_by_decoding(
    embeddings: Sequence[ResolvedEmbedding], networks: "Mapping[EmbeddingRequest, BuiltBackbone]"
) -> dict[Decoding, list[tuple[NetworkGroup, list[EmbeddingSpec]]]]:
    """Return each network and precision with its embeddings, by the settings of decoding."""
    groups: dict[Decoding, list[tuple[NetworkGroup, list[EmbeddingSpec]]]] = {}
    for precision in dict.fromkeys(embedding.spec.precision for embedding in embeddings):
        specs = {embedding.request: embedding.spec for embedding in embeddings if embedding.spec.precision == precision}
        for group in network_groups(list(specs), networks):
            decoding = group.requests[0].decoding
            groups.setdefault(decoding, []).append((group, [specs[request] for request in group.requests]))
    return groups


def _build_runner(group: NetworkGroup, precision: Precision, device: str, n_images: int, warnings: list[str]) -> Runner:
    """Build the runner of a network in a precision, or in fp32 with a warning where this machine does not have it."""
    from featx.embeddings.devices import find_device
    from featx.embeddings.runtimes import Execution, can_compute, is_installed

    rows = 1 if n_images < MIN_FILES_TO_BATCH else None
    if isinstance(precision, ReducedPrecision):
        if can_compute(precision) and (device == "auto" or device.startswith(precision.device)):
            return group.portable.build_runner(Execution(precision.runtime, precision.device, precision), rows)
        warnings.append(
            f"{group.requests[0].backbone} was extracted in {precision}, which is not available here; it runs in "
            "fp32, and the vectors may differ as far as 'extraction.min_cosine' allowed"
        )
    is_on_cpu = find_device(device).type == "cpu"
    use_openvino = n_images >= MIN_FILES_FOR_OPENVINO and is_on_cpu and is_installed("openvino")
    return group.portable.build_runner(Execution("openvino" if use_openvino else "torch", device), rows)


def check_same_embeddings(specs: Sequence[EmbeddingSpec], expected_specs: Sequence[EmbeddingSpec]) -> None:
    """Check that this machine's networks compute the embeddings that a model was trained on.

    Raises
    ------
    ArtifactError
        they would compute other ones; the message names the first field that differs.
    """
    for spec, expected_spec in zip(specs, expected_specs, strict=True):
        identity, expected_identity = spec.identity(), expected_spec.identity()
        if identity != expected_identity:
            name = next(field for field in expected_identity if identity[field] != expected_identity[field])
            raise ArtifactError(
                f"the model was trained on embedding {expected_spec.fingerprint()} of {expected_spec.name}; this "
                f"machine computes {spec.fingerprint()}: {name} is {getattr(spec, name)!r}, expected "
                f"{getattr(expected_spec, name)!r}"
            )
