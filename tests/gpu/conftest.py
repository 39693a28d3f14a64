"""A study whose extraction, training and predictions run on the device under test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import featx
from tests.conftest import make_images
from tests.gpu.device import TEST_DEVICE
from tests.recipes import toy_heads, toy_recipe

RECIPE = toy_recipe(
    extraction={"device": TEST_DEVICE, "workers": 1},
    embedding=[{"backbone": "toy", "weights": "none"}],
    head=toy_heads("logreg", "svm", "xgboost"),
    finetune=[{"backbone": "deep", "weights": "none", "strategy": "head", "epochs": 1}],
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an extracted study with 72 images of two classes; it is the working directory."""
    folder = tmp_path_factory.mktemp("on_device")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("FEATX_RECIPE", "FEATX_CACHE", "FEATX_RUNS"):
            patch.delenv(variable, raising=False)
        patch.chdir(folder)
        make_images(folder / "images", n_each=36)
        (folder / "featx.toml").write_text(RECIPE)
        featx.extract()
        yield folder
