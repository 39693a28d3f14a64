"""A recipe whose images are shared out among workers."""

from pathlib import Path

import pytest

import featx
from tests.embeddings.clusters import PRELOAD, made


@pytest.fixture
def shared_recipe(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """600 images, and workers that know the toy backbone."""
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__PRELOAD", PRELOAD)
    monkeypatch.setenv("PYTHONPATH", str(Path(featx.__file__).parents[1]))
    return made(home, 300)
