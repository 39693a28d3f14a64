"""Resizing by matrix products equals Pillow's up to its rounding, for all ways of resizing."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

from featx.images.resizing import FILTERS, make_preprocessor
from featx.robustness.attacked_rows import to_pixels
from featx.robustness.differentiable_resizing import resize_pixels
from featx.specs.embedding import Preprocessing

PICTURE = Image.fromarray(load_sample_image("china.jpg")).resize((160, 107))


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("resize", ["crop", "squash", "border"])
@pytest.mark.parametrize("side", [48, 107, 150])
def test_pixels_are_those_of_the_pipeline(interpolation: str, resize: str, side: int) -> None:
    fields = {"size_px": side, "mean": (0.5, 0.4, 0.3), "std": (0.5, 0.5, 0.5)}
    size = Preprocessing(**fields, resize=resize, interpolation=interpolation)  # type: ignore[arg-type]
    expected = np.atleast_3d(make_preprocessor(size)(PICTURE)).astype(float)
    pixels = 255 * resize_pixels(to_pixels([PICTURE], None).double(), size)[0].permute(1, 2, 0).numpy()
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= 2
    assert np.abs(pixels - expected).mean() < 0.5


def test_grey_pictures_have_three_equal_channels() -> None:
    pixels = to_pixels([PICTURE.convert("L")] * 2, None)
    assert pixels.shape == (2, 3, 107, 160)
    assert torch.equal(pixels[:, 0], pixels[:, 2])
