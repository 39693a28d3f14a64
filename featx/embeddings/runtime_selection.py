"""Choice of the precision and the runtime of each network on this machine; measurements are stored and reused."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.deviation import PrecisionAudit
from featx.embeddings.engine import Runner, workers_for
from featx.embeddings.groups import NetworkGroup
from featx.embeddings.machine import arithmetic
from featx.embeddings.workers import Decoder, ImageSource, decode_images
from featx.progress import ProgressCallback
from featx.specs.base import fingerprint
from featx.specs.embedding import Decoding, EmbeddingRequest, Precision, Preprocessing, ReducedPrecision
from featx.specs.extraction import EngineSpec
from featx.storage.places import CachePlace

if TYPE_CHECKING:
    from featx.embeddings.benchmarks import BenchmarkJournal

# `precision = "auto"` stays in fp32 for fewer images, which takes seconds.
MIN_IMAGES_TO_REDUCE = 2000
# Building and timing a runtime costs more than it saves for fewer images.
MIN_IMAGES_TO_BENCHMARK = 64
# Images on which precisions are compared.
N_SAMPLE_IMAGES = 256
# Images of which batches are made to measure speeds; decoding large photos takes longer than the network.
N_TIMED = 8


class RuntimeSelector:
    """Chooses the precision and the runtime of the networks of one extraction.

    Parameters
    ----------
    cache
        Place of the stores; measurements are stored in its folder of notes.
    engine
        Settings of the extraction.
    uris
        Digest → URI of the image, or its content. The images with the smallest digests are the sample.
    progress
        Receives the progress of measurements.
    sample
        Largest number of images in the sample.

    Attributes
    ----------
    by_images
        Whether a precision is decided on these images; otherwise the decision on the first images of this cache is
        reused for all others.
    """

    by_images = True

    def __init__(
        self,
        cache: CachePlace,
        engine: EngineSpec,
        uris: Mapping[str, ImageSource],
        progress: ProgressCallback,
        *,
        sample: int = N_SAMPLE_IMAGES,
    ) -> None:
        self.sample = sample
        self.cache = cache
        self.engine = engine
        self._uris = uris
        self._progress = progress
        self._pixels: dict[tuple[Preprocessing, Decoding, int], NDArray[np.uint8]] = {}

    def reason(self, request: EmbeddingRequest) -> str:
        """Return everything on which a request's precision depends, as a text; equal texts mean equal decisions.

        The text names the request, the images, the settings and the machine. It does not depend on the content of a
        cache or on earlier commands. No network is built.
        """
        precision, engine = request.precision, self.engine
        if precision == "fp32":
            return "precision 'fp32'"
        if precision == "auto" and len(self._uris) < MIN_IMAGES_TO_REDUCE:
            return f"precision 'auto': fewer than {MIN_IMAGES_TO_REDUCE} images"
        images = fingerprint(self._sample_digests) if self.by_images else "of the first call"
        return (
            f"precision {precision!r}: compared with fp32 on images {images}, cosine {engine.min_cosine}, runtime "
            f"{engine.runtime}, device {engine.device}, machine {fingerprint(arithmetic())}"
        )

    def choose_precision(self, group: NetworkGroup) -> PrecisionAudit:
        """Return the precision of a network: the one its requests name, or for ``auto`` the fastest accurate one.

        Raises
        ------
        DeviceError
            the named precision is too far from fp32.
        """
        from featx.embeddings.precision import auto_dtypes, check_accurate

        precision = group.requests[0].precision
        if precision == "fp32" or not self._uris or (precision == "auto" and len(self._uris) < MIN_IMAGES_TO_REDUCE):
            return PrecisionAudit()
        dtypes: Sequence[str] = auto_dtypes(self.engine) if precision == "auto" else [precision]
        if not dtypes:
            return PrecisionAudit()
        reason = self.reason(group.requests[0])
        audit = self._journal(group).precision(reason) or self._compare_with_fp32(group, reason, dtypes)
        # Without a deviation there was no image to compare.
        if precision != "auto" and audit.deviation is not None:
            check_accurate(audit, group.requests[0], self.engine)
        return audit

    def _compare_with_fp32(self, group: NetworkGroup, reason: str, dtypes: Sequence[str]) -> PrecisionAudit:
        from featx.embeddings.precision import find_accurate_precision

        pixels = self.decode_sample(group)
        if not len(pixels):
            return PrecisionAudit()
        audit = find_accurate_precision(dtypes, self.engine, group.portable, pixels, self._progress)
        self._journal(group).record_precision(reason, audit)
        return audit

    def build_runner(self, group: NetworkGroup, precision: Precision, rows: int | None, n_images: int) -> Runner:
        """Build the runner of a network in a precision.

        Parameters
        ----------
        group
            The network.
        precision
            The precision to compute in.
        rows
            Images per batch; None lets the runtime choose.
        n_images
            Number of images to embed. Decides whether it pays to benchmark the runtimes first.
        """
        from featx.embeddings.benchmarks import fastest_runtime
        from featx.embeddings.devices import find_device
        from featx.embeddings.runtimes import Execution

        engine = self.engine
        if isinstance(precision, ReducedPrecision):
            device = precision.device if engine.device == "auto" else engine.device
            execution = Execution(precision.runtime, device, precision)
        elif engine.runtime != "auto":
            execution = Execution(engine.runtime, engine.device)
        elif find_device(engine.device).type == "cuda" or n_images < MIN_IMAGES_TO_BENCHMARK:
            execution = Execution("torch", engine.device)
        else:
            journal = self._journal(group)
            return fastest_runtime(journal, rows, n_images, lambda: self.decode_sample(group, N_TIMED), self._progress)
        return group.portable.build_runner(execution, rows)

    def _journal(self, group: NetworkGroup) -> "BenchmarkJournal":
        from featx.embeddings.benchmarks import BenchmarkJournal

        return BenchmarkJournal(self.cache.local_folder, group.resolved.specs, group.portable)

    @property
    def _sample_digests(self) -> list[str]:
        """The smallest digests, in order."""
        return sorted(self._uris)[: self.sample]

    def decode_sample(self, group: NetworkGroup, n_images: int | None = None) -> NDArray[np.uint8]:
        """Return the first `n_images` of the sample, by default all, without those that cannot be decoded.

        Returns
        -------
        ndarray
            (n, h, w, 3) pixels.
        """
        spec, digests = group.resolved.specs[0], self._sample_digests[:n_images]
        key = (spec.preprocessing, spec.decoding, len(digests))
        if key not in self._pixels:
            sample_images = [(digest, self._uris[digest]) for digest in digests]
            decoder = Decoder(spec.decoding, (spec.preprocessing,))
            with closing(
                decode_images(sample_images, decoder, workers_for(self.engine), self.engine.batch_size)
            ) as results:
                images = [pixels[0] for _, pixels, _ in results if not isinstance(pixels, str)]
            side = spec.preprocessing.canvas_px
            self._pixels[key] = np.zeros((len(images), side, side, 3), dtype=np.uint8)
            for row, image in enumerate(images):
                self._pixels[key][row] = image
        return self._pixels[key]
