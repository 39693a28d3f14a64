"""Weights from packages against random weights of the same network: logistic regression on frozen features."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import featx
from tests.recipes import toy_recipe
from tests.weights.packaged_weights import WEIGHTS, PackagedWeights

N_IMAGES = 400
SIZE_PX = 98
FASHION = Path("/usr/share/datasets/fashion-mnist")
SOURCES: Mapping[str, Mapping[str, Any]] = {
    "solar cells": {
        "source": "package:elpv_dataset/data",
        "labels": {"file": "labels.csv", "columns": ["path", "defect", "cell"], "separator": "whitespace"},
    },
    "Fashion-MNIST": {
        "source": str(FASHION),
        "arrays": [{"images": "train-images-idx3-ubyte.gz", "labels": {"class": "train-labels-idx1-ubyte.gz"}}],
    },
}
TARGETS: Mapping[str, Mapping[str, Any]] = {
    "solar cells": {"column": "defect", "above": 0.5},
    "Fashion-MNIST": {"column": "class"},
}
# Random features of edges are not bad on small grey images; the gain has to exceed the noise of so few images.
MIN_GAIN = 0.02


def probe(weights: PackagedWeights, source: str, file: str) -> float:
    """Return the out-of-fold accuracy of a logistic regression on the last layer, averaged over positions."""
    request: dict[str, Any] = {"backbone": weights.backbone, "weights": file, "size_px": SIZE_PX, "resize": "squash"}
    request |= {} if weights.mean is None else {"mean": list(weights.mean), "std": list(weights.std or ())}
    recipe = toy_recipe(
        data={**SOURCES[source], "sample": N_IMAGES},
        targets={"target": dict(TARGETS[source])},
        split={"test": 0, "val": 0},
        embedding=[request],
        head=[{"name": "logreg", "trials": 1, "params": {"scaling": "standard"}}],
    )
    Path("probe.toml").write_text(recipe)
    featx.extract("probe.toml")
    (run,) = featx.fit("probe.toml")
    assert run.oof_accuracy is not None
    return run.oof_accuracy


@pytest.mark.slow
@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda weights: weights.name)
def test_pretrained_features_tell_more_than_random_ones(
    weights: PackagedWeights,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEATX_CACHE", str(tmp_path / "cache"))
    gains = []
    for source in SOURCES:
        pretrained, random = (probe(weights, source, file) for file in (str(weights.ensure_converted()), "none"))
        gains.append(pretrained - random)
        with capsys.disabled():
            print(f"\n{weights.name}, {N_IMAGES} images of {source}: {pretrained:.3f}, random weights {random:.3f}")
    assert max(gains) > MIN_GAIN
