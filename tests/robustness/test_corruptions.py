"""Corruptions: damage grows with severity for every kind, equal seeds give equal pixels, any size and grey pictures.

Modules: robustness.corruptions.blur, robustness.corruptions.compression, robustness.corruptions.corruption,
robustness.corruptions.geometry, robustness.corruptions.noise, robustness.corruptions.weather.
"""

import hashlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image

from featx.errors import UnknownNameError
from featx.robustness.corruptions.corruption import CORRUPTIONS, SEVERITIES, corrupt

Floats = NDArray[np.float64]
N_PICTURES = 30


def photographs(side: int = 64) -> list[Floats]:
    """Return colour pictures, parts of two photographs."""
    rng = np.random.default_rng(0)
    pictures = []
    for number in range(N_PICTURES):
        photograph = load_sample_image(("china.jpg", "flower.jpg")[number % 2]) / 255
        top, left = (int(rng.integers(0, size - 2 * side)) for size in photograph.shape[:2])
        pictures.append(photograph[top : top + 2 * side : 2, left : left + 2 * side : 2])
    return pictures


PICTURES = photographs()


def spectrum_change(before: Floats, after: Floats) -> float:
    """Return the distance of the logarithms of two power spectra."""
    before, after = (np.log(np.abs(np.fft.fft2(x.mean(axis=2))) + 1e-3) for x in (before, after))
    return float(np.abs(before - after).mean())


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_damage_grows_with_severity(kind: str) -> None:
    changes, spectra = [], []
    for severity in SEVERITIES:
        damaged = [corrupt(picture, kind, severity, str(number)) for number, picture in enumerate(PICTURES)]
        pairs = list(zip(PICTURES, damaged, strict=True))
        changes.append(np.mean([((before - after) ** 2).mean() ** 0.5 for before, after in pairs]))
        spectra.append(np.mean([spectrum_change(before, after) for before, after in pairs]))
    assert changes == sorted(changes)
    assert changes[0] > 0.005
    assert changes[-1] > 1.5 * changes[0]
    assert spectra[-1] > spectra[0]


@pytest.mark.parametrize("shape", [(32, 32, 1), (8, 8, 3), (40, 25, 3), (9, 64, 1)], ids=str)
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_any_size_and_grey_pictures_are_damaged(kind: str, shape: tuple[int, int, int]) -> None:
    height, width, channels = shape
    picture = PICTURES[0][:height, :width, :channels]
    for severity in (1, 5):
        damaged = corrupt(picture, kind, severity, "digest")
        assert damaged.shape == shape
        assert damaged.dtype == np.float64
        assert 0 <= damaged.min() <= damaged.max() <= 1
    assert not np.array_equal(corrupt(picture, kind, 5, "digest"), picture)


def checksum(number: int) -> str:
    """Return the checksum of all corruptions of one picture."""
    damaged = [corrupt(PICTURES[number], kind, 3, str(number)) for kind in CORRUPTIONS]
    return hashlib.sha256(np.stack(damaged).tobytes()).hexdigest()


def test_equal_seeds_give_equal_pixels_on_one_and_two_processes() -> None:
    numbers = range(3)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        assert list(processes.map(checksum, numbers)) == [checksum(number) for number in numbers]


def test_other_images_and_severities_have_other_noise() -> None:
    grey = np.full((16, 16, 3), 0.5)
    noises = [corrupt(grey, "gaussian_noise", *choice) - grey for choice in ((1, "a"), (1, "b"), (2, "a"))]
    for one, other in ((0, 1), (0, 2)):
        assert abs(np.corrcoef(noises[one].ravel(), noises[other].ravel())[0, 1]) < 0.2


def test_the_original_is_not_changed() -> None:
    picture = PICTURES[0].copy()
    for kind in CORRUPTIONS:
        corrupt(picture, kind, 5, "digest")
    assert np.array_equal(picture, PICTURES[0])


def test_unknown_kinds_and_severities_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="no corruption is called 'gausian_blur'.*gaussian_blur"):
        corrupt(PICTURES[0], "gausian_blur", 1, "")
    with pytest.raises(ValueError, match="found severity 6, expected 1 to 5"):
        corrupt(PICTURES[0], "fog", 6, "")
