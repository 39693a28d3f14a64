"""Examples of attacked images for the report: small pictures before and after, and of the difference."""

import io

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from featx.robustness.attack_storage import EXAMPLE_COLUMNS, AttackFiles

# Number of examples of one attack on one run, and their longest side.
MAX_EXAMPLES, MAX_SIDE_PX = 2, 160
# The difference is shown with this factor, around mid-grey.
DIFFERENCE_FACTOR, MID_GREY = 10, 0.5


def add_examples(files: AttackFiles, frame: pd.DataFrame, original_pixels: Tensor, attacked_pixels: Tensor) -> None:
    """Store the first images of a batch on which the attack succeeds, until there are enough.

    Parameters
    ----------
    files
        Files of the attack.
    frame
        Rows of the attacked run in the order of the images.
    original_pixels, attacked_pixels
        (b, 3, h, w) pixels in [0, 1].
    """
    stored_examples = files.read_examples()
    is_successful = (frame["is_right_before"] & ~frame["is_right"]).to_numpy(bool)
    example_rows = np.flatnonzero(is_successful)[: MAX_EXAMPLES - len(stored_examples)]
    ids = frame["id"].to_numpy(object)
    rows = [
        (ids[i], *(_png(picture) for picture in _pictures(original_pixels[i].numpy(), attacked_pixels[i].numpy())))
        for i in example_rows
        if ids[i] not in set(stored_examples["id"])
    ]
    if rows:
        new_examples = pd.DataFrame(rows, columns=list(EXAMPLE_COLUMNS))
        files.write_examples(
            pd.concat([stored_examples, new_examples], ignore_index=True) if len(stored_examples) else new_examples
        )


def _pictures(
    original_pixels: NDArray[np.float32], attacked_pixels: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return original, enlarged difference around mid-grey, and attacked picture."""
    difference = MID_GREY + DIFFERENCE_FACTOR * (attacked_pixels - original_pixels)
    return original_pixels, np.clip(difference, 0, 1), attacked_pixels


def _png(pixels: NDArray[np.float32]) -> bytes:
    """Return (3, h, w) pixels in [0, 1] as a small PNG file."""
    picture = Image.fromarray(np.rint(255 * pixels.transpose(1, 2, 0)).astype(np.uint8))
    picture.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
