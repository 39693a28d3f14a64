"""A loaded model builds its networks once, for all calls, threads and sizes of calls.

Modules: predictors.models.
"""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from featx import ensemble, extract, fit, load
from featx.embeddings.files import MIN_FILES_TO_BATCH
from featx.networks.backbones import Backbone, get_backbone
from featx.registry import BACKBONES

PATHS = [f"images/{name}/{number:03}.png" for name in ("dark", "light") for number in range(MIN_FILES_TO_BATCH)]


@pytest.fixture
def head(toy_home: Path) -> Path:
    """The folder of one head."""
    extract()
    return Path(fit(heads=["logreg"], trials=1)[0].path)


@pytest.fixture
def builds(head: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows with each network that is built after the head was fitted."""
    built: list[str] = []
    toy = get_backbone("toy")

    def plan() -> Backbone:
        def build() -> torch.nn.Module:
            built.append("toy")
            return toy.build()

        return replace(toy, build=build)

    monkeypatch.setitem(BACKBONES._added, "toy", plan)
    return built


def test_the_second_call_builds_no_network(head: Path, builds: list[str]) -> None:
    model = load(head)
    first = model.predict_images(PATHS[0], device="cpu")

    second = model.predict_images(PATHS[0], device="cpu")

    assert builds == ["toy"]
    assert first.proba.tobytes() == second.proba.tobytes()


def test_calls_of_other_sizes_share_the_network(head: Path, builds: list[str]) -> None:
    model = load(head)
    many = model.predict_images(PATHS, device="cpu")

    single = [model.predict_images(path, device="cpu").proba[0] for path in PATHS[:2]]

    assert builds == ["toy"]
    np.testing.assert_allclose(single, many.proba[:2], atol=1e-6)


def test_an_ensemble_of_heads_builds_its_network_once(head: Path, builds: list[str]) -> None:
    fit(heads=["svm"], trials=1)
    model = load(ensemble(methods=["soft"])[0].path)
    builds.clear()

    for path in PATHS[:3]:
        model.predict_images(path, device="cpu")

    assert builds == ["toy"]


def test_threads_share_the_network(head: Path, builds: list[str]) -> None:
    model = load(head)
    expected = model.predict_images(PATHS, device="cpu").proba

    with ThreadPoolExecutor(4) as threads:
        rows = list(threads.map(lambda path: model.predict_images(path, device="cpu").proba[0], PATHS))

    assert builds == ["toy"]
    np.testing.assert_allclose(rows, expected, atol=1e-6)


def test_a_model_can_be_pickled_after_it_has_predicted(head: Path) -> None:
    model = load(head)
    expected = model.predict_images(PATHS[:2], device="cpu").proba

    copied = pickle.loads(pickle.dumps(model))

    assert copied.predict_images(PATHS[:2], device="cpu").proba.tobytes() == expected.tobytes()
