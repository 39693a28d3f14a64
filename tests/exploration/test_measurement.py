"""The pass over the images that measures their properties: cached by digest, and kept when it is interrupted.

Modules: exploration.property_cache.
"""

from pathlib import Path

import numpy as np
import pytest

from featx.embeddings.near_copies import find_near_copies
from featx.exploration.explored_images import ExploredImages
from featx.exploration.image_loading import load_images, open_source
from featx.exploration.measurement import IMAGES_PER_CHUNK, STAGE, measure_images
from featx.progress import no_progress
from featx.study.study import Study
from tests.conftest import make_images


class Recorder:
    """Records how many images were measured, and interrupts the pass after some of them."""

    def __init__(self, n_before_interrupt: int | None = None) -> None:
        self.n_before_interrupt = n_before_interrupt
        self.n_measured = 0

    def __call__(self, stage: str, n_done: int, total: int, /, note: str = "") -> None:
        if stage == STAGE:
            self.n_measured = n_done
            if n_done == self.n_before_interrupt:
                raise KeyboardInterrupt


def load() -> ExploredImages:
    return load_images(open_source("images", None), None, no_progress)


def test_each_content_is_measured_once(home: Path) -> None:
    make_images(home / "images", n_each=10)
    (home / "images" / "dark" / "copy.png").write_bytes((home / "images" / "dark" / "000.png").read_bytes())
    first, second = Recorder(), Recorder()
    images = measure_images(load(), first)
    assert (first.n_measured, len(images)) == (20, 21)
    assert images.properties.index.tolist() == images.ids.tolist()
    assert images.properties.loc["dark/copy.png"].equals(images.properties.loc["dark/000.png"])
    repeated_images = measure_images(load(), second)
    assert second.n_measured == 0
    assert repeated_images.properties.equals(images.properties)
    assert set(repeated_images.tiles) == set(images.digests)


def test_an_interrupted_pass_keeps_what_was_measured(home: Path) -> None:
    make_images(home / "images", n_each=IMAGES_PER_CHUNK)
    images, n_before = load(), IMAGES_PER_CHUNK + 3
    with pytest.raises(KeyboardInterrupt):
        measure_images(images, Recorder(n_before))
    second_recorder = Recorder()
    measure_images(images, second_recorder)
    assert second_recorder.n_measured == 2 * IMAGES_PER_CHUNK - n_before


def test_undecodable_and_changed_images_have_a_reason_and_no_properties(home: Path) -> None:
    make_images(home / "images", n_each=10)
    (home / "images" / "dark" / "000.png").write_bytes(b"no picture")
    images = load()
    (home / "images" / "dark" / "001.png").unlink()
    (home / "images" / "dark" / "002.png").write_bytes(b"another content")
    images = measure_images(images, no_progress)
    assert set(images.unreadable) == {f"dark/00{number}.png" for number in range(3)}
    assert images.unreadable["dark/001.png"] == "was removed while it was being read"
    assert images.unreadable["dark/002.png"] == "changed while it was being read"
    missing_properties = images.properties.loc[list(images.unreadable)]
    assert missing_properties.isna().all(axis=None)
    assert len(images.tiles) == 17


def test_the_search_for_copies_uses_the_same_thumbnails(toy_home: Path) -> None:
    import featx

    featx.extract()
    study = Study.open(None)
    stages: list[str] = []

    def record(stage: str, n_done: int, total: int, /, note: str = "") -> None:
        stages.append(stage)

    pairs_before = find_near_copies(study, no_progress).pairs
    copies_file = study.folder / "copies.json"
    copies_file.unlink()
    (study.cache.local_folder / "thumbnails.sqlite").unlink()
    measure_images(load_images(open_source(None, None), None, no_progress), no_progress)
    pairs_after = find_near_copies(study, record).pairs
    assert set(stages) == {"compare images"}
    assert np.array_equal(pairs_after.to_numpy(), pairs_before.to_numpy())
