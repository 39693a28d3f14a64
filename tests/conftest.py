"""Objects that many tests share: toy backbones, generated images, and a recipe for them."""

import os

# With one process for each core, threads of torch would wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image
from torch import nn

from featx.networks.backbones import Backbone
from featx.networks.pretrained_weights import WeightsFile
from featx.registry import BACKBONES
from featx.specs.embedding import Preprocessing
from tests.recipes import TOY_RECIPE
from tests.s3 import keys_checked, served

# Other work on the machine can delay a test, so that no example has a deadline. One commit has one result: `make check`
# draws the same examples each time, `make slow` draws new ones (--hypothesis-profile new-examples).
settings.register_profile("same-examples", deadline=None, derandomize=True)
settings.register_profile("new-examples", deadline=None)
settings.load_profile("same-examples")


@BACKBONES.register("toy")
def toy() -> Backbone:
    """Return a backbone of two convolutions and a classifier, for images of 16 px."""

    def build() -> nn.Module:
        body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        return nn.Sequential(body, nn.Flatten(), nn.Linear(8, 4))

    half = (0.5, 0.5, 0.5)
    missing_file = WeightsFile(Path("nowhere/toy.pth"), "00000000", None, "there are none")
    return Backbone("toy", build, missing_file, Preprocessing(size_px=16, mean=half, std=half), last="0.3")


@BACKBONES.register("deep")
def deep() -> Backbone:
    """Return a backbone of three convolutions, of which the first takes most of the time."""

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 32, 5, stride=2),
            nn.ReLU(),
            nn.Conv2d(32, 4, 3),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 8, 3),
            nn.ReLU(),
        )

    half = (0.5, 0.5, 0.5)
    missing_file = WeightsFile(Path("nowhere/deep.pth"), "", None, "there are none")
    return Backbone("deep", build, missing_file, Preprocessing(size_px=16, mean=half, std=half), last="5")


# These scripts are the other side of benchmarks.
collect_ignore = ["benchmarks/peers"]
MakeImages = Callable[..., list[str]]


def make_images(
    folder: Path, classes: Sequence[str] = ("dark", "light"), n_each: int = 24, size: tuple[int, int] = (20, 18)
) -> list[str]:
    """Write noisy images, one folder for each class, whose brightness depends on the class; return their ids."""
    rng = np.random.default_rng(len(classes) * 1000 + n_each)
    ids = []
    for code, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        level = 40 + 160 * code / max(1, len(classes) - 1)
        for number in range(n_each):
            pixels = rng.normal(level, 30, (size[1], size[0], 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03}.png")
            ids.append(f"{name}/{number:03}.png")
    return ids


@pytest.fixture(scope="session", autouse=True)
def short_measurements() -> Iterator[None]:
    """Measure the rates of networks for a short time, since no test depends on how accurate they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("featx.finetuning.speed.MEASUREMENT_S", 0.02)
        patch.setattr("featx.embeddings.benchmarks.BENCHMARK_S", 0.02)
        yield


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """Yield the s3fs file system of an S3 server on this machine."""
    with served() as filesystem:
        yield filesystem


@pytest.fixture
def empty_bucket(s3: Any) -> str:
    """Return the name of a new bucket."""
    name = f"bucket-{uuid4().hex}"
    s3.mkdir(name)
    return name


@pytest.fixture
def keys_are_checked(s3: Any) -> Iterator[None]:
    """Make the server check access keys; it accepts none."""
    with keys_checked():
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to an empty working directory without featx variables in the environment; return it."""
    for variable in ("FEATX_RECIPE", "FEATX_CACHE", "FEATX_LOCAL_CACHE", "FEATX_RUNS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def toy_home(home: Path) -> Path:
    """Write 48 images of two classes to ``images/`` and the recipe ``featx.toml``; return the working directory."""
    make_images(home / "images")
    (home / "featx.toml").write_text(TOY_RECIPE)
    return home
