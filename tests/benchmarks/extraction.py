"""Benchmark of an extraction, from file to vector, against two scripts of users (``peers/peer_extract.py``).

usage: python -m tests.benchmarks.extraction [N_IMAGES]

For each case the naive script, the expert's script and ``featx extract`` into an empty cache run in turn, N_ROUNDS
times. Rates exclude imports and the building of the network on both sides. A first run of featx, which benchmarks the
runtimes, is not counted. The limit is the rate that the core-seconds of the stages allow, 1 / ((decode + forward) /
cores); each stage is measured alone, on all cores.
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

N_ROUNDS = 3
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


class FeatxSetup(NamedTuple):
    """Runtime, precision and decoding of an extraction by featx.

    Attributes
    ----------
    runtime, precision
        Fields of the recipe.
    reduced
        Whether large JPEGs are decoded at a fraction of their size.
    """

    runtime: Runtime
    precision: str
    reduced: bool = False

    def __str__(self) -> str:
        """Return the name in the table and of the recipe."""
        return f"{self.runtime} {self.precision}" + (" reduced" if self.reduced else "")


BF16 = FeatxSetup("openvino", "bf16")


@dataclass
class Case:
    """One network on one kind of images.

    Attributes
    ----------
    name
        Name in the table.
    net
        Name of the network in timm.
    n
        Number of images.
    min_ratios
        Peer → minimum of the best rate of featx relative to that of the peer.
    large_jpegs
        Whether the images are JPEGs of 1536×1024.
    setups
        Setups of featx that are measured.
    rates
        Name of a peer or setup → images per second in each round.
    """

    name: str
    net: str
    n: int
    min_ratios: dict[str, float]
    large_jpegs: bool = False
    setups: tuple[FeatxSetup, ...] = (FeatxSetup("onnx", "fp32"), FeatxSetup("openvino", "fp32"), BF16)
    rates: dict[str, list[float]] = field(default_factory=dict)

    @property
    def backbone(self) -> tuple[str, str]:
        """Name and weights of the network in a recipe of featx."""
        return (self.net, "default") if self.net == "efficientnet_lite0" else (f"timm:{self.net}", "none")


def cell_paths() -> list[Path]:
    """Return the paths of the solar cells."""
    package = find_spec("elpv_dataset")
    assert package is not None
    assert package.submodule_search_locations
    return sorted(Path(package.submodule_search_locations[0], "data", "images").glob("*.png"))


def make_source(folder: Path, n: int, large_jpegs: bool = False) -> None:
    """Write n solar cells into two class folders, unchanged or as JPEGs of 1536×1024."""
    for number, cell in enumerate(cell_paths()[:n]):
        place = folder / "images" / ("odd" if number % 2 else "even")
        place.mkdir(parents=True, exist_ok=True)
        if large_jpegs:
            Image.open(cell).convert("RGB").resize((1536, 1024)).save(place / f"{cell.stem}.jpg", quality=90)
        else:
            shutil.copy(cell, place)


def run_command(command: list[str], folder: Path) -> str:
    """Run a command and return its standard output."""
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}: {process.stderr or process.stdout}")
    return process.stdout


def measure_peer(mode: str, case: Case, folder: Path) -> float:
    """Return the images per second of a peer."""
    command = [sys.executable, str(PEER), mode, str(folder / "images"), "--n", str(case.n), "--net", case.net]
    match = re.search(r"([\d.]+) images/s", run_command(command, folder))
    assert match is not None
    return float(match[1])


def measure_featx(setup: FeatxSetup, case: Case, folder: Path) -> float:
    """Return the images per second of an extraction into an empty cache."""
    backbone, weights = case.backbone
    settings = setup._asdict() | {"reduced": str(setup.reduced).lower(), "backbone": backbone, "weights": weights}
    recipe = folder / f"{setup}.toml"
    recipe.write_text(RECIPE.format(**settings))
    for store in (folder / "cache").glob("*.zarr"):
        shutil.rmtree(store)
    command = ["-c", "from featx.cli.main import main; main()", "extract", "--json", "-r", str(recipe)]
    return float(json.loads(run_command([sys.executable, *command], folder))["images_per_s"])


def measure_rate_limit(case: Case, folder: Path) -> float:
    """Return the images per second that decoding and forward pass allow, each measured alone."""
    os.chdir(folder)
    embedding: ResolvedEmbedding = Study.open(load_recipe(folder / f"{BF16}.toml")).locked[0]
    portable = PortableNetwork(resolve_network([embedding.request]).network, embedding.spec.preprocessing.canvas_px)
    runner = portable.build_runner(Execution(BF16.runtime, "cpu", embedding.spec.precision))
    cores = os.cpu_count() or 1
    files = sorted((folder / "images").rglob("*.*"))[:512]
    todo = [(identify_image(str(file)).digest, str(file)) for file in files]
    decoder = Decoder(embedding.spec.decoding, (embedding.spec.preprocessing,))
    # A first pass starts the workers.
    list(decode_images(todo, decoder, cores, EngineSpec().batch_size))
    decode_s = sum(seconds for *_, seconds in decode_images(todo, decoder, cores, EngineSpec().batch_size)) / len(todo)
    batch = np.random.default_rng(0).integers(0, 256, (runner.rows, 224, 224, 3), dtype=np.uint8)
    forward_s = cores / images_per_s(runner, batch)
    print(f"  alone: decode {decode_s * 1e3:.2f}, forward {forward_s * 1e3:.2f} core-milliseconds per image")
    return cores / (decode_s + forward_s)


def run_case(case: Case, folder: Path) -> Iterator[str]:
    """Run a case and yield the lines of its table."""
    make_source(folder, case.n, case.large_jpegs)
    case.rates = {name: [] for name in [*case.min_ratios, *map(str, case.setups), "limit"]}
    for setup in case.setups:
        # A first run benchmarks the runtimes.
        measure_featx(setup, case, folder)
    for _ in range(N_ROUNDS):
        for mode in case.min_ratios:
            case.rates[mode].append(measure_peer(mode, case, folder))
        for setup in case.setups:
            case.rates[str(setup)].append(measure_featx(setup, case, folder))
        case.rates["limit"].append(measure_rate_limit(case, folder))
    medians = {name: statistics.median(rates) for name, rates in case.rates.items()}
    for name, rate in medians.items():
        ratios = ", ".join(f"{rate / medians[peer]:6.2f} x {peer}" for peer in case.min_ratios)
        yield f"  {name:21s} {rate:7.1f} images/s, {ratios}"
    yield f"  {BF16} reaches {medians[str(BF16)] / medians['limit']:.2f} of the limit"
    for peer, min_ratio in case.min_ratios.items():
        best_rate = max(medians[str(setup)] for setup in case.setups)
        outcome = "reached" if best_rate >= min_ratio * medians[peer] else "MISSED"
        yield f"  at least {min_ratio} x {peer}: {outcome} ({best_rate / medians[peer]:.2f})"


def main() -> None:
    """Print the medians and ratios of all cases."""
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
            setups=(FeatxSetup("openvino", "fp32"), BF16, FeatxSetup("openvino", "bf16", reduced=True)),
        ),
    ]
    print(f"{platform.machine()}, {os.cpu_count()} cores, commit {commit()}, medians of {N_ROUNDS} in turn")
    for case in cases:
        print(f"{case.name}, {case.n} images", flush=True)
        with tempfile.TemporaryDirectory() as place:
            for line in run_case(case, Path(place)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
