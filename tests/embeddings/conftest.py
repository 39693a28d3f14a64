"""Fixtures for distributed extractions and for transformers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import featx
from featx.networks.backbones import Backbone, get_backbone
from featx.registry import BACKBONES
from tests.embeddings.clusters import PRELOAD, make_recipe
from tests.embeddings.embedders import BuildCounter


@pytest.fixture
def shared_recipe(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a recipe with 600 images, and register the toy backbone in all workers."""
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__PRELOAD", PRELOAD)
    monkeypatch.setenv("PYTHONPATH", str(Path(featx.__file__).parents[1]))
    return make_recipe(home, 300)


@pytest.fixture
def paths(toy_home: Path) -> list[str]:
    """Return the paths of four images of each of two classes, dark ones first."""
    return [f"images/{name}/{number:03}.png" for name in ("dark", "light") for number in range(4)]


@pytest.fixture
def build_counter(home: Path, monkeypatch: pytest.MonkeyPatch) -> BuildCounter:
    """Register the toy backbone under a new name, so that no other test has built its network."""
    counter = BuildCounter(f"counted_{home.name}", [])

    def plan() -> Backbone:
        def build() -> torch.nn.Module:
            counter.builds.append("built")
            return get_backbone("toy").build()

        return replace(get_backbone("toy"), build=build)

    monkeypatch.setitem(BACKBONES._added, counter.name, plan)
    return counter
