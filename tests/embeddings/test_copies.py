"""Copies are found among images that look alike."""

import io

import numpy as np
import pytest
from PIL import Image

from featx.embeddings import copies
from featx.embeddings.copies import MIN_COPY_CORRELATION, ThumbnailHashes
from featx.images.hashes import THUMBNAIL_PX, difference_hashes

SIZE = 192


def look_alikes(n: int, seed: int) -> list[Image.Image]:
    """Return grey pictures that share a frame, bars and shading, each with faint stains of its own."""
    rng = np.random.default_rng(seed)
    common = np.full((SIZE, SIZE), 150.0) + 40 * np.linspace(-1, 1, SIZE)[:, None] ** 2
    for bar in (40, 96, 152):
        common[bar : bar + 5] = 40
    common[:5] = common[-5:] = 20
    images = []
    for stains in rng.normal(0, 12, (n, 7, 7)):
        stain_pixels = np.asarray(Image.fromarray(stains).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        images.append(
            Image.fromarray(
                (common + stain_pixels + rng.normal(0, 3, stain_pixels.shape)).clip(0, 255).astype(np.uint8)
            )
        )
    return images


def encoded(image: Image.Image, quality: int = 75) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def thumbnails(images: list[Image.Image]) -> np.ndarray:
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    return np.stack([np.asarray(image.convert("L").resize(size, Image.Resampling.BILINEAR)) for image in images])


def found_pairs(hashes: ThumbnailHashes, n_of: int) -> set[tuple[int, int]]:
    """Return the pairs among the first `n_of` rows and the others."""
    rows = np.arange(len(hashes.thumbnails))
    i, j, similarity = hashes.copies(rows[:n_of], rows[n_of:])
    assert (similarity >= MIN_COPY_CORRELATION).all()
    assert len(i) == len(set(zip(i, j, strict=True)))
    return set(zip(i.tolist(), j.tolist(), strict=True))


def test_encoded_and_resized_copies_are_found_but_not_look_alikes() -> None:
    originals = look_alikes(300, seed=0)
    copies = [
        encoded(image) if number % 2 else image.resize((SIZE // 2, SIZE // 2), Image.Resampling.LANCZOS)
        for number, image in enumerate(originals[:100])
    ]
    hashes = ThumbnailHashes(thumbnails([*copies, *originals]))
    pairs = found_pairs(hashes, 100)
    true_pairs = {(number, 100 + number) for number in range(100)}
    assert len(pairs & true_pairs) >= 95
    assert len(pairs - true_pairs) <= 3
    similarity = hashes.similarity(np.arange(100, 399), np.arange(101, 400))
    assert np.median(abs(similarity)) < 0.5  # what look-alikes have in common is taken out


def test_whole_thumbnails_of_look_alikes_correlate_highly() -> None:
    hashes = ThumbnailHashes(thumbnails(look_alikes(50, seed=1)))
    units = hashes._unit_thumbnails(np.arange(50))
    assert (units @ units.T).min() > 0.85


def test_nearly_all_may_be_copies_of_one_image() -> None:
    (original,) = look_alikes(1, seed=2)
    hashes = ThumbnailHashes(thumbnails([encoded(original, quality) for quality in range(80, 100)]))
    pairs = found_pairs(hashes, 1)
    assert len(pairs) == copies.NEIGHBOURS


def test_two_images_are_enough_to_tell_copies_from_look_alikes() -> None:
    original, look_alike = look_alikes(2, seed=3)
    assert found_pairs(ThumbnailHashes(thumbnails([original, encoded(original, 90)])), 1) == {(0, 1)}
    assert found_pairs(ThumbnailHashes(thumbnails([original, look_alike])), 1) == set()


def test_flat_images_are_no_copies_of_each_other() -> None:
    flat = np.stack([np.full((THUMBNAIL_PX, THUMBNAIL_PX), level, np.uint8) for level in (0, 0, 3, 255)])
    assert found_pairs(ThumbnailHashes(flat), 2) == set()
    dead_pixels = np.zeros((4, THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    dead_pixels[:, 3::7, 5::9] = 1
    assert found_pairs(ThumbnailHashes(dead_pixels), 2) == set()


@pytest.mark.parametrize("sizes", [(0, 0), (0, 4), (4, 0), (1, 1)])
def test_parts_may_be_empty_or_a_single_image(sizes: tuple[int, int]) -> None:
    hashes = ThumbnailHashes(
        thumbnails(look_alikes(8, seed=4)) if sum(sizes) else np.zeros((0, THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    )
    i, j, similarity = hashes.copies(np.arange(sizes[0]), np.arange(sizes[0], sum(sizes)))
    assert len(i) == len(j) == len(similarity) == 0


def test_embeddings_propose_copies_that_hashes_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "NEIGHBOURS", 1)
    originals = look_alikes(60, seed=5)
    original_thumbnails, encoded_thumbnails = (
        thumbnails(originals),
        thumbnails([encoded(image, 60) for image in originals]),
    )
    hardest = int(
        np.bitwise_count(difference_hashes(original_thumbnails) ^ difference_hashes(encoded_thumbnails)).argmax()
    )
    decoy = original_thumbnails[hardest].copy()
    decoy[5:9, 5:9] = decoy[5:9, 5:9].mean()  # another picture with nearly all of the hash's bits
    images = np.stack([original_thumbnails[hardest], encoded_thumbnails[hardest], decoy, *original_thumbnails[:40]])
    x = np.eye(len(images), dtype=np.float32)
    x[1] = x[0]
    rows, other_rows = np.array([0]), np.array([1, 2])
    assert ThumbnailHashes(images).copies(rows, other_rows)[1].tolist() == []
    assert ThumbnailHashes(images, x).copies(rows, other_rows)[1].tolist() == [1]


def test_the_block_size_does_not_change_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    originals = look_alikes(40, seed=6)
    images = thumbnails([*map(encoded, originals[:20]), *originals])
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    pairs = found_pairs(ThumbnailHashes(images, x), 20)
    assert len(pairs) >= 19
    monkeypatch.setattr(copies, "MAX_CELLS", 1)
    monkeypatch.setattr(copies, "MAX_PAIRS_AT_ONCE", 7)
    assert found_pairs(ThumbnailHashes(images, x), 20) == pairs


def test_images_without_an_embedding_are_compared_by_their_hashes() -> None:
    originals = look_alikes(30, seed=7)
    hashes = ThumbnailHashes(thumbnails([*map(encoded, originals[:10]), *originals]), np.zeros((40, 4), np.float32))
    assert len(found_pairs(hashes, 10)) >= 9


@pytest.mark.parametrize("n_features", [600, 5000])
def test_the_nearest_vectors_are_found_among_few_and_many_features(n_features: int) -> None:
    rng = np.random.default_rng(0)
    centre = rng.normal(size=n_features)
    x = (centre + rng.normal(size=(300, n_features))).astype(np.float32)
    # Copies: the same vector with a twentieth of the spread as noise, as of an image that is encoded again.
    x[150:] = x[:150] + 0.05 * rng.normal(size=(150, n_features)).astype(np.float32)
    ((values, closeness),) = ThumbnailHashes(np.zeros((300, 4, 4), np.uint8), x)._comparisons[1:]
    assert values.shape[1] == min(n_features, copies.N_PROJECTED)
    nearest = closeness(values[:150], values[150:]).argmax(axis=1)
    assert nearest.tolist() == list(range(150))
