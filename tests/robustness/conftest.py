"""A study with three classes whose runs are attacked and get corrupted images."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import featx
from featx.study.study import Study
from tests.conftest import make_images
from tests.recipes import toy_heads, toy_recipe

RECIPE = toy_recipe(
    embedding=[{"backbone": "toy", "weights": "none"}, {"backbone": "deep", "weights": "none"}],
    head=[
        *toy_heads("logreg", "svm", "lda", "rf"),
        {"name": "svm", "trials": 1, "folds": 3, "embeddings": ["toy", "deep"]},
    ],
    finetune=[{"backbone": "toy", "weights": "none", "strategy": "head", "epochs": 1}],
    ensemble=[{"methods": ["soft", "stacking", "majority"]}],
)


@contextmanager
def working_folder(folder: Path) -> Iterator[None]:
    """Work in a folder, without featx's environment variables."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("FEATX_RECIPE", "FEATX_CACHE", "FEATX_RUNS"):
            patch.delenv(variable, raising=False)
        patch.chdir(folder)
        yield


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the finished study, which all modules share."""
    folder = tmp_path_factory.mktemp("attacked")
    with working_folder(folder):
        make_images(folder / "images", ("dark", "middle", "light"), n_each=16)
        (folder / "featx.toml").write_text(RECIPE)
        featx.extract()
        featx.fit()
        featx.finetune()
        featx.ensemble()
    return folder


@pytest.fixture(scope="module")
def study(study_folder: Path) -> Iterator[Study]:
    """Yield the study in its folder, which is the working folder until the module ends."""
    with working_folder(study_folder):
        yield Study.open(None)
