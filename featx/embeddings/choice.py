"""How each network is run here: in which precision, and by which runtime. What that takes is tried once."""

from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.drift import Drift
from featx.embeddings.engine import Runner, workers_for
from featx.embeddings.groups import NetworkGroup
from featx.embeddings.workers import Decoder, Place, decoded
from featx.progress import Watch
from featx.specs.embedding import Decoding, EmbeddingRequest, Precision, Preprocessing, Reduced
from featx.specs.engine import EngineSpec
from featx.storage.places import CachePlace
from featx.storage.store import missing

if TYPE_CHECKING:
    from featx.embeddings.trials import Trials

MANY = 2000  # images from which `auto` looks for fewer bits: below, fp32 takes seconds
FEW = 64  # images up to which no runtime is tried
SAMPLE = 256  # images that a precision and the runtimes are tried on


class Audited(NamedTuple):
    """A precision that may be used, and how far the last one that was looked at lies from fp32."""

    precision: Precision = "fp32"
    drift: Drift | None = None


class Chooser:
    """Chooses for the networks of one extraction.

    Parameters
    ----------
    cache
        Where the stores lie; what was tried is noted beside them.
    engine
        What is asked for.
    uris
        Digest → where the image is, or itself; what is tried on are those with the smallest digests, in any order.
    watch
        Told what is tried.
    sample
        How many images are tried on.
    """

    def __init__(
        self, cache: CachePlace, engine: EngineSpec, uris: Mapping[str, Place], watch: Watch, *, sample: int = SAMPLE
    ) -> None:
        self.sample = sample
        self.cache = cache
        self.engine = engine
        self._uris = uris
        self._watch = watch
        self._pixels: dict[tuple[Preprocessing, Decoding], NDArray[np.uint8]] = {}

    def can_run(self, request: EmbeddingRequest, precision: Precision) -> bool:
        """Whether what is asked for leaves room for a precision: its numbers depend on runtime and device."""
        if not isinstance(precision, Reduced):
            return request.precision in {"auto", "fp32"}
        own_device = self.engine.device == "auto" or self.engine.device.startswith(precision.device)
        return own_device and self.engine.runtime in {"auto", precision.runtime}

    def precision(self, group: NetworkGroup) -> Audited:
        """Return the precision for a network: what its requests name, or the fastest that is close enough to fp32.

        Raises
        ------
        DeviceError
            the precision that is named strays too far.
        """
        from featx.embeddings.precision import wanted_by_auto

        wanted = group.requests[0].precision
        if wanted == "fp32" or not self._uris:
            return Audited()
        if wanted != "auto":
            return self._insisted(group, wanted)
        dtypes = wanted_by_auto(self.engine)
        lacking = self._n_missing(group, "fp32")
        known = self._trials(group).precision(wanted, self.engine)
        if known is None:
            return self._audited(group, wanted, dtypes) if dtypes and lacking >= MANY else Audited()
        less = self._n_missing(group, known.precision)
        return known if less < lacking or less == lacking >= MANY else Audited()

    def _insisted(self, group: NetworkGroup, wanted: str) -> Audited:
        from featx.embeddings.precision import check_trusted

        found = self._trials(group).precision(wanted, self.engine) or self._audited(group, wanted, [wanted])
        if found.drift is not None:  # else there is no image to look at
            check_trusted(found, wanted, self.engine)
        return found

    def _audited(self, group: NetworkGroup, wanted: str, dtypes: list[str]) -> Audited:
        from featx.embeddings.precision import audited

        pixels = self.pixels(group)
        if not len(pixels):
            return Audited()
        found = audited(dtypes, self.engine, group.portable, pixels, self._watch)
        self._trials(group).keep_precision(wanted, self.engine, found)
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
        from featx.embeddings.trials import fastest

        return fastest(self._trials(group), rows, n_images, lambda: self.pixels(group), self._watch)

    def _trials(self, group: NetworkGroup) -> "Trials":
        from featx.embeddings.trials import Trials

        return Trials(self.cache.notes, group.resolved.specs, group.portable)

    def _n_missing(self, group: NetworkGroup, precision: Precision) -> int:
        return len(missing(group.stores(self.cache, precision), self._uris))

    def pixels(self, group: NetworkGroup) -> NDArray[np.uint8]:
        """Return the images to try on, (n, h, w, 3), as many of the sample as can be decoded."""
        spec = group.resolved.specs[0]
        key = (spec.preprocessing, spec.decoding)
        if key not in self._pixels:
            todo = [(digest, self._uris[digest]) for digest in sorted(self._uris)[: self.sample]]
            decoder = Decoder(spec.decoding, (spec.preprocessing,))
            with closing(decoded(todo, decoder, workers_for(self.engine), self.engine.batch_size)) as images:
                found = [pixels[0] for _, pixels, _ in images if not isinstance(pixels, str)]
            side = spec.preprocessing.canvas_px
            self._pixels[key] = np.zeros((len(found), side, side, 3), dtype=np.uint8)
            for at, one in enumerate(found):
                self._pixels[key][at] = one
        return self._pixels[key]
