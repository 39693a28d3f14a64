"""Pixels of the images that are attacked, as networks take them."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from featx.images.resizing import make_preprocessor
from featx.progress import ProgressCallback
from featx.robustness.sampled_rows import SampledRows, read_picture
from featx.specs.embedding import Preprocessing
from featx.study.study import Study


def load_pictures(study: Study, rows: SampledRows, progress: ProgressCallback) -> list[Image.Image]:
    """Return the decoded images.

    Raises
    ------
    DataError
        an image is gone, unreadable or changed since the extraction.
    """
    pictures = []
    for number, (name, uri, expected_digest) in enumerate(zip(rows.ids, rows.uris, rows.digests, strict=True), start=1):
        pictures.append(read_picture(name, uri, expected_digest, study.recipe.decoding))
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
