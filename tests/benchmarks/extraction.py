"""The whole way from PNG to vector, against what a user would write instead (``peers/peer_extract.py``).

usage: python -m tests.benchmarks.extraction [N_IMAGES]

In turn, ROUNDS times: the naive script, the expert's, and ``featx extract`` into an empty cache in each runtime; all
with EfficientNet-Lite0 at 224 px on the same solar cells. Rates leave out imports and the building of the network.
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
from importlib.util import find_spec
from pathlib import Path

from featx.artifact import commit

ROUNDS = 3
N_IMAGES = 512
RUNTIMES = ("torch", "onnx", "openvino")
PEER = Path(__file__).parent / "peers" / "peer_extract.py"
RECIPE = """
[data]
source = "images"
[targets.class]
column = "class"
[[embedding]]
backbone = "efficientnet_lite0"
size_px = 224
resize = "squash"
interpolation = "bilinear"
"""


def make_source(folder: Path, n: int) -> None:
    """Copy n solar cells into two class folders, beside a recipe."""
    package = find_spec("elpv_dataset")
    assert package is not None
    assert package.submodule_search_locations
    cells = sorted(Path(package.submodule_search_locations[0], "data", "images").glob("*.png"))[:n]
    for number, cell in enumerate(cells):
        place = folder / "images" / ("odd" if number % 2 else "even")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(cell, place)
    (folder / "featx.toml").write_text(RECIPE)


def printed(command: list[str], folder: Path) -> str:
    """Run a command and return what it prints."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def peer_rate(mode: str, folder: Path, n: int) -> float:
    """Return the images a second of one of the peers."""
    said = printed([sys.executable, str(PEER), mode, str(folder / "images"), "--n", str(n)], folder)
    found = re.search(r"([\d.]+) images/s", said)
    assert found is not None
    return float(found[1])


def featx_rate(runtime: str, folder: Path) -> float:
    """Return the images a second of an extraction into an empty cache."""
    shutil.rmtree(folder / "cache", ignore_errors=True)
    command = [
        sys.executable,
        "-c",
        "from featx.cli.main import main; main()",
        "extract",
        "--json",
        "--runtime",
        runtime,
    ]
    done = json.loads(printed(command, folder))
    print(f"         {runtime}: {done['verdict']}")
    return float(done["images_per_s"])


def main() -> None:
    """Print medians and ratios."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else N_IMAGES
    print(f"{platform.machine()}, {os.cpu_count()} cores, commit {commit()}, {n} images, medians of {ROUNDS} in turn")
    rates: dict[str, list[float]] = {name: [] for name in ("naive", "expert", *RUNTIMES)}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_source(folder, n)
        for _ in range(ROUNDS):
            for name, found in rates.items():
                found.append(featx_rate(name, folder) if name in RUNTIMES else peer_rate(name, folder, n))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    for name, rate in medians.items():
        ratios = ", ".join(f"{rate / medians[peer]:5.2f} x {peer}" for peer in ("naive", "expert"))
        print(f"{name:9s} {rate:6.1f} images/s, {ratios}")


if __name__ == "__main__":
    main()
