"""What training reads, batch by batch: activations out of a store, or pixels out of a scratch file."""

import tempfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featx.embeddings.engine import workers_for
from featx.embeddings.space import free_bytes, gigabytes
from featx.embeddings.workers import Decoder, Place, decoded
from featx.errors import StoreError
from featx.finetuning.augmentation import augmented
from featx.progress import ProgressCallback
from featx.specs.embedding import Decoding, Preprocessing
from featx.specs.extraction import EngineSpec
from featx.specs.finetuning import AugmentSpec
from featx.storage.store import EmbeddingStore

Rows = NDArray[np.intp]


class Inputs(Protocol):
    """The input of the first layer that runs, for n images.

    Attributes
    ----------
    unit
        Of the trunk, that they are the input of; None for pixels.
    """

    @property
    def unit(self) -> int | None: ...  # noqa: D102 (an attribute, read)

    def __len__(self) -> int:
        """Return n."""

    def take(self, at: Rows) -> Self:
        """Return some of the images."""

    def batch(self, at: Rows, epoch: int | None = None) -> Tensor:
        """Return (b, …) for some of the images; augmented ones where an epoch is said."""


@dataclass(frozen=True)
class CachedRows:
    """Activations at a boundary.

    Attributes
    ----------
    digests
        (n, 1 + v) of each image, and of its augmented views.
    """

    store: EmbeddingStore
    digests: NDArray[np.object_]
    unit: int | None

    def __len__(self) -> int:
        return len(self.digests)

    def take(self, at: Rows) -> "CachedRows":
        """See `Inputs`."""
        return CachedRows(self.store, self.digests[at], self.unit)

    def batch(self, at: Rows, epoch: int | None = None) -> Tensor:
        """See `Inputs`; epochs take the views in turn."""
        n_views = self.digests.shape[1] - 1
        views = 0 if epoch is None or not n_views else 1 + (epoch + at) % n_views
        return torch.from_numpy(self.store.read(self.digests[at, views].tolist()))


@dataclass(frozen=True)
class PixelRows:
    """Decoded images at the network's size.

    Attributes
    ----------
    pixels
        (N, h, w, 3) uint8, of which `at` are these n.
    keys
        (n,) what makes the chances of each image's augmentation its own.
    """

    pixels: NDArray[np.uint8]
    at: Rows
    augment: AugmentSpec
    keys: NDArray[np.int64]
    unit: int | None = None

    def __len__(self) -> int:
        return len(self.at)

    def take(self, at: Rows) -> "PixelRows":
        """See `Inputs`."""
        return PixelRows(self.pixels, self.at[at], self.augment, self.keys[at])

    def batch(self, at: Rows, epoch: int | None = None) -> Tensor:
        """See `Inputs`."""
        found = self.pixels[self.at[at]]
        if epoch is not None and not self.augment.does_nothing:
            seeds = zip(found, self.keys[at].tolist(), strict=True)
            found = np.stack([augmented(one, self.augment, (key, epoch)) for one, key in seeds])
        return torch.from_numpy(found)


def chance_keys(digests: Sequence[str], seed: int) -> NDArray[np.int64]:
    """Return what makes each image's chances its own, whatever its place."""
    return np.array([zlib.crc32(f"{seed}:{digest}".encode()) for digest in digests], dtype=np.int64)


class Scratch:
    """Pixels of many images in files without a name, which go with the process; what cannot be decoded is noted.

    Parameters
    ----------
    notes
        The folder that they lie in.

    Attributes
    ----------
    failed
        Digest → why it has no pixels.
    """

    def __init__(self, notes: Path, uris: Mapping[str, Place], engine: EngineSpec, progress: ProgressCallback) -> None:
        self.failed: dict[str, str] = {}
        self._uris = uris
        self._engine = engine
        self._progress = progress
        self._notes = notes
        self._files: dict[tuple[Preprocessing, Decoding], NDArray[np.uint8]] = {}
        self._row = {digest: row for row, digest in enumerate(uris)}

    def pixels(self, size: Preprocessing, decoding: Decoding) -> NDArray[np.uint8]:
        """Return (N, h, w, 3) of all images in the order of `uris`, mapped from disk; black where there are none."""
        key = (size, decoding)
        if key not in self._files:
            self._files[key] = self._decoded(size, decoding)
        return self._files[key]

    def rows(self, digests: Sequence[str]) -> Rows:
        """Return where images stand."""
        return np.array([self._row[digest] for digest in digests], dtype=np.intp)

    def empty(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return an array of bytes on disk.

        Raises
        ------
        StoreError
            the disk does not hold it.
        """
        self._notes.mkdir(parents=True, exist_ok=True)
        needed, free = int(np.prod(shape)), free_bytes(self._notes)
        if needed > free:
            raise StoreError(
                f"the decoded images take {gigabytes(needed)}, {gigabytes(free)} are free for {self._notes}; name "
                "another folder for them (paths.notes), or say a smaller size_px"
            )
        with tempfile.TemporaryFile(dir=self._notes) as file:
            return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)

    def _decoded(self, size: Preprocessing, decoding: Decoding) -> NDArray[np.uint8]:
        found = self.empty((len(self._uris), size.canvas_px, size.canvas_px, 3))
        todo = list(self._uris.items())
        decoder, workers = Decoder(decoding, (size,)), workers_for(self._engine)
        with closing(decoded(todo, decoder, workers, self._engine.batch_size)) as images:
            for number, (digest, pixels, _) in enumerate(images, start=1):
                if isinstance(pixels, str):
                    self.failed[digest] = pixels
                else:
                    found[self._row[digest]] = pixels[0]
                self._progress("decode", number, len(todo))
        return found
