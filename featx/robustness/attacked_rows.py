"""Pixels of the images that are attacked, as networks take them."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from featx.errors import DataError
from featx.images.resizing import make_preprocessor
from featx.progress import ProgressCallback
from featx.robustness.sampled_rows import SampledRows, read_picture
from featx.specs.embedding import Preprocessing
from featx.study.study import Study

# Images that are attacked together and stored together.
BATCH_SIZE = 32
# Copies of the pixels of a batch that an attack holds at most, beside the network: gradients, and perturbations of
# earlier steps. Measured: 7 for FGSM, 8 for PGD, 14 for APGD, 16 for the attack of Carlini and Wagner.
N_BATCH_COPIES = 16
FLOAT_BYTES = 4
# Decoded images, their pixels as floats and the copies of a batch take less than this.
MAX_BYTES_IN_MEMORY = 16 * 2**30


def load_pictures(study: Study, rows: SampledRows, progress: ProgressCallback) -> list[Image.Image]:
    """Return the decoded images.

    Raises
    ------
    DataError
        an image is gone, unreadable or changed since the extraction, or the images take too much memory.
    """
    pictures: list[Image.Image] = []
    n_bytes = 0
    for number, (name, uri, expected_digest) in enumerate(zip(rows.ids, rows.uris, rows.digests, strict=True), start=1):
        picture = read_picture(name, uri, expected_digest, study.recipe.decoding)
        pictures.append(picture)
        n_bytes += 3 * picture.width * picture.height
        _check_memory(n_bytes, number, len(rows.ids))
        progress("read images", number, len(rows.ids))
    # Images of several sizes are resized to the input of a network, which is small.
    if len({picture.size for picture in pictures}) == 1:
        n_pixel_copies = len(pictures) + N_BATCH_COPIES * min(len(pictures), BATCH_SIZE)
        n_bytes += 3 * pictures[0].width * pictures[0].height * FLOAT_BYTES * n_pixel_copies
        _check_memory(n_bytes, len(pictures), len(rows.ids))
    return pictures


def _check_memory(n_bytes: int, n_images: int, n_all: int) -> None:
    if n_images > 1 and n_bytes > MAX_BYTES_IN_MEMORY:
        raise DataError(
            f"attacks on {n_images} of {n_all} decoded images take {n_bytes / 2**30:.0f} GiB of memory or more, of at "
            f"most {MAX_BYTES_IN_MEMORY / 2**30:.0f} GiB; choose fewer images, such as "
            f"{max(1, int(n_images * MAX_BYTES_IN_MEMORY / n_bytes * 0.9))}"
        )


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
    height, width = np.shape(prepare(pictures[0]))[:2]
    pixels = np.empty((len(pictures), 3, height, width), dtype=np.float32)
    for image_pixels, picture in zip(pixels, pictures, strict=True):
        # The one channel of a grey image is that of each colour.
        image_pixels[:] = np.atleast_3d(prepare(picture)).transpose(2, 0, 1)
    return torch.from_numpy(pixels).div_(255)


def batches(n: int, size: int) -> Sequence[slice]:
    """Return slices of consecutive rows."""
    return [slice(start, min(n, start + size)) for start in range(0, n, size)]
