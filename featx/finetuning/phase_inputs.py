"""Inputs of each phase: the activations at a boundary, cached where that pays, or pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.fill import fill, plans_for
from featx.embeddings.groups import network_groups
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.embeddings.space import ROW_BYTES, gigabytes, room_bytes
from featx.embeddings.workers import ImageSource
from featx.errors import DataError
from featx.files.seals import write_sealed
from featx.finetuning.augmentation import augment
from featx.finetuning.network import Boundary, FinetunedNetwork
from featx.finetuning.training_rows import CachedRows, DecodedImages, Inputs, PixelRows, augmentation_keys
from featx.images.contents import digest
from featx.progress import ProgressCallback
from featx.specs.defences import AdversarialSpec
from featx.specs.embedding import EmbeddingRequest
from featx.specs.extraction import EngineSpec
from featx.specs.finetuning import FinetuneSpec
from featx.storage.store import EmbeddingStore
from featx.study.embedding_lock import BOUNDARIES, LockedEmbedding, read_lock
from featx.study.extraction_tables import extraction_lock
from featx.study.study import Study
from featx.tables.ids import Ids
from featx.tables.manifest import Manifest

# Networks that only predict run this many times faster than in training, because they have better runtimes.
PREDICTION_SPEEDUP = 2.0
# Operations that take as long as writing or reading one byte of activations: 100 GFLOP/s against 1 GB/s.
OPERATIONS_PER_BYTE = 100.0


def is_worth_caching(boundary: Boundary, epochs: int, views: int) -> bool:
    """Return whether caching a boundary's activations costs less than running the layers below it in each epoch.

    Parameters
    ----------
    boundary
        The boundary.
    epochs
        Number of epochs that read the activations.
    views
        Number of augmented views of each image that would be cached.
    """
    byte_cost = boundary.row_bytes * OPERATIONS_PER_BYTE
    caching_cost = (1 + views) * (boundary.n_operations / PREDICTION_SPEEDUP + byte_cost)
    caching_cost += epochs * byte_cost
    return caching_cost < epochs * boundary.n_operations


def _adversarial_note(adversarial: AdversarialSpec, boundary: Boundary | None) -> str:
    """Return the cost of adversarial training, which needs the gradients of pixels."""
    factor = f"{adversarial.cost_factor:.3g}"
    text = f"adversarial training by {adversarial.attack} takes about {factor} times as long as training without"
    if boundary is None:
        return text
    return f"{text}, and the frozen layers run in every epoch, since activations cannot be cached for changing pixels"


@dataclass(frozen=True)
class PhaseInputs:
    """The images of a study as inputs of any network.

    Attributes
    ----------
    study
        The study.
    engine
        Devices, workers and the space for boundaries.
    progress
        Callback for progress.
    ids
        Ids of train, val and test in this order; inputs have the same order.
    n_train
        Number of train ids.
    """

    study: Study
    engine: EngineSpec
    progress: ProgressCallback
    ids: Ids
    n_train: int

    @cached_property
    def digests(self) -> list[str]:
        """The digests of the images."""
        return list(self._manifest.digests)

    @cached_property
    def _manifest(self) -> Manifest:
        return self.study.manifest.take(self.ids)

    @cached_property
    def uris(self) -> dict[str, ImageSource]:
        """The place of each image by its digest; of copies the first."""
        return dict(self._manifest.uris_by_digest)

    @cached_property
    def _images(self) -> DecodedImages:
        return DecodedImages(self.study.cache.local_folder, self.uris, self.engine, self.progress)

    @cached_property
    def rates(self) -> dict[str, float | None]:
        """Images per second of the networks of this call by what determines them; equal networks are measured once."""
        return {}

    @cached_property
    def _views(self) -> dict[str, tuple[dict[str, ImageSource], NDArray[np.object_]]]:
        return {}

    def inputs(
        self, network: FinetunedNetwork, spec: FinetuneSpec, trainable: frozenset[str], epochs: int
    ) -> tuple[Inputs, str]:
        """Return the inputs of the first layer that is to run, for all images, and a note for the user.

        Parameters
        ----------
        network
            The network.
        spec
            Backbone, augmentation and number of views.
        trainable
            Names of the trainable parameters of the trunk.
        epochs
            Number of epochs that read the inputs.

        Raises
        ------
        DataError
            If an image can no longer be read.
        """
        boundary = network.boundary(trainable)
        if spec.adversarial is not None:
            return self._pixels(network, spec), _adversarial_note(spec.adversarial, boundary)
        views = 0 if spec.augment.does_nothing else spec.views or epochs
        if boundary is None:
            return self._pixels(network, spec), ""
        if note := self._space_note(boundary, views):
            return self._pixels(network, spec), note
        if spec.views is None and not is_worth_caching(boundary, epochs, views):
            return self._pixels(network, spec), ""
        boundary_fields = {"tap": boundary.tap, "pool": boundary.pool, "dtype": boundary.dtype}
        request = self.study.recipe.completed(spec.request.model_copy(update=boundary_fields))
        if not views:
            digests = np.array(self.digests, dtype=object)[:, None]
            return CachedRows(self._filled_store(request, self.uris), digests, boundary.unit), ""
        # Augmented images already have the size of the network and must not be cropped again.
        whole_image = {"size_px": network.preprocessing.size_px, "resize": "squash", "crop_share": 1.0}
        places, digests = self._augmented(network, spec, views)
        store = self._filled_store(request.model_copy(update=whole_image), places)
        return CachedRows(store, digests, boundary.unit), ""

    def embedded(self, request: EmbeddingRequest) -> NDArray[np.float32]:
        """Return (n, d) embeddings of all images, which are cached."""
        return self._filled_store(request, self.uris).read(self.digests)

    def _space_note(self, boundary: Boundary, views: int) -> str:
        """Return a note if a boundary's activations need more space than there is; empty if they fit."""
        needed_bytes = (boundary.row_bytes + ROW_BYTES) * (len(self.uris) + self.n_train * views)
        available_bytes = min(int(self.engine.boundary_gb * 1e9), room_bytes(self.study.cache))
        if needed_bytes <= available_bytes:
            return ""
        return (
            f"the activations of {boundary.tap} take {gigabytes(needed_bytes)}, {gigabytes(available_bytes)} are "
            "available (disk, extraction.boundary_gb): the frozen layers run in every epoch instead"
        )

    def _filled_store(self, request: EmbeddingRequest, places: dict[str, ImageSource]) -> EmbeddingStore:
        """Return the store of an embedding with all images in it."""
        runtimes = RuntimeSelector(self.study.cache, self.engine, places, self.progress)
        (plan,) = plans_for(network_groups([request]), runtimes)
        self._record_boundary(plan.locked[0])
        self._check_none_failed(fill([plan], places, runtimes, self.progress).failed)
        return plan.stores[0]

    def _record_boundary(self, boundary: LockedEmbedding) -> None:
        """Record a boundary before it is filled, so that clearing the cache keeps it."""
        file = self.study.folder / BOUNDARIES
        entry = boundary.model_dump(mode="json")
        with extraction_lock(self.study.folder):
            lock = read_lock(file, "remove it")
            if entry not in lock.embeddings:
                lock.embeddings.append(entry)
                write_sealed(file, lock.model_dump())

    def _pixels(self, network: FinetunedNetwork, spec: FinetuneSpec) -> PixelRows:
        """Return the decoded images as inputs."""
        pixels = self._images.pixels(network.preprocessing, self.study.recipe.decoding)
        self._check_none_failed(self._images.failed)
        keys = augmentation_keys(self.digests, spec.seed)
        return PixelRows(pixels, self._images.rows(self.digests), spec.augment, keys)

    def _augmented(
        self, network: FinetunedNetwork, spec: FinetuneSpec, views: int
    ) -> tuple[dict[str, ImageSource], NDArray[np.object_]]:
        """Return pixels of all images and of the train rows' views by their digests, and (n, 1 + views) digests.

        Views do not depend on the run's seed, so that runs can share them. For rows outside train, the image itself
        stands for its views.
        """
        key = f"{network.preprocessing.fingerprint()}-{spec.augment.fingerprint()}-{views}"
        if key not in self._views:
            plain_inputs = self._pixels(network, spec.model_copy(update={"seed": 0}))
            side = network.preprocessing.size_px
            augmented = self._images.allocate((self.n_train * views, side, side, 3))
            places: dict[str, ImageSource] = {}
            digests = np.empty((len(self.ids), 1 + views), dtype=object)
            for row in range(len(self.ids)):
                pixels = np.asarray(plain_inputs.pixels[plain_inputs.pixel_rows[row]])
                digests[row] = digest(pixels)
                places.setdefault(digests[row, 0], pixels)
                for view in range(views if row < self.n_train else 0):
                    number = row * views + view
                    augmented[number] = augment(pixels, spec.augment, (int(plain_inputs.keys[row]), view))
                    digests[row, 1 + view] = digest(augmented[number])
                    places.setdefault(digests[row, 1 + view], np.asarray(augmented[number]))
                self.progress("augment", row + 1, len(self.ids))
            self._views[key] = (places, digests)
        return self._views[key]

    def _check_none_failed(self, failure_reasons: dict[str, str]) -> None:
        """Raise an error if images failed, given the reasons by their digests."""
        if not failure_reasons:
            return
        names: Sequence[str] = [
            name for name, image_digest in zip(self.ids, self.digests, strict=True) if image_digest in failure_reasons
        ]
        reason = failure_reasons[self.digests[list(self.ids).index(names[0])]]
        raise DataError(
            f"{len(names)} of {len(self.ids)} images can no longer be read, first {names[0]!r}: {reason}; run 'featx "
            "extract' to leave them out"
        )
