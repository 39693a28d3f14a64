"""Rows of a study whose images are attacked: an even sample of each class, and their pixels as networks take them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from featx.errors import DataError, UnsuitedError
from featx.images.resizing import make_preprocessor
from featx.progress import ProgressCallback
from featx.robustness.sampled_rows import read_picture, sample_positions
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
    ids
        Ids of the n images.
    codes
        (n,) codes of the true classes.
    classes
        Names of the classes.
    digests
        Digests of the images, as the last extraction recorded them.
    uris
        Places of the images.
    n_rows
        Number of rows of the part, of which these are a sample.
    """

    part: str
    ids: Ids
    codes: NDArray[np.int64]
    classes: tuple[str, ...]
    digests: tuple[str, ...]
    uris: tuple[str, ...]
    n_rows: int


def select_rows(study: Study, truth: AnyTruth, part: str, n_images: int, seed: int) -> AttackedRows:
    """Return a sample of the rows of a part with known classes, in which each class keeps its share.

    Raises
    ------
    UnsuitedError
        the target has no classes.
    DataError
        the part has no rows.
    """
    if not isinstance(truth, Truth):
        raise UnsuitedError(
            f"the target has {truth.kind}; attacks change the answer of a target with classes: name one by '--target'"
        )
    all_ids = study.ids(part)
    if not len(all_ids):
        raise DataError(f"the split has no {part} rows to attack; set 'split.{part} = 0.2' or provide a {part} part")
    chosen = truth.take(all_ids)
    positions = sample_positions(chosen.codes, n_images, seed)
    ids, codes = np.asarray(all_ids, dtype=object)[positions], chosen.codes[positions]
    images = study.manifest.take(ids)
    return AttackedRows(part, ids, codes, truth.classes, tuple(images.digests), tuple(images.uris), len(all_ids))


def load_pictures(study: Study, rows: AttackedRows, progress: ProgressCallback) -> list[Image.Image]:
    """Return the decoded images.

    Raises
    ------
    DataError
        an image is gone, unreadable or changed since the extraction.
    """
    pictures = []
    for number, (name, uri, expected) in enumerate(zip(rows.ids, rows.uris, rows.digests, strict=True), start=1):
        pictures.append(read_picture(name, uri, expected, study.recipe.decoding))
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
