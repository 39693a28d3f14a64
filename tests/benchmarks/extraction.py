"""The whole way from file to vector, against what a user would write instead (``peers/peer_extract.py``).

usage: python -m tests.benchmarks.extraction [N_IMAGES]

For each case the naive script, the expert's and ``featx extract`` into an empty cache run in turn, ROUNDS times. Rates
leave out imports and the building of the network on both sides; what featx tries before is tried in a run that does not
count. The limit is what the stages' own core-seconds allow on these cores, 1 / ((decode + forward) / cores), each stage
measured without the other, on all cores.
"""

import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from featx.artifacts.header import commit
from featx.embeddings.benchmarks import images_per_s
from featx.embeddings.runtimes import Execution, PortableNetwork
from featx.embeddings.workers import Decoder, decode_images
from featx.images.digests import identify_image
from featx.networks.features import resolve_network
from featx.specs.embedding import ResolvedEmbedding
from featx.specs.extraction import EngineSpec, Runtime
from featx.specs.recipe import load_recipe
from featx.study.study import Study

ROUNDS = 3
N_IMAGES = 2624
PEER = Path(__file__).parent / "peers" / "peer_extract.py"
RECIPE = """
[data]
source = "images"
[targets.class]
column = "class"
[extraction]
runtime = "{runtime}"
[decoding]
reduced = {reduced}
[[embedding]]
backbone = "{backbone}"
weights = "{weights}"
size_px = 224
resize = "squash"
interpolation = "bilinear"
precision = "{precision}"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
"""


class Way(NamedTuple):
    """One of featx's ways to extract; `reduced` decodes large JPEGs at a fraction of their size."""

    runtime: Runtime
    precision: str
    reduced: bool = False

    def __str__(self) -> str:
        """Name it in the table, and its recipe."""
        return f"{self.runtime} {self.precision}" + (" reduced" if self.reduced else "")


BF16 = Way("openvino", "bf16")


@dataclass
class Case:
    """One network on one kind of images.

    Attributes
    ----------
    least
        Peer → times its rate that the best of featx's should reach.
    """

    name: str
    net: str
    n: int
    least: dict[str, float]
    large_jpegs: bool = False
    ways: tuple[Way, ...] = (Way("onnx", "fp32"), Way("openvino", "fp32"), BF16)
    rates: dict[str, list[float]] = field(default_factory=dict)

    @property
    def backbone(self) -> tuple[str, str]:
        """What featx calls the network, and its weights."""
        return (self.net, "default") if self.net == "efficientnet_lite0" else (f"timm:{self.net}", "none")


def cells() -> list[Path]:
    """Return the solar cells' files."""
    package = find_spec("elpv_dataset")
    assert package is not None
    assert package.submodule_search_locations
    return sorted(Path(package.submodule_search_locations[0], "data", "images").glob("*.png"))


def make_source(folder: Path, n: int, large_jpegs: bool = False) -> None:
    """Put n solar cells into two class folders, as they are or as JPEGs of 1536×1024."""
    for number, cell in enumerate(cells()[:n]):
        place = folder / "images" / ("odd" if number % 2 else "even")
        place.mkdir(parents=True, exist_ok=True)
        if large_jpegs:
            Image.open(cell).convert("RGB").resize((1536, 1024)).save(place / f"{cell.stem}.jpg", quality=90)
        else:
            shutil.copy(cell, place)


def printed(command: list[str], folder: Path) -> str:
    """Run a command and return what it prints."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


def peer_rate(mode: str, case: Case, folder: Path) -> float:
    """Return the images a second of one of the peers."""
    command = [sys.executable, str(PEER), mode, str(folder / "images"), "--n", str(case.n), "--net", case.net]
    found = re.search(r"([\d.]+) images/s", printed(command, folder))
    assert found is not None
    return float(found[1])


def featx_rate(way: Way, case: Case, folder: Path) -> float:
    """Return the images a second of an extraction into an empty cache."""
    backbone, weights = case.backbone
    settings = way._asdict() | {"reduced": str(way.reduced).lower(), "backbone": backbone, "weights": weights}
    recipe = folder / f"{way}.toml"
    recipe.write_text(RECIPE.format(**settings))
    for store in (folder / "cache").glob("*.zarr"):
        shutil.rmtree(store)
    command = ["-c", "from featx.cli.main import main; main()", "extract", "--json", "-r", str(recipe)]
    return float(json.loads(printed([sys.executable, *command], folder))["images_per_s"])


def limit(case: Case, folder: Path) -> float:
    """Return the images a second that decoding and forward pass allow, each measured without the other."""
    os.chdir(folder)
    one: ResolvedEmbedding = Study.open(load_recipe(folder / f"{BF16}.toml")).locked[0]
    portable = PortableNetwork(resolve_network([one.request]).network, one.spec.preprocessing.canvas_px)
    runner = portable.build_runner(Execution(BF16.runtime, "cpu", one.spec.precision))
    cores = os.cpu_count() or 1
    files = sorted((folder / "images").rglob("*.*"))[:512]
    todo = [(identify_image(str(file)).digest, str(file)) for file in files]
    decoder = Decoder(one.spec.decoding, (one.spec.preprocessing,))
    list(decode_images(todo, decoder, cores, EngineSpec().batch_size))  # the workers come up
    decode_s = sum(seconds for *_, seconds in decode_images(todo, decoder, cores, EngineSpec().batch_size)) / len(todo)
    batch = np.random.default_rng(0).integers(0, 256, (runner.rows, 224, 224, 3), dtype=np.uint8)
    forward_s = cores / images_per_s(runner, batch)
    print(f"  alone: decode {decode_s * 1e3:.2f}, forward {forward_s * 1e3:.2f} core-milliseconds an image")
    return cores / (decode_s + forward_s)


def measured(case: Case, folder: Path) -> Iterator[str]:
    """Run a case and yield a line for each of its ways."""
    make_source(folder, case.n, case.large_jpegs)
    case.rates = {name: [] for name in [*case.least, *map(str, case.ways), "limit"]}
    for way in case.ways:
        featx_rate(way, case, folder)  # tries what is tried once
    for _ in range(ROUNDS):
        for mode in case.least:
            case.rates[mode].append(peer_rate(mode, case, folder))
        for way in case.ways:
            case.rates[str(way)].append(featx_rate(way, case, folder))
        case.rates["limit"].append(limit(case, folder))
    medians = {name: statistics.median(found) for name, found in case.rates.items()}
    for name, rate in medians.items():
        ratios = ", ".join(f"{rate / medians[peer]:6.2f} x {peer}" for peer in case.least)
        yield f"  {name:21s} {rate:7.1f} images/s, {ratios}"
    yield f"  {BF16} reaches {medians[str(BF16)] / medians['limit']:.2f} of the limit"
    for peer, least in case.least.items():
        top = max(medians[str(way)] for way in case.ways)
        verdict = "reached" if top >= least * medians[peer] else "MISSED"
        yield f"  at least {least} x {peer}: {verdict} ({top / medians[peer]:.2f})"


def main() -> None:
    """Print medians and ratios."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else N_IMAGES
    cases = [
        Case("ELPV, EfficientNet-Lite0", "efficientnet_lite0", n, {"naive": 6, "expert": 2.5}),
        Case("ELPV, ResNet-50, random weights", "resnet50", max(n // 16, 32), {"naive": 3, "expert": 1}),
        Case("ELPV, VGG16, random weights", "vgg16", max(n // 32, 32), {"naive": 3, "expert": 1}),
        Case(
            "JPEGs of 1536×1024, EfficientNet-Lite0",
            "efficientnet_lite0",
            max(n // 4, 32),
            {"naive": 4, "expert": 1},
            large_jpegs=True,
            ways=(Way("openvino", "fp32"), BF16, Way("openvino", "bf16", reduced=True)),
        ),
    ]
    print(f"{platform.machine()}, {os.cpu_count()} cores, commit {commit()}, medians of {ROUNDS} in turn")
    for case in cases:
        print(f"{case.name}, {case.n} images", flush=True)
        with tempfile.TemporaryDirectory() as place:
            for line in measured(case, Path(place)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
