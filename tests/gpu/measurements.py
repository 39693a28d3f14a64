"""Measurements on a GPU: extraction, precision, fine-tuning and XGBoost, beside scripts that people write instead.

usage: python -m tests.gpu.measurements SECTION cuda|cpu full|rehearsal FILE.json

A section writes its measurements to the file after each of them, so that those before a time limit are kept.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

PEERS = Path(__file__).parents[1] / "benchmarks" / "peers"
RECIPE = """
[data]
source = "images"
[targets.class]
column = "class"
[split]
test = 0
column = "split"
[extraction]
device = "{device}"
runtime = "{runtime}"
min_cosine = 0.9
"""
EMBEDDING = """
[[embedding]]
backbone = "timm:{network}"
weights = "none"
size_px = {side}
resize = "squash"
interpolation = "bilinear"
precision = "{precision}"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
"""
FINETUNE = """
[[finetune]]
size_px = {side}
resize = "squash"
interpolation = "bilinear"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
strategy = "last-block"
lr = 1e-4
epochs = {epochs}
patience = 0
"""
PEAK = """
import json, sys, time
import torch, featx
def report(**values):
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    print(json.dumps(values | {"peak_mb": peak / 1e6}))
"""
EXTRACT = PEAK + "report(rate=featx.extract(sys.argv[1]).images_per_s)"
TRAIN = (
    PEAK
    + """
import featx.finetuning.finetune, featx.finetuning.lightning_loop
start = time.perf_counter()
featx.extract(sys.argv[1])
(run,) = featx.finetune(sys.argv[1])
report(seconds=time.perf_counter() - start, accuracy=run.val_score)
"""
)


@dataclass(frozen=True)
class Scale:
    """The size of all measurements.

    Attributes
    ----------
    n_images, width_px, side_px
        Number of images, their width, and the side of the networks' input.
    networks
        Names of networks in timm; the first one is also compiled.
    epochs
        Epochs of the fine-tuning.
    n_rows, n_features, n_trees
        Size of the table and of the ensemble of trees for XGBoost.
    """

    n_images: int
    width_px: int
    side_px: int
    networks: tuple[str, ...]
    epochs: int
    n_rows: int
    n_features: int
    n_trees: int


SCALES = {
    "full": Scale(4096, 500, 224, ("tf_efficientnet_lite0", "resnet50"), 5, 10_000, 1280, 200),
    "rehearsal": Scale(24, 64, 64, ("test_efficientnet",), 1, 200, 32, 5),
}


@dataclass(frozen=True)
class Measurement:
    """One measured value.

    Attributes
    ----------
    name
        What was measured.
    value, unit
        The value and its unit.
    ratio
        How many times better it is than the simplest alternative; None if it is the alternative itself.
    peak_mb
        Peak of the memory that torch allocated on the GPU; None if it was not measured.
    """

    name: str
    value: float
    unit: str
    ratio: float | None = None
    peak_mb: float | None = None


Section = Callable[[Scale, str, Path], Iterator[Measurement]]


def write_images(folder: Path, scale: Scale) -> None:
    """Write JPEGs into ``train`` and ``val``, one folder for each of two classes that differ in brightness."""

    def write(number: int) -> None:
        rng = np.random.default_rng(number)
        is_light = number % 2
        coarse = rng.integers(80 * is_light, 176 + 80 * is_light, (12, 16, 3), dtype=np.uint8)
        place = folder / "images" / ("val" if number % 5 == 0 else "train") / ("light" if is_light else "dark")
        place.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(coarse).resize((scale.width_px, scale.width_px * 3 // 4), Image.Resampling.BICUBIC)
        picture.save(place / f"{number:05}.jpg", quality=90)

    with ThreadPoolExecutor() as threads:
        list(threads.map(write, range(scale.n_images)))


def run_peer(script: str, *arguments: str) -> str:
    """Run a script of ``tests/benchmarks/peers`` and return its standard output."""
    command = [sys.executable, str(PEERS / script), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def run_featx(code: str, folder: Path, recipe: str) -> dict[str, float]:
    """Run code for a new recipe in a process of its own, with an empty cache, and return what it reports."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        (Path(home) / "images").symlink_to(folder / "images")
        (Path(home) / "featx.toml").write_text(recipe)
        environment = os.environ | {"FEATX_CACHE": f"{home}/cache", "FEATX_RUNS": f"{home}/runs"}
        output = subprocess.run(
            [sys.executable, "-c", code, "featx.toml"],
            cwd=home,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    values: dict[str, float] = json.loads(output.splitlines()[-1])
    return values


def number_in(pattern: str, text: str) -> float:
    """Return the number that a pattern captures in a text."""
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"{pattern!r} is not in {text!r}")
    return float(match[1])


def measure_extraction(scale: Scale, device: str, folder: Path) -> Iterator[Measurement]:
    """Measure images per second from file to vector: three scripts, and featx in its runtimes and precisions."""
    write_images(folder, scale)
    for number, network in enumerate(scale.networks):
        naive = 0.0
        for mode in ("naive", "expert", *(["compile"] if number == 0 else [])):
            options = ("--net", network, "--side", str(scale.side_px), "--device", device)
            output = run_peer("peer_gpu_extract.py", mode, str(folder / "images"), *options)
            rate, peak_mb = number_in(r"([\d.]+) images/s", output), number_in(r"peak (\d+) MB", output)
            naive = naive or rate
            yield Measurement(f"{network}: script, {mode}", rate, "images/s", rate / naive, peak_mb)
        setups = [("torch", "fp32"), ("torch", "bf16"), ("torch", "fp16"), ("compile", "fp32")]
        for runtime, precision in setups[: 4 if number == 0 else 3]:
            embedding = EMBEDDING.format(network=network, side=scale.side_px, precision=precision)
            result = run_featx(EXTRACT, folder, RECIPE.format(device=device, runtime=runtime) + embedding)
            name = f"{network}: featx, {runtime} {precision}"
            yield Measurement(name, result["rate"], "images/s", result["rate"] / naive, result["peak_mb"])


def measure_precision(scale: Scale, device: str, folder: Path) -> Iterator[Measurement]:
    """Compare the embeddings of reduced precisions with fp32, and measure the network alone."""
    from featx.embeddings.benchmarks import images_per_s
    from featx.embeddings.deviation import worst_deviation
    from featx.embeddings.precision import embed_pixels
    from featx.embeddings.runtimes import Execution, PortableNetwork
    from featx.networks.features import resolve_network
    from featx.specs.embedding import EmbeddingRequest, ReducedPrecision

    side = scale.side_px
    coarse = np.random.default_rng(0).integers(0, 256, (64, side // 16, side // 16, 3), dtype=np.uint8)
    pixels = coarse.repeat(16, axis=1).repeat(16, axis=2)
    request = EmbeddingRequest(backbone="efficientnet_lite0", size_px=side)
    portable = PortableNetwork(resolve_network([request]).network, pixels.shape[1])
    runner = portable.build_runner(Execution("torch", device))
    fp32_embeddings, fp32_rate = embed_pixels(runner, pixels), images_per_s(runner, pixels)
    yield Measurement("efficientnet_lite0 alone, fp32", fp32_rate, "images/s")
    for dtype in ("bf16", "fp16"):
        precision = ReducedPrecision.model_validate({"dtype": dtype, "runtime": "torch", "device": device})
        runner = portable.build_runner(Execution("torch", device, precision))
        deviation = worst_deviation(fp32_embeddings, embed_pixels(runner, pixels))
        rate = images_per_s(runner, pixels)
        yield Measurement(f"efficientnet_lite0 alone, {dtype}", rate, "images/s", rate / fp32_rate)
        if deviation is not None:
            yield Measurement(f"lowest cosine of {dtype} and fp32", deviation.min_cosine, "")


def measure_finetuning(scale: Scale, device: str, folder: Path) -> Iterator[Measurement]:
    """Measure the training of the last block above its cached boundary, beside a loop over whole images."""
    write_images(folder, scale)
    side, epochs = scale.side_px, scale.epochs
    parts = [str(folder / "images" / part) for part in ("train", "val")]
    output = run_peer("peer_gpu_finetune.py", *parts, str(epochs), str(side), device)
    script_s = number_in(r"whole run ([\d.]+) s", output)
    yield Measurement("last block: script", script_s, "s", 1.0, number_in(r"peak (\d+) MB", output))
    yield Measurement("  its accuracy on val", number_in(r"accuracy ([\d.]+)", output), "")
    recipe = RECIPE.format(device=device, runtime="auto") + FINETUNE.format(side=side, epochs=epochs)
    result = run_featx(TRAIN, folder, recipe)
    ratio = script_s / result["seconds"]
    yield Measurement("last block: featx", result["seconds"], "s", ratio, result["peak_mb"])
    yield Measurement("  its accuracy on val", result["accuracy"], "")


def measure_xgboost(scale: Scale, device: str, folder: Path) -> Iterator[Measurement]:
    """Measure the fit of the head ``xgboost`` on the CPU and on the device."""
    from featx.heads.head_definition import HeadTask
    from featx.registry import HEADS

    rng = np.random.default_rng(0)
    x = rng.normal(size=(scale.n_rows, scale.n_features)).astype(np.float32)
    y = (x[:, :8].sum(axis=1) + rng.normal(size=scale.n_rows) > 0).astype(int)
    head = HEADS.get("xgboost")(HeadTask(scale.n_rows, scale.n_features, 2, 0))
    pipeline = head.build({**head.start, "n_estimators": scale.n_trees})
    trees = pipeline.steps[-1][1]
    n_train, cpu_s = scale.n_rows * 4 // 5, 0.0
    for place in dict.fromkeys(("cpu", device)):
        trees.set_params(device=place)
        # A first fit starts the device.
        pipeline.fit(x[:64], y[:64])
        start = time.perf_counter()
        pipeline.fit(x[:n_train], y[:n_train])
        seconds = time.perf_counter() - start
        cpu_s = cpu_s or seconds
        yield Measurement(f"xgboost on {place}, {scale.n_trees} trees", seconds, "s", cpu_s / seconds)
        yield Measurement("  its accuracy", float((pipeline.predict(x[n_train:]) == y[n_train:]).mean()), "")


SECTIONS: dict[str, Section] = {
    "precision": measure_precision,
    "xgboost": measure_xgboost,
    "finetuning": measure_finetuning,
    "extraction": measure_extraction,
}


def main(section: str, device: str, scale: str, file: str) -> None:
    """Measure one section and write its measurements."""
    measurements: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for measurement in SECTIONS[section](SCALES[scale], device, Path(folder)):
            measurements.append(asdict(measurement))
            Path(file).write_text(json.dumps(measurements))


if __name__ == "__main__":
    main(*sys.argv[1:5])
