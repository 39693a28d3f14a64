"""Hashes and thumbnails of images, and their cache."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.embeddings.workers import Decoder
from featx.images.hashes import THUMBNAIL_PREPROCESSING, THUMBNAIL_PX, ThumbnailCache, difference_hashes, to_grey
from featx.specs.embedding import Decoding


def textures(n: int, side: int = THUMBNAIL_PX, seed: int = 0) -> np.ndarray:
    """Return (n, side, side) smooth grey pictures."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (n, 6, 6), dtype=np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(grid).resize((side, side), Image.Resampling.BICUBIC)) for grid in small]
    )


def n_different_bits(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.bitwise_count(difference_hashes(first) ^ difference_hashes(second))


def test_a_hash_compares_neighbouring_cell_means() -> None:
    (image,) = textures(1, side=72)
    cells = image.reshape(8, 9, 72, 1).mean(1).reshape(8, 9, 8).mean(2)  # 8 rows of 9 cells
    rises = (cells[:, 1:] > cells[:, :-1]).ravel()
    assert difference_hashes(image[None]).view(np.uint8).tolist() == np.packbits(rises).tolist()


def test_hashes_of_a_batch_equal_hashes_of_single_images() -> None:
    images = textures(20)
    assert difference_hashes(images).tolist() == [int(difference_hashes(image[None])[0]) for image in images]
    assert len(set(difference_hashes(images).tolist())) == 20
    assert difference_hashes(images[:0]).shape == (0,)


def test_a_hash_is_stable_under_resizing_and_brightness() -> None:
    large = textures(20, side=96)
    halved = np.stack([np.asarray(Image.fromarray(image).resize((48, 48))) for image in large])
    assert n_different_bits(large, halved).max() <= 4
    assert n_different_bits(large, large // 2 + 50).max() <= 4
    assert n_different_bits(large, np.roll(large, 1, axis=0)).min() >= 12


def test_flat_images_have_a_hash_of_zero() -> None:
    assert difference_hashes(np.full((2, THUMBNAIL_PX, THUMBNAIL_PX), 7, np.uint8)).tolist() == [0, 0]


def test_grey_levels_equal_pillows() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).convert("L")).astype(int)
    assert abs(to_grey(pixels) - expected).max() <= 1
    assert (to_grey(pixels[..., :1]) == pixels[..., 0]).all()


def test_a_decoder_in_a_worker_makes_thumbnails_of_whole_images() -> None:
    image = np.zeros((40, 80, 3), np.uint8)
    image[:, 70:] = 255  # what a crop to the middle square would lose
    from featx.images.contents import digest

    (small,) = Decoder(Decoding(), (THUMBNAIL_PREPROCESSING,)).decode(digest(image), image)
    assert isinstance(small, np.ndarray)
    assert to_grey(small).shape == (THUMBNAIL_PX, THUMBNAIL_PX)
    assert to_grey(small)[:, -2:].min() > 200


def test_thumbnails_are_cached_by_content_and_decoding(tmp_path: Path) -> None:
    images = textures(3)
    names = ["a", "b", "c"]
    file = tmp_path / "deep" / "thumbnails.sqlite"
    with ThumbnailCache(file, Decoding()) as cache:
        assert cache.known(names) == {}
        cache.remember(zip(names, images, strict=True))
        cache.remember([("a", images[0])])
    with ThumbnailCache(file, Decoding()) as cache, ThumbnailCache(file, Decoding(background="#000000")) as other_cache:
        thumbnails = cache.known(["c", "d", "a"])
        assert other_cache.known(names) == {}
    assert set(thumbnails) == {"a", "c"}
    assert (thumbnails["c"] == images[2]).all()


def test_a_damaged_thumbnail_cache_is_created_again(tmp_path: Path) -> None:
    file = tmp_path / "thumbnails.sqlite"
    file.write_bytes(b"no database" * 1000)
    with ThumbnailCache(file, Decoding()) as cache:
        cache.remember([("a", textures(1)[0])])
        assert set(cache.known(["a"])) == {"a"}


@pytest.mark.parametrize("shape", [(THUMBNAIL_PX, THUMBNAIL_PX), (9, 8), (40, 17)])
def test_cell_means_weigh_pixels_equally(shape: tuple[int, int]) -> None:
    flat = np.full((1, *shape), 200, np.uint8)
    ramp = np.tile(np.linspace(0, 255, shape[1]).astype(np.uint8), (1, shape[0], 1))
    assert difference_hashes(flat).tolist() == [0]
    assert difference_hashes(ramp).tolist() == [2**64 - 1]
