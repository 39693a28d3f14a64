"""How often a network is built: once a call, however many runs stand on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

from featx import ensemble, extract, finetune, fit, load, predict
from featx.networks.backbones import Backbone
from featx.networks.pretrained_weights import WeightsFile
from featx.registry import BACKBONES
from featx.specs.embedding import Preprocessing
from tests.conftest import TOY_RECIPE, make_images

PHOTO = "images/dark/000.png"
builds: list[str] = []


@BACKBONES.register("counted")
def counted() -> Backbone:
    """Describe a small network that notes each time it is built."""

    def build() -> nn.Module:
        builds.append("counted")
        return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    half = (0.5, 0.5, 0.5)
    nowhere = WeightsFile(Path("nowhere/counted.pth"), "", None, "there are none")
    return Backbone("counted", build, nowhere, Preprocessing(size_px=16, mean=half, std=half), last="3")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two heads, their vote, and a fine-tuned network upon the counted backbone, in the working directory."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_images(Path("images"), n_each=24)
        network = '\n[[finetune]]\nbackbone = "counted"\nweights = "none"\nstrategy = "head"\nepochs = 1\n'
        Path("featx.toml").write_text(TOY_RECIPE.replace('"toy"', '"counted"') + network)
        extract()
        fit()
        finetune()
        ensemble()
        yield folder


@pytest.fixture(autouse=True)
def nothing_counted(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count from here on."""
    monkeypatch.chdir(study)
    builds.clear()


def runs(kind: str) -> list[Path]:
    """Return the folders of runs whose names begin so."""
    found = sorted(path.parent for path in Path("runs/featx").glob(f"{kind}*/header.json"))
    assert found
    return found


def network_run() -> str:
    """Return the name of the fine-tuned network's run."""
    (found,) = (path.name for path in runs("") if (path / "model.safetensors").is_file())
    return found


def test_predict_builds_a_fine_tuned_network_once() -> None:
    predict([PHOTO], runs=[network_run()])

    assert len(builds) == 1


def test_load_builds_a_fine_tuned_network_once_and_answers_with_it() -> None:
    model = load(Path("runs/featx") / network_run())
    assert len(builds) == 1

    first, second = (model.predict_images([PHOTO]) for _ in range(2))

    assert len(builds) == 1
    assert first.proba.tobytes() == second.proba.tobytes()


def test_predict_builds_a_network_once_for_all_heads_upon_it() -> None:
    answers = predict([PHOTO], runs=["logreg", "rf"])

    assert len(answers) == 2
    assert len(builds) == 1


def test_predict_with_all_runs_builds_each_network_once() -> None:
    answers = predict([PHOTO])

    assert len(answers) > 3
    assert len(builds) == 2  # the backbone of the heads, and the fine-tuned network


def test_answering_for_images_leaves_no_hooks_on_a_network() -> None:
    model = load(Path("runs/featx") / network_run())
    hooks = sum(len(module._forward_hooks) for module in model.built.body.modules())  # type: ignore[attr-defined]

    for _ in range(3):
        model.predict_images([PHOTO])

    after = sum(len(module._forward_hooks) for module in model.built.body.modules())  # type: ignore[attr-defined]
    assert after == hooks
