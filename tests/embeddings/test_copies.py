"""Copies among images that look alike."""

import io

import numpy as np
import pytest
from PIL import Image

from featx.embeddings import copies
from featx.embeddings.copies import COPIED, ThumbnailHashes
from featx.images.hashes import SIDE, dhash

SIZE = 192


def look_alikes(n: int, seed: int) -> list[Image.Image]:
    """Return grey pictures that share a frame, bars and shading, each with faint stains of its own."""
    rng = np.random.default_rng(seed)
    common = np.full((SIZE, SIZE), 150.0) + 40 * np.linspace(-1, 1, SIZE)[:, None] ** 2
    for bar in (40, 96, 152):
        common[bar : bar + 5] = 40
    common[:5] = common[-5:] = 20
    found = []
    for stains in rng.normal(0, 12, (n, 7, 7)):
        own = np.asarray(Image.fromarray(stains).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        found.append(Image.fromarray((common + own + rng.normal(0, 3, own.shape)).clip(0, 255).astype(np.uint8)))
    return found


def encoded(image: Image.Image, quality: int = 75) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def thumbnails(images: list[Image.Image]) -> np.ndarray:
    size = (SIDE, SIDE)
    return np.stack([np.asarray(one.convert("L").resize(size, Image.Resampling.BILINEAR)) for one in images])


def found(looks: ThumbnailHashes, n_of: int) -> set[tuple[int, int]]:
    """Return the pairs among the first `n_of` rows and the others."""
    every = np.arange(len(looks.thumbnails))
    one, other, alike = looks.copies(every[:n_of], every[n_of:])
    assert (alike >= COPIED).all()
    assert len(one) == len(set(zip(one, other, strict=True)))
    return set(zip(one.tolist(), other.tolist(), strict=True))


def test_reencoded_and_resized_copies_are_found_and_look_alikes_are_not() -> None:
    originals = look_alikes(300, seed=0)
    copied = [
        encoded(one) if at % 2 else one.resize((SIZE // 2, SIZE // 2), Image.Resampling.LANCZOS)
        for at, one in enumerate(originals[:100])
    ]
    looks = ThumbnailHashes(thumbnails([*copied, *originals]))
    pairs = found(looks, 100)
    true = {(at, 100 + at) for at in range(100)}
    assert len(pairs & true) >= 95
    assert len(pairs - true) <= 3
    whole = looks.similarity(np.arange(100, 399), np.arange(101, 400))
    assert np.median(abs(whole)) < 0.5  # what look-alikes have in common is taken out


def test_without_taking_out_what_all_have_in_common_look_alikes_would_be_copies() -> None:
    looks = ThumbnailHashes(thumbnails(look_alikes(50, seed=1)))
    units = looks._unit_thumbnails(np.arange(50))
    assert (units @ units.T).min() > 0.85


def test_nearly_all_may_be_copies_of_one_image() -> None:
    (one,) = look_alikes(1, seed=2)
    looks = ThumbnailHashes(thumbnails([encoded(one, quality) for quality in range(80, 100)]))
    pairs = found(looks, 1)
    assert len(pairs) == copies.NEIGHBOURS


def test_of_two_images_a_copy_is_found_and_another_is_not() -> None:
    one, other = look_alikes(2, seed=3)
    assert found(ThumbnailHashes(thumbnails([one, encoded(one, 90)])), 1) == {(0, 1)}
    assert found(ThumbnailHashes(thumbnails([one, other])), 1) == set()


def test_flat_images_are_no_copies_of_each_other() -> None:
    flat = np.stack([np.full((SIDE, SIDE), level, np.uint8) for level in (0, 0, 3, 255)])
    assert found(ThumbnailHashes(flat), 2) == set()
    dead_pixels = np.zeros((4, SIDE, SIDE), np.uint8)
    dead_pixels[:, 3::7, 5::9] = 1
    assert found(ThumbnailHashes(dead_pixels), 2) == set()


@pytest.mark.parametrize("sizes", [(0, 0), (0, 4), (4, 0), (1, 1)])
def test_parts_may_be_empty_or_a_single_image(sizes: tuple[int, int]) -> None:
    looks = ThumbnailHashes(thumbnails(look_alikes(8, seed=4)) if sum(sizes) else np.zeros((0, SIDE, SIDE), np.uint8))
    one, other, alike = looks.copies(np.arange(sizes[0]), np.arange(sizes[0], sum(sizes)))
    assert len(one) == len(other) == len(alike) == 0


def test_what_the_hash_misses_the_embedding_proposes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "NEIGHBOURS", 1)
    originals = look_alikes(60, seed=5)
    before, after = thumbnails(originals), thumbnails([encoded(one, 60) for one in originals])
    at = int(np.bitwise_count(dhash(before) ^ dhash(after)).argmax())
    decoy = before[at].copy()
    decoy[5:9, 5:9] = decoy[5:9, 5:9].mean()  # another picture with nearly all of the hash's bits
    small = np.stack([before[at], after[at], decoy, *before[:40]])
    x = np.eye(len(small), dtype=np.float32)
    x[1] = x[0]
    of, among = np.array([0]), np.array([1, 2])
    assert ThumbnailHashes(small).copies(of, among)[1].tolist() == []
    assert ThumbnailHashes(small, x).copies(of, among)[1].tolist() == [1]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    originals = look_alikes(40, seed=6)
    small = thumbnails([*map(encoded, originals[:20]), *originals])
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    whole = found(ThumbnailHashes(small, x), 20)
    assert len(whole) >= 19
    monkeypatch.setattr(copies, "MAX_CELLS", 1)
    monkeypatch.setattr(copies, "MAX_PAIRS_AT_ONCE", 7)
    assert found(ThumbnailHashes(small, x), 20) == whole


def test_images_without_an_embedding_are_compared_by_their_hashes() -> None:
    originals = look_alikes(30, seed=7)
    looks = ThumbnailHashes(thumbnails([*map(encoded, originals[:10]), *originals]), np.zeros((40, 4), np.float32))
    assert len(found(looks, 10)) >= 9
