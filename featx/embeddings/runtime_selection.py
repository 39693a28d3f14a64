"""How each network is run here: in which precision, and by which runtime. What that takes is tried once."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.drift import PrecisionAudit
from featx.embeddings.engine import Runner, workers_for
from featx.embeddings.groups import NetworkGroup
from featx.embeddings.machine import arithmetic
from featx.embeddings.workers import Decoder, Place, decoded
from featx.progress import ProgressCallback
from featx.specs.base import fingerprint
from featx.specs.embedding import Decoding, EmbeddingRequest, Precision, Preprocessing, Reduced
from featx.specs.extraction import EngineSpec
from featx.storage.places import CachePlace

if TYPE_CHECKING:
    from featx.embeddings.benchmarks import BenchmarkJournal

MIN_IMAGES_TO_REDUCE = 2000  # images from which `auto` looks for fewer bits: below, fp32 takes seconds
FEW = 64  # images up to which no runtime is tried
SAMPLE = 256  # images that a precision and the runtimes are tried on


class RuntimeSelector:
    """Chooses for the networks of one extraction.

    Parameters
    ----------
    cache
        Where the stores lie; what was tried is noted beside them.
    engine
        What is asked for.
    uris
        Digest → where the image is, or itself; what is tried on are those with the smallest digests, in any order.
    progress
        Told what is tried.
    sample
        How many images are tried on.

    Attributes
    ----------
    by_images
        Whether a precision is decided on these images; otherwise on the first ones for which this cache was asked.
    """

    by_images = True

    def __init__(
        self,
        cache: CachePlace,
        engine: EngineSpec,
        uris: Mapping[str, Place],
        progress: ProgressCallback,
        *,
        sample: int = SAMPLE,
    ) -> None:
        self.sample = sample
        self.cache = cache
        self.engine = engine
        self._uris = uris
        self._progress = progress
        self._pixels: dict[tuple[Preprocessing, Decoding], NDArray[np.uint8]] = {}

    def reason(self, request: EmbeddingRequest) -> str:
        """Return what decides on a request's precision, in words that are equal where the decision has to be.

        They hold the request, the images, the settings and the machine, and nothing of what a cache holds or which
        command ran first. No network is built.
        """
        wanted, engine = request.precision, self.engine
        if wanted == "fp32":
            return "precision 'fp32'"
        if wanted == "auto" and len(self._uris) < MIN_IMAGES_TO_REDUCE:
            return f"precision 'auto': fewer than {MIN_IMAGES_TO_REDUCE} images"
        images = fingerprint(self._sampled) if self.by_images else "of the first call"
        return (
            f"precision {wanted!r}: compared with fp32 on images {images}, cosine {engine.least_cosine}, runtime "
            f"{engine.runtime}, device {engine.device}, machine {fingerprint(arithmetic())}"
        )

    def precision(self, group: NetworkGroup) -> PrecisionAudit:
        """Return the precision for a network: what its requests name, or the fastest that is close enough to fp32.

        Raises
        ------
        DeviceError
            the precision that is named strays too far.
        """
        from featx.embeddings.precision import check_trusted, wanted_by_auto

        wanted = group.requests[0].precision
        if wanted == "fp32" or not self._uris or (wanted == "auto" and len(self._uris) < MIN_IMAGES_TO_REDUCE):
            return PrecisionAudit()
        dtypes: Sequence[str] = wanted_by_auto(self.engine) if wanted == "auto" else [wanted]
        if not dtypes:
            return PrecisionAudit()
        reason = self.reason(group.requests[0])
        found = self._trials(group).precision(reason) or self._audited(group, reason, dtypes)
        if wanted != "auto" and found.drift is not None:  # else there is no image to look at
            check_trusted(found, wanted, self.engine)
        return found

    def _audited(self, group: NetworkGroup, reason: str, dtypes: Sequence[str]) -> PrecisionAudit:
        from featx.embeddings.precision import audited

        pixels = self.pixels(group)
        if not len(pixels):
            return PrecisionAudit()
        found = audited(dtypes, self.engine, group.portable, pixels, self._progress)
        self._trials(group).keep_precision(reason, found)
        return found

    def runner(self, group: NetworkGroup, precision: Precision, rows: int | None, n_images: int) -> Runner:
        """Return a network ready to run in a precision.

        Parameters
        ----------
        rows
            The batch that is asked for, if there is one.
        n_images
            That are to go through it: what takes long to make ready is for many.
        """
        from featx.embeddings.devices import device_named
        from featx.embeddings.runtimes import Execution

        engine = self.engine
        if isinstance(precision, Reduced):
            how = Execution(
                precision.runtime, precision.device if engine.device == "auto" else engine.device, precision
            )
        elif engine.runtime != "auto":
            how = Execution(engine.runtime, engine.device)
        elif device_named(engine.device).type == "cuda" or n_images < FEW:
            how = Execution("torch", engine.device)
        else:
            return self._fastest(group, rows, n_images)
        return group.portable.ready(how, rows)

    def _fastest(self, group: NetworkGroup, rows: int | None, n_images: int) -> Runner:
        from featx.embeddings.benchmarks import fastest_runtime

        return fastest_runtime(self._trials(group), rows, n_images, lambda: self.pixels(group), self._progress)

    def _trials(self, group: NetworkGroup) -> "BenchmarkJournal":
        from featx.embeddings.benchmarks import BenchmarkJournal

        return BenchmarkJournal(self.cache.notes, group.resolved.specs, group.portable)

    @property
    def _sampled(self) -> list[str]:
        """The digests of the images to try on: the smallest ones."""
        return sorted(self._uris)[: self.sample]

    def pixels(self, group: NetworkGroup) -> NDArray[np.uint8]:
        """Return the images to try on, (n, h, w, 3), as many of the sample as can be decoded."""
        spec = group.resolved.specs[0]
        key = (spec.preprocessing, spec.decoding)
        if key not in self._pixels:
            todo = [(digest, self._uris[digest]) for digest in self._sampled]
            decoder = Decoder(spec.decoding, (spec.preprocessing,))
            with closing(decoded(todo, decoder, workers_for(self.engine), self.engine.batch_size)) as images:
                found = [pixels[0] for _, pixels, _ in images if not isinstance(pixels, str)]
            side = spec.preprocessing.canvas_px
            self._pixels[key] = np.zeros((len(found), side, side, 3), dtype=np.uint8)
            for at, one in enumerate(found):
                self._pixels[key][at] = one
        return self._pixels[key]
