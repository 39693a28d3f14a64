"""Where each phase's input comes from: a boundary's activations, kept or run anew, or pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from featx.embeddings.fill import fill, plans_for
from featx.embeddings.groups import network_groups
from featx.embeddings.runtime_selection import RuntimeSelector
from featx.embeddings.space import ROW_BYTES, gigabytes, room_bytes
from featx.embeddings.workers import Place
from featx.errors import DataError
from featx.files.seals import read_sealed, write_sealed
from featx.finetuning.augmentation import augmented
from featx.finetuning.network import Boundary, FinetunedNetwork
from featx.finetuning.training_rows import CachedRows, Inputs, PixelRows, Scratch, chance_keys
from featx.images.contents import digest
from featx.progress import ProgressCallback
from featx.specs.embedding import EmbeddingRequest
from featx.specs.extraction import EngineSpec
from featx.specs.finetuning import FinetuneSpec
from featx.storage.store import EmbeddingStore
from featx.study.embedding_lock import BOUNDARIES, EmbeddingLock, LockedEmbedding
from featx.study.study import Study
from featx.tables.ids import Ids
from featx.tables.manifest import Manifest

FASTER = 2.0  # times: networks that only predict run in better runtimes than those that learn
OPERATIONS_A_BYTE = 100.0  # that take as long as to write or read a byte of activations: 100 GFLOP/s, 1 GB/s


def is_worth_keeping(boundary: Boundary, epochs: int, views: int) -> bool:
    """Whether keeping a boundary's activations costs less than running what lies below it in each epoch.

    Parameters
    ----------
    views
        Augmented ones that would be kept of each image.
    """
    n_bytes = int(np.prod(boundary.shape)) * np.dtype(boundary.dtype).itemsize
    kept = (1 + views) * (boundary.operations / FASTER + n_bytes * OPERATIONS_A_BYTE)
    kept += epochs * n_bytes * OPERATIONS_A_BYTE
    return kept < epochs * boundary.operations


@dataclass(frozen=True)
class PhaseInputs:
    """The images of a study as input, whatever the network.

    Attributes
    ----------
    ids
        All of train, val and test; inputs are in their order.
    n_train
        The first so many are those of train.
    """

    study: Study
    engine: EngineSpec
    progress: ProgressCallback
    ids: Ids
    n_train: int

    @cached_property
    def digests(self) -> list[str]:
        """The images' digests."""
        return list(self._rows.digests)

    @cached_property
    def _rows(self) -> Manifest:
        return self.study.manifest.take(self.ids)

    @cached_property
    def uris(self) -> dict[str, Place]:
        """Digest → where the image is; of copies the first."""
        found: dict[str, Place] = {}
        for one, uri in zip(self.digests, self._rows.uris, strict=True):
            found.setdefault(one, uri)
        return found

    @cached_property
    def _scratch(self) -> Scratch:
        return Scratch(self.study.cache.notes, self.uris, self.engine, self.progress)

    @cached_property
    def _views(self) -> dict[str, tuple[dict[str, Place], NDArray[np.object_]]]:
        return {}

    def inputs(
        self, network: FinetunedNetwork, spec: FinetuneSpec, learns: frozenset[str], epochs: int
    ) -> tuple[Inputs, str]:
        """Return the input of the first layer that is to run, for all images, and what should be known of it.

        Raises
        ------
        DataError
            an image cannot be read any more.
        """
        boundary = network.boundary(learns)
        views = 0 if spec.augment.does_nothing else spec.views or epochs
        if boundary is None:
            return self._pixels(network, spec), ""
        if note := self._does_not_fit(boundary, views):
            return self._pixels(network, spec), note
        if spec.views is None and not is_worth_keeping(boundary, epochs, views):
            return self._pixels(network, spec), ""
        asked = {"tap": boundary.tap, "pool": boundary.pool, "dtype": boundary.dtype}
        request = self.study.recipe.completed(spec.request.model_copy(update=asked))
        if not views:
            digests = np.array(self.digests, dtype=object)[:, None]
            return CachedRows(self._filled(request, self.uris), digests, boundary.unit), ""
        whole = {"size_px": network.preprocessing.size_px, "resize": "squash", "crop_share": 1.0}
        places, digests = self._augmented(network, spec, views)
        store = self._filled(request.model_copy(update=whole), places)
        return CachedRows(store, digests, boundary.unit), ""

    def _does_not_fit(self, boundary: Boundary, views: int) -> str:
        """Say that a boundary's activations need more room than there is; empty where they fit."""
        row_bytes = int(np.prod(boundary.shape)) * np.dtype(boundary.dtype).itemsize + ROW_BYTES
        needed = row_bytes * (len(self.uris) + self.n_train * views)
        room = min(int(self.engine.boundary_gb * 1e9), room_bytes(self.study.cache))
        if needed <= room:
            return ""
        return (
            f"the activations of {boundary.tap} take {gigabytes(needed)}, there is room for {gigabytes(room)} (disk, "
            "extraction.boundary_gb): the frozen layers run in every epoch instead"
        )

    def _filled(self, request: EmbeddingRequest, places: dict[str, Place]) -> EmbeddingStore:
        """Return the store of an embedding with all images in it."""
        chooser = RuntimeSelector(self.study.cache, self.engine, places, self.progress)
        (plan,) = plans_for(network_groups([request]), chooser)
        failed = fill([plan], places, chooser, self.progress).failed
        if failed:
            self._complain(failed)
        self._note(plan.locked[0])
        return plan.stores[0]

    def _note(self, boundary: LockedEmbedding) -> None:
        """Leave word that the recipe stands on a boundary, for whoever clears the cache up."""
        file = self.study.folder / BOUNDARIES
        known = read_sealed(file, "remove it", EmbeddingLock).embeddings if file.is_file() else []
        own = boundary.model_dump(mode="json")
        if own not in known:
            write_sealed(file, {"embeddings": [*known, own]})

    def _pixels(self, network: FinetunedNetwork, spec: FinetuneSpec) -> PixelRows:
        pixels = self._scratch.pixels(network.preprocessing, self.study.recipe.decoding)
        if self._scratch.failed:
            self._complain(self._scratch.failed)
        keys = chance_keys(self.digests, spec.seed)
        return PixelRows(pixels, self._scratch.rows(self.digests), spec.augment, keys)

    def _augmented(
        self, network: FinetunedNetwork, spec: FinetuneSpec, views: int
    ) -> tuple[dict[str, Place], NDArray[np.object_]]:
        """Return pixels of all images and of the train rows' views by their digests, and (n, 1 + views) digests.

        Views do not depend on the run's seed, so that runs can share them; rows that are not of train stand for their
        own views.
        """
        key = f"{network.preprocessing.fingerprint()}-{spec.augment.fingerprint()}-{views}"
        if key not in self._views:
            plain = self._pixels(network, spec.model_copy(update={"seed": 0}))
            side = network.preprocessing.size_px
            made = self._scratch.empty((self.n_train * views, side, side, 3))
            places: dict[str, Place] = {}
            digests = np.empty((len(self.ids), 1 + views), dtype=object)
            for row in range(len(self.ids)):
                pixels = np.asarray(plain.pixels[plain.at[row]])
                digests[row] = digest(pixels)
                places.setdefault(digests[row, 0], pixels)
                for view in range(views if row < self.n_train else 0):
                    at = row * views + view
                    made[at] = augmented(pixels, spec.augment, (int(plain.keys[row]), view))
                    digests[row, 1 + view] = digest(made[at])
                    places.setdefault(digests[row, 1 + view], np.asarray(made[at]))
                self.progress("augment", row + 1, len(self.ids))
            self._views[key] = (places, digests)
        return self._views[key]

    def _complain(self, failed: dict[str, str]) -> None:
        names: Sequence[str] = [one for one, of in zip(self.ids, self.digests, strict=True) if of in failed]
        reason = failed[self.digests[list(self.ids).index(names[0])]]
        raise DataError(
            f"{len(names)} of {len(self.ids)} images cannot be used any more, first {names[0]!r}: {reason}; run 'featx "
            "extract' to leave them out"
        )
