"""Rows of a study whose images are attacked: an even sample of each class, and their pixels as networks take them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.model_selection import StratifiedShuffleSplit
from torch import Tensor

from featx.errors import DataError, ReadError
from featx.images.decode import decode
from featx.images.resizing import make_preprocessor
from featx.images.sources import read_unchanged
from featx.progress import ProgressCallback
from featx.specs.embedding import Preprocessing
from featx.study.study import Study
from featx.tables.ids import Ids
from featx.tables.truth import AnyTruth, Truth


@dataclass(frozen=True)
class AttackedRows:
    """Rows of one target whose images are attacked.

    Attributes
    ----------
    part
        ``val`` or ``test``.
    truth
        True values of the n rows.
    digests
        Digests of the images, as the last extraction recorded them.
    uris
        Places of the images.
    n_rows
        Number of rows of the part, of which these are a sample.
    """

    part: str
    truth: AnyTruth
    digests: tuple[str, ...]
    uris: tuple[str, ...]
    n_rows: int

    @property
    def ids(self) -> Ids:
        """Ids of the n images."""
        return self.truth.ids


def select_rows(study: Study, truth: AnyTruth, part: str, n_images: int, seed: int) -> AttackedRows:
    """Return an even sample of the rows of a part: each class keeps its share; labels and numbers are drawn at random.

    Raises
    ------
    DataError
        the part has no rows.
    """
    all_ids = study.ids(part)
    if not len(all_ids):
        raise DataError(f"the split has no {part} rows to attack; set 'split.{part} = 0.2' or provide a {part} part")
    strata = truth.take(all_ids).values if isinstance(truth, Truth) else np.zeros(len(all_ids), dtype=np.int64)
    ids = np.asarray(all_ids, dtype=object)[_sample(strata, n_images, seed)]
    images = study.manifest.take(ids)
    return AttackedRows(part, truth.take(ids), tuple(images.digests), tuple(images.uris), len(all_ids))


def _sample(codes: NDArray[np.int64], n: int, seed: int) -> NDArray[np.intp]:
    """Return n positions in increasing order, with the share of each class where every class has two rows."""
    if n >= len(codes):
        return np.arange(len(codes))
    n_classes, smallest = len(np.unique(codes)), np.unique(codes, return_counts=True)[1].min()
    if smallest < 2 or min(n, len(codes) - n) < n_classes:
        return np.sort(np.random.default_rng(seed).choice(len(codes), n, replace=False))
    split = StratifiedShuffleSplit(1, train_size=n, random_state=seed)
    return np.sort(next(split.split(codes, codes))[0])


def load_pictures(study: Study, rows: AttackedRows, progress: ProgressCallback) -> list[Image.Image]:
    """Return the decoded images.

    Raises
    ------
    DataError
        an image is gone, unreadable or changed since the extraction.
    """
    pictures = []
    for number, (name, uri, expected) in enumerate(zip(rows.ids, rows.uris, rows.digests, strict=True), start=1):
        try:
            content = read_unchanged(uri, expected)
            if content is None:
                raise DataError(
                    f"image {name!r} has changed since the extraction; run 'featx extract' and make the runs again"
                )
            pictures.append(decode(content, study.recipe.decoding))
        except (ReadError, FileNotFoundError) as error:
            raise DataError(f"image {name!r} cannot be read any more: {error}") from error
        progress("read images", number, len(rows.ids))
    return pictures


def to_pixels(pictures: Sequence[Image.Image], preprocessing: Preprocessing | None) -> Tensor:
    """Return the (n, 3, h, w) pixels of pictures in [0, 1].

    Parameters
    ----------
    pictures
        Pictures; of one size if they are not resized.
    preprocessing
        Size to resize and crop to; None leaves the pictures as they are.
    """
    prepare = np.asarray if preprocessing is None else make_preprocessor(preprocessing)
    arrays = [np.atleast_3d(prepare(picture)) for picture in pictures]
    pixels = np.stack([np.broadcast_to(array, (*array.shape[:2], 3)) for array in arrays])
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255).contiguous()


def batches(n: int, size: int) -> Sequence[slice]:
    """Return slices of consecutive rows."""
    return [slice(start, min(n, start + size)) for start in range(0, n, size)]
