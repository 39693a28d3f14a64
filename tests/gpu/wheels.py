"""Collect the packages that a GPU machine without network lacks, as wheels in ``build/gpu-wheels``.

usage: python -m tests.gpu.wheels [--python 3.12] [--torch 2.11.0] [--torchvision 0.26.0] [--max-mb 60]

Such a machine is expected to have torch and the large packages of scientific Python (`PROVIDED`). Everything else that
featx and its tests need is downloaded, in versions that fit this Python and this torch. Wheels that would make the
folder larger than ``--max-mb`` go to ``build/gpu-wheels-2``, so that each folder can be copied by itself.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "build" / "gpu-wheels", ROOT / "build" / "gpu-wheels-2")
TEST_PACKAGES = ("hypothesis", "pytest", "psutil")
# Distributions that images with torch for GPUs contain, and what these need.
PROVIDED = [
    "aiohappyeyeballs",
    "aiohttp",
    "aiosignal",
    "anyio",
    "attrs",
    "certifi",
    "contourpy",
    "cycler",
    "fonttools",
    "frozenlist",
    "h11",
    "h5py",
    "hf-xet",
    "httpcore",
    "httpx",
    "huggingface-hub",
    "idna",
    "joblib",
    "kiwisolver",
    "markdown-it-py",
    "markupsafe",
    "matplotlib",
    "mdurl",
    "mpmath",
    "multidict",
    "narwhals",
    "networkx",
    "numpy",
    "pandas",
    "pillow",
    "propcache",
    "psutil",
    "pyarrow",
    "pygments",
    "pyparsing",
    "python-dateutil",
    "pytorch-lightning",
    "pyyaml",
    "safetensors",
    "scikit-learn",
    "scipy",
    "setuptools",
    "six",
    "sympy",
    "threadpoolctl",
    "timm",
    "torch",
    "torchmetrics",
    "torchvision",
    "tqdm",
    "triton",
    "tzdata",
    "yarl",
]
PROVIDED_PREFIXES = ("nvidia-", "cuda-")
# pip takes the names of platforms literally.
PLATFORMS = [
    *(f"manylinux_2_{number}_x86_64" for number in range(28, 4, -1)),
    *(f"manylinux{year}_x86_64" for year in ("2014", "2010", "1")),
]


def canonical(name: str) -> str:
    """Return the name of a distribution as registries write it."""
    return name.lower().replace("_", "-").replace(".", "-")


def is_provided(name: str) -> bool:
    """Return whether a machine with torch for GPUs has a distribution."""
    return canonical(name) in PROVIDED or canonical(name).startswith(PROVIDED_PREFIXES)


def pip(*arguments: str) -> None:
    """Run pip, quietly."""
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def target_options(python: str) -> list[str]:
    """Return pip's options for another version of Python on Linux."""
    platforms = [option for platform in PLATFORMS for option in ("--platform", platform)]
    return ["--only-binary=:all:", "--python-version", python, "--implementation", "cp", *platforms]


def resolve(python: str, torch: str, torchvision: str) -> list[str]:
    """Return ``name==version`` of every package that has to be carried."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with tempfile.TemporaryDirectory() as folder:
        constraints, report = Path(folder, "constraints.txt"), Path(folder, "report.json")
        constraints.write_text(f"torch=={torch}\ntorchvision=={torchvision}\n")
        options = ["--dry-run", "--ignore-installed", "--target", folder, "--report", str(report)]
        packages = [*project["dependencies"], *TEST_PACKAGES]
        pip("install", *options, *target_options(python), "--constraint", str(constraints), *packages)
        installed: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    metadata = [item["metadata"] for item in installed]
    return sorted(f"{item['name']}=={item['version']}" for item in metadata if not is_provided(item["name"]))


def split_by_size(files: Sequence[Path], max_bytes: int) -> tuple[list[Path], list[Path]]:
    """Return the files that fit into a folder of a size, small ones first, and the others."""
    first_files: list[Path] = []
    other_files: list[Path] = []
    total = 0
    for file in sorted(files, key=lambda path: path.stat().st_size):
        total += file.stat().st_size
        (first_files if total <= max_bytes else other_files).append(file)
    return first_files, other_files


def main(arguments: Sequence[str] | None = None) -> None:
    """Download the wheels, build that of featx, and print the size of each folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="3.12")
    parser.add_argument("--torch", default="2.11.0")
    parser.add_argument("--torchvision", default="0.26.0")
    parser.add_argument("--max-mb", type=int, default=60)
    options = parser.parse_args(arguments)
    for folder in FOLDERS:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    packages = resolve(options.python, options.torch, options.torchvision)
    pip("download", "--no-deps", "--dest", str(FOLDERS[0]), *target_options(options.python), *packages)
    # The wheel of featx lists the names that recipes use; its code is not used where a checkout is.
    pip("wheel", "--no-deps", "--wheel-dir", str(FOLDERS[0]), str(ROOT))
    _, other_files = split_by_size(list(FOLDERS[0].iterdir()), options.max_mb * 1_000_000)
    for file in other_files:
        file.rename(FOLDERS[1] / file.name)
    for folder in FOLDERS:
        sizes = [file.stat().st_size for file in folder.iterdir()]
        print(f"{folder.relative_to(ROOT)}: {len(sizes)} wheels, {sum(sizes) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
