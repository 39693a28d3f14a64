"""Noise and corruptions as augmentation: seeded by row and epoch, within their limits, and runs like any other."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

import featx
from featx.finetuning.augmentation import augment
from featx.specs.finetuning import AugmentSpec
from tests.conftest import make_images
from tests.recipes import toy_heads, toy_recipe

PIXELS = np.random.default_rng(0).integers(60, 190, (24, 24, 3)).astype(np.uint8)


def test_noise_is_below_its_limit_and_differs_by_epoch_and_row() -> None:
    spec = AugmentSpec(noise=0.1)
    views = [augment(PIXELS, spec, (row, epoch)) for row in range(10) for epoch in range(10)]
    deviations = [float((view.astype(float) - PIXELS).std()) / 255 for view in views]
    assert max(deviations) < 0.11
    assert min(deviations) < 0.02
    assert len({view.tobytes() for view in views}) > 90
    assert np.array_equal(augment(PIXELS, spec, (3, 4)), views[34])


def test_a_share_of_the_images_gets_one_kind_of_damage() -> None:
    spec = AugmentSpec(corruptions=("brightness",), corruption_share=0.3)
    views = [augment(PIXELS, spec, (row, 0)) for row in range(200)]
    changes = {round(float((view.astype(float) - PIXELS).mean())) for view in views}
    # None, and the five severities.
    assert len(changes) == 6
    n_changed = sum(not np.array_equal(view, PIXELS) for view in views)
    assert 40 <= n_changed <= 80
    assert np.array_equal(augment(PIXELS, spec, (7, 0)), views[7])


def test_groups_of_kinds_are_expanded() -> None:
    spec = AugmentSpec(corruptions=("noise", "fog"), corruption_share=1.0)
    views = [augment(PIXELS, spec, (row, 0)) for row in range(20)]
    assert all(view.dtype == np.uint8 and view.shape == PIXELS.shape for view in views)
    assert not any(np.array_equal(view, PIXELS) for view in views)


def test_settings_without_effect_do_nothing_and_wrong_ones_are_refused() -> None:
    assert AugmentSpec(corruption_share=0.1).does_nothing
    assert not AugmentSpec(noise=0.1).does_nothing
    assert not AugmentSpec(corruptions=("fog",)).does_nothing
    with pytest.raises(ValidationError, match="no corruption is called 'fogg'; did you mean 'fog'"):
        AugmentSpec(corruptions=("fogg",))
    with pytest.raises(ValidationError, match="less than 1"):
        AugmentSpec(noise=25.0)


def test_a_run_with_damage_is_compared_with_the_others(home: Path) -> None:
    make_images(home / "images", n_each=16)
    network = {"backbone": "toy", "weights": "none", "strategy": "head", "epochs": 1}
    damaged_network = {**network, "augment": {"noise": 0.2, "corruptions": ["blur"]}}
    (home / "featx.toml").write_text(toy_recipe(head=toy_heads("logreg"), finetune=[damaged_network], ensemble=None))
    featx.extract()
    featx.fit()
    (run,) = featx.finetune()
    (evaluation,) = featx.evaluate()
    assert run.run in {row.run for row in evaluation.rows}
    assert "blur" in (Path(run.path) / "spec.json").read_text()
