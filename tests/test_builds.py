"""Number of builds of a network: one for each call, for any number of runs that use it."""

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
    """Return a backbone that records each build."""

    def build() -> nn.Module:
        builds.append("counted")
        return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    half = (0.5, 0.5, 0.5)
    missing_file = WeightsFile(Path("nowhere/counted.pth"), "", None, "there are none")
    return Backbone("counted", build, missing_file, Preprocessing(size_px=16, mean=half, std=half), last="3")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make two heads, their ensembles and a fine-tuned network of the counted backbone; yield the working directory."""
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
def reset_builds(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to the study and clear the recorded builds."""
    monkeypatch.chdir(study)
    builds.clear()


def run_folders(kind: str) -> list[Path]:
    """Return the folders of the runs whose names begin with `kind`."""
    folders = sorted(path.parent for path in Path("runs/featx").glob(f"{kind}*/header.json"))
    assert folders
    return folders


def network_name() -> str:
    """Return the name of the fine-tuned network's run."""
    (name,) = (path.name for path in run_folders("") if (path / "model.safetensors").is_file())
    return name


def test_predict_builds_a_fine_tuned_network_once() -> None:
    predict([PHOTO], runs=[network_name()])

    assert len(builds) == 1


def test_load_builds_a_fine_tuned_network_once_and_predicts_with_it() -> None:
    model = load(Path("runs/featx") / network_name())
    assert len(builds) == 1

    first, second = (model.predict_images([PHOTO]) for _ in range(2))

    assert len(builds) == 1
    assert first.proba.tobytes() == second.proba.tobytes()


def test_predict_builds_a_network_once_for_all_its_heads() -> None:
    predictions = predict([PHOTO], runs=["logreg", "rf"])

    assert len(predictions) == 2
    assert len(builds) == 1


def test_predict_with_all_runs_builds_each_network_once() -> None:
    predictions = predict([PHOTO])

    assert len(predictions) > 3
    # One build is the backbone of the heads, the other the fine-tuned network.
    assert len(builds) == 2


def test_predicting_images_again_adds_no_hooks_to_a_network() -> None:
    model = load(Path("runs/featx") / network_name())
    model.predict_images([PHOTO])
    hooks = sum(len(module._forward_hooks) for module in model.built.body.modules())  # type: ignore[attr-defined]

    for _ in range(3):
        model.predict_images([PHOTO])

    n_hooks = sum(len(module._forward_hooks) for module in model.built.body.modules())  # type: ignore[attr-defined]
    assert n_hooks == hooks
