"""Pixels of attacked images are exact, and more images than fit into memory are refused before any attack."""

import numpy as np
import pytest
import torch
from PIL import Image

from featx.errors import DataError
from featx.progress import no_progress
from featx.robustness.attack_job import prepare_attacks
from featx.robustness.attacked_rows import load_pictures, to_pixels
from featx.robustness.sampled_rows import SampledRows
from featx.specs.attacking import AttackSection
from featx.study.study import Study

SECTION = AttackSection(methods=("pgd",), runs=("logreg",), images=9)


def test_every_level_is_its_fraction_of_255() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    colours = np.stack([levels, levels[::-1], levels.T], axis=2)
    pixels = to_pixels([Image.fromarray(colours), Image.fromarray(levels)], None)
    expected = torch.from_numpy(np.stack([colours, np.stack([levels] * 3, axis=2)])).permute(0, 3, 1, 2) / 255
    assert torch.equal(pixels, expected)
    assert pixels.is_contiguous()


def test_images_that_exceed_the_memory_are_refused(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each image takes a byte for each of its values, a float, and sixteen floats for the copies of a batch.
    n_bytes = 20 * 18 * 3 * (1 + 4 + 16 * 4)
    monkeypatch.setattr("featx.robustness.attacked_rows.MAX_BYTES_IN_MEMORY", 9 * n_bytes)
    assert len(prepare_attacks(sections=[SECTION]).pixels) == 9
    monkeypatch.setattr("featx.robustness.attacked_rows.MAX_BYTES_IN_MEMORY", 9 * n_bytes - 1)
    with pytest.raises(DataError, match="attacks on 9 of 9 decoded images .* choose fewer images, such as 8"):
        prepare_attacks(sections=[SECTION])


def test_only_decoded_images_count_if_several_sizes_are_resized(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([(18, 20)] * 8 + [(20, 18)])
    monkeypatch.setattr("featx.robustness.attacked_rows.read_picture", lambda *_: Image.new("RGB", next(sizes)))
    monkeypatch.setattr("featx.robustness.attacked_rows.MAX_BYTES_IN_MEMORY", 9 * 20 * 18 * 3)
    texts = tuple(map(str, range(9)))
    rows = SampledRows("val", np.array(texts, dtype=object), texts, texts, study.labels("class"), 9)
    assert len(load_pictures(study, rows, no_progress)) == 9
