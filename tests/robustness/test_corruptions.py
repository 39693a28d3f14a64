"""Corruptions: damage grows with severity for every kind, equal seeds give equal pixels, any size and grey pictures.

Modules: robustness.corruptions.blur, robustness.corruptions.compression, robustness.corruptions.corruption,
robustness.corruptions.geometry, robustness.corruptions.kinds, robustness.corruptions.noise,
robustness.corruptions.probes, robustness.corruptions.weather.
"""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from sklearn.datasets import load_sample_image

from featx.embeddings.workers import decode_images
from featx.errors import UnknownNameError
from featx.registry import CORRUPTIONS
from featx.robustness.corrupted_pictures import CorruptingDecoder
from featx.robustness.corruptions.corruption import Corruption
from featx.robustness.corruptions.probes import DIRECTIONS
from featx.specs.corrupting import (
    GROUPS_OF_KINDS,
    IMAGENET_C_KINDS,
    KIND_FAMILIES,
    PROBE,
    SEVERITIES,
    CorruptionSpec,
    kinds_in,
)
from featx.specs.embedding import Preprocessing
from tests.robustness.corrupted_pixels import corrupt_pixels

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
DAMAGE: dict[str, Corruption] = {
    kind: CORRUPTIONS.get(kind) for kind in kinds_in([family for family in KIND_FAMILIES if family != PROBE])
}


def spectrum_change(original: Floats, damaged: Floats) -> float:
    """Return the distance of the logarithms of two power spectra."""
    original, damaged = (np.log(np.abs(np.fft.fft2(x.mean(axis=2))) + 1e-3) for x in (original, damaged))
    return float(np.abs(original - damaged).mean())


def statistics_change(original: Floats, damaged: Floats) -> list[float]:
    """Return the root mean square change of pixels, and the changes of mean, standard deviation and spectrum."""
    square = float(((original - damaged) ** 2).mean() ** 0.5)
    return [
        square,
        abs(original.mean() - damaged.mean()),
        abs(original.std() - damaged.std()),
        spectrum_change(original, damaged),
    ]


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_grows_with_severity(kind: str) -> None:
    changes = []
    for severity in SEVERITIES:
        damaged_pictures = [
            corrupt_pixels(picture, kind, severity, str(number)) for number, picture in enumerate(PICTURES)
        ]
        pairs = zip(PICTURES, damaged_pictures, strict=True)
        changes.append(np.mean([statistics_change(*pair) for pair in pairs], axis=0))
    # Blur keeps the mean, and the spectrum of moved content does not change further: what is left is chance.
    for name, values in zip(("pixels", "mean", "deviation", "spectrum"), np.transpose(changes), strict=True):
        assert np.diff(values).min() >= -max(0.002, 0.05 * values.max()), name
    assert all(changes[number][0] < changes[number + 1][0] for number in range(len(SEVERITIES) - 1))
    assert changes[0][0] > 0.005
    assert changes[-1][0] > 1.5 * changes[0][0]


@pytest.mark.parametrize("shape", [(32, 32, 1), (8, 8, 3), (40, 25, 3), (9, 64, 1)], ids=str)
@pytest.mark.parametrize("kind", kinds_in([]))
def test_any_size_and_grey_pictures_are_damaged(kind: str, shape: tuple[int, int, int]) -> None:
    height, width, channels = shape
    picture = PICTURES[0][:height, :width, :channels]
    for severity in (1, len(CORRUPTIONS.get(kind).strengths)):
        damaged_picture = corrupt_pixels(picture, kind, severity, "digest")
        assert damaged_picture.shape == shape
        assert damaged_picture.dtype == np.float64
        assert 0 <= damaged_picture.min() <= damaged_picture.max() <= 1
    assert not np.array_equal(corrupt_pixels(picture, kind, 1, "digest"), picture)


def test_equal_seeds_give_equal_pixels_on_one_and_two_processes() -> None:
    levels = [(str(number), (255 * picture).round().astype(np.uint8)) for number, picture in enumerate(PICTURES[:2])]
    size = Preprocessing(size_px=64, mean=(0, 0, 0), std=(1, 1, 1))
    for kind, corruption in DAMAGE.items():
        decoder = CorruptingDecoder(corruption, kind, 3, (size,))
        expected_sizes = decoder.decode_chunk(levels)[0]
        for (_, sizes, _), expected in zip(decode_images(levels, decoder, 2, 1), expected_sizes, strict=True):
            assert np.array_equal(sizes[0], expected[0]), kind


def test_other_images_and_severities_have_other_noise() -> None:
    grey = np.full((16, 16, 3), 0.5)
    noises = [corrupt_pixels(grey, "gaussian_noise", *choice) - grey for choice in ((1, "a"), (1, "b"), (2, "a"))]
    for i, j in ((0, 1), (0, 2)):
        assert abs(np.corrcoef(noises[i].ravel(), noises[j].ravel())[0, 1]) < 0.2


def test_the_original_is_not_changed() -> None:
    picture = PICTURES[0].copy()
    for kind in DAMAGE:
        corrupt_pixels(picture, kind, 5, "digest")
    assert np.array_equal(picture, PICTURES[0])


def test_unknown_kinds_and_severities_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="no corruption is called 'gausian_blur'.*gaussian_blur"):
        corrupt_pixels(PICTURES[0], "gausian_blur", 1, "")
    with pytest.raises(ValueError, match="found severity 6, expected 1 to 5"):
        corrupt_pixels(PICTURES[0], "fog", 6, "")


def test_kinds_are_those_of_imagenet_c_and_more() -> None:
    assert set(DAMAGE) == IMAGENET_C_KINDS | {
        *("speckle_noise", "gaussian_blur", "spatter", "saturate"),
        *("jpeg_recompression", "occlusion", "rotation", "shift"),
    }
    assert len(IMAGENET_C_KINDS) == 15
    assert set(GROUPS_OF_KINDS) == {*KIND_FAMILIES, "imagenet-c"}


def test_names_of_groups_mean_their_kinds() -> None:
    assert set(kinds_in(["imagenet-c"])) == IMAGENET_C_KINDS
    assert set(kinds_in(["noise", "fog"])) == {
        *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "fog")
    }
    assert set(kinds_in([])) == set(CORRUPTIONS.names())
    with pytest.raises(ValidationError, match="no corruption is called 'blurr'; did you mean 'blur'"):
        CorruptionSpec(kinds=("blurr",))
    with pytest.raises(ValueError, match="found family 'sound', expected one of noise, blur"):
        Corruption("sound", lambda pixels, strength, rng: pixels, (1.0,))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_the_dtype_and_the_range_are_kept(dtype: str) -> None:
    white = 1 if dtype == "float32" else np.iinfo(dtype).max
    values = (PICTURES[0][:, :, 0] * white).astype(dtype)
    for kind, corruption in DAMAGE.items():
        damaged_values = corruption.apply_to_values(values, 3, np.random.default_rng(0))
        assert damaged_values.shape == values.shape, kind
        assert damaged_values.dtype == values.dtype
        assert damaged_values.max() > white / 4
    # Pixels in 0 … 1000 of 16 bits are damaged within this range.
    narrow = (PICTURES[0] * 1000).astype(np.uint16)
    brighter = DAMAGE["brightness"].apply_to_values(narrow, 5, np.random.default_rng(0), (0, 1000))
    assert 900 < brighter.max() <= 1000


def test_shifts_by_one_pixel_move_the_content_and_reflect_the_edge() -> None:
    picture = PICTURES[0]
    shifted_pictures = [corrupt_pixels(picture, "pixel_shift", level, "") for level in range(1, 9)]
    up, right = shifted_pictures[:2]
    assert np.array_equal(up[:-1], picture[1:])
    assert np.array_equal(up[-1], picture[-2])
    assert np.array_equal(right[:, 1:], picture[:, :-1])
    assert np.array_equal(right[:, 0], picture[:, 1])
    assert len({shifted.tobytes() for shifted in shifted_pictures}) == len(DIRECTIONS) == 8


def test_shuffled_patches_keep_all_pixels_and_leave_none_in_its_place() -> None:
    picture = PICTURES[0]
    for level, n_patches in enumerate((2, 3, 4, 6, 8), start=1):
        shuffled_picture = corrupt_pixels(picture, "patch_shuffle", level, "digest")
        assert np.array_equal(np.sort(shuffled_picture.ravel()), np.sort(picture.ravel()))
        side = 64 // n_patches
        for top, left in product(range(0, n_patches * side, side), repeat=2):
            patch = slice(top, top + side), slice(left, left + side)
            assert not np.array_equal(shuffled_picture[patch], picture[patch])


def test_edges_are_black_on_white() -> None:
    square = np.zeros((32, 32, 3))
    square[8:24, 8:24] = 0.7
    edge_pixels = corrupt_pixels(square, "edges", 1, "")
    assert edge_pixels[0, 0].tolist() == edge_pixels[16, 16].tolist() == [1, 1, 1]
    assert edge_pixels[8, 16].max() < 0.1
    # The colour of the square does not matter, only its outline does.
    np.testing.assert_allclose(corrupt_pixels(square / 2, "edges", 1, ""), edge_pixels, atol=1e-9)
