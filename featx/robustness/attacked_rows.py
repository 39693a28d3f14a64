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
    n_bytes, sizes = 0, set()
    for number, (name, uri, expected_digest) in enumerate(zip(rows.ids, rows.uris, rows.digests, strict=True), start=1):
        picture = read_picture(name, uri, expected_digest, study.recipe.decoding)
        pictures.append(picture)
        sizes.add(picture.size)
        n_bytes += 3 * picture.width * picture.height
        # Images of several sizes are resized to the input of a network, which is small.
        n_attacked_bytes = _attacked_bytes(number, picture) if len(sizes) == 1 else 0
        if number > 1 and n_bytes + n_attacked_bytes > MAX_BYTES_IN_MEMORY:
            raise DataError(
                f"attacks on {number} of {len(rows.ids)} decoded images take more than "
                f"{MAX_BYTES_IN_MEMORY / 2**30:.0f} GiB of memory; choose fewer images, such as {number // 2}"
            )
        progress("read images", number, len(rows.ids))
    return pictures


def _attacked_bytes(n_images: int, picture: Image.Image) -> int:
    """Return the bytes of the pixels of n images of the size of a picture, and of the copies of a batch of them."""
    n_floats = 3 * picture.width * picture.height
    return FLOAT_BYTES * n_floats * (n_images + N_BATCH_COPIES * min(n_images, BATCH_SIZE))


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
