"""A study with three classes whose runs are attacked and get corrupted images."""

from collections.abc import Iterator

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


@pytest.fixture(scope="package")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    folder = tmp_path_factory.mktemp("attacked")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("FEATX_RECIPE", "FEATX_CACHE", "FEATX_RUNS"):
            patch.delenv(variable, raising=False)
        patch.chdir(folder)
        make_images(folder / "images", ("dark", "middle", "light"), n_each=16)
        (folder / "featx.toml").write_text(RECIPE)
        featx.extract()
        featx.fit()
        featx.finetune()
        featx.ensemble()
        yield Study.open(None)
