"""Training inputs, batch by batch: cached activations from a store, or decoded pixels from a scratch file."""

import tempfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featx.embeddings.engine import workers_for
from featx.embeddings.space import free_bytes, gigabytes
from featx.embeddings.workers import Decoder, ImageSource, decode_images
from featx.errors import StoreError
from featx.finetuning.augmentation import augment
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
        Number of the trunk's unit that takes the input; None for pixels.
    """

    @property
    def unit(self) -> int | None: ...  # noqa: D102 (an attribute, read)

    @property
    def has_views(self) -> bool:
        """Whether the inputs of train rows differ between epochs."""

    def __len__(self) -> int:
        """Return n."""

    def take(self, rows: Rows) -> Self:
        """Return the inputs of some of the images."""

    def batch(self, rows: Rows, epoch: int | None = None) -> Tensor:
        """Return the (b, …) input of some of the images, augmented if an epoch is given."""


@dataclass(frozen=True)
class CachedRows:
    """Activations at a boundary, stored as an embedding.

    Attributes
    ----------
    store
        The store of the embedding.
    digests
        (n, 1 + v) digests of each image and of its augmented views.
    unit
        Number of the trunk's unit that takes the activations.
    """

    store: EmbeddingStore
    digests: NDArray[np.object_]
    unit: int | None

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def has_views(self) -> bool:
        """Whether images have augmented views."""
        return bool(self.digests.shape[1] > 1)

    def take(self, rows: Rows) -> "CachedRows":
        """Return the inputs of some of the images."""
        return replace(self, digests=self.digests[rows])

    def batch(self, rows: Rows, epoch: int | None = None) -> Tensor:
        """Return the activations of some of the images; epochs take the augmented views in turn."""
        n_views = self.digests.shape[1] - 1
        views = 0 if epoch is None or not n_views else 1 + (epoch + rows) % n_views
        return torch.from_numpy(self.store.read(self.digests[rows, views].tolist()))


@dataclass(frozen=True)
class LoadedRows:
    """Activations in memory, which are the same in every epoch.

    Attributes
    ----------
    x
        (n, …) activations.
    unit
        Number of the trunk's unit that takes the activations.
    """

    x: Tensor
    unit: int | None
    has_views: bool = False

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Rows) -> "LoadedRows":
        """Return the inputs of some of the images."""
        return replace(self, x=self.x[torch.from_numpy(rows)])

    def batch(self, rows: Rows, epoch: int | None = None) -> Tensor:
        """Return the activations of some of the images."""
        return self.x[torch.from_numpy(rows)]


def all_rows(inputs: Inputs) -> Rows:
    """Return the numbers of all rows."""
    return np.arange(len(inputs))


@dataclass(frozen=True)
class PixelRows:
    """Decoded images at the network's size.

    Attributes
    ----------
    pixels
        (N, h, w, 3) uint8 pixels of all images of the study.
    pixel_rows
        (n,) numbers of these images in `pixels`.
    augment
        The random changes of train images.
    keys
        (n,) seed of the augmentation of each image.
    unit
        None, for pixels.
    """

    pixels: NDArray[np.uint8]
    pixel_rows: Rows
    augment: AugmentSpec
    keys: NDArray[np.int64]
    unit: int | None = None

    def __len__(self) -> int:
        return len(self.pixel_rows)

    @property
    def has_views(self) -> bool:
        """Whether images are augmented."""
        return not self.augment.does_nothing

    def take(self, rows: Rows) -> "PixelRows":
        """Return the inputs of some of the images."""
        return replace(self, pixel_rows=self.pixel_rows[rows], keys=self.keys[rows])

    def batch(self, rows: Rows, epoch: int | None = None) -> Tensor:
        """Return the pixels of some of the images, augmented if an epoch is given."""
        images = self.pixels[self.pixel_rows[rows]]
        if epoch is not None and not self.augment.does_nothing:
            keyed_images = zip(images, self.keys[rows].tolist(), strict=True)
            images = np.stack([augment(image, self.augment, (key, epoch)) for image, key in keyed_images])
        return torch.from_numpy(images)


def augmentation_keys(digests: Sequence[str], seed: int) -> NDArray[np.int64]:
    """Return the seed of each image's augmentation, which does not depend on the image's row."""
    return np.array([zlib.crc32(f"{seed}:{digest}".encode()) for digest in digests], dtype=np.int64)


class DecodedImages:
    """Pixels of all images in unnamed files, which the system removes with the process.

    Parameters
    ----------
    folder
        Folder of the files.
    uris
        Place of each image by its digest.
    engine
        Number of workers and batch size of decoding.
    progress
        Callback for progress.

    Attributes
    ----------
    failed
        Reason why an image has no pixels, by its digest.
    """

    def __init__(
        self, folder: Path, uris: Mapping[str, ImageSource], engine: EngineSpec, progress: ProgressCallback
    ) -> None:
        self.failed: dict[str, str] = {}
        self._uris = uris
        self._engine = engine
        self._progress = progress
        self._folder = folder
        self._arrays: dict[tuple[Preprocessing, Decoding], NDArray[np.uint8]] = {}
        self._row_of_digest = {digest: row for row, digest in enumerate(uris)}

    def pixels(self, preprocessing: Preprocessing, decoding: Decoding) -> NDArray[np.uint8]:
        """Return (N, h, w, 3) pixels of all images in the order of `uris`, mapped from disk; failed ones are black."""
        key = (preprocessing, decoding)
        if key not in self._arrays:
            self._arrays[key] = self._decode(preprocessing, decoding)
        return self._arrays[key]

    def rows(self, digests: Sequence[str]) -> Rows:
        """Return the numbers of images in `pixels`."""
        return np.array([self._row_of_digest[digest] for digest in digests], dtype=np.intp)

    def allocate(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return an array of bytes on disk.

        Raises
        ------
        StoreError
            If the disk has too little free space.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        needed_bytes, n_free = int(np.prod(shape)), free_bytes(self._folder)
        if needed_bytes > n_free:
            raise StoreError(
                f"the decoded images take {gigabytes(needed_bytes)}, {gigabytes(n_free)} are free for {self._folder}; "
                "set another folder for them (paths.local_cache), or a smaller size_px"
            )
        with tempfile.TemporaryFile(dir=self._folder) as file:
            return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)

    def _decode(self, preprocessing: Preprocessing, decoding: Decoding) -> NDArray[np.uint8]:
        side = preprocessing.canvas_px
        pixels = self.allocate((len(self._uris), side, side, 3))
        places = list(self._uris.items())
        decoder, workers = Decoder(decoding, (preprocessing,)), workers_for(self._engine)
        with closing(decode_images(places, decoder, workers, self._engine.batch_size)) as results:
            for number, (digest, result, _) in enumerate(results, start=1):
                if isinstance(result, str):
                    self.failed[digest] = result
                else:
                    pixels[self._row_of_digest[digest]] = result[0]
                self._progress("decode", number, len(places))
        return pixels
