"""Record the JSON outputs of all commands on small seeded studies, and compare two such records.

::

    python -m tests.benchmarks.outputs record FOLDER [--demo]   # runs the featx of this checkout
    python -m tests.benchmarks.outputs compare OLD NEW          # prints each different value; exit code 1 if any

Use it to check that a change of the code changes no number: record the commits before and after it. Times, rates, dates
and paths are ignored. With ``--demo`` the recipe of the solar cells is recorded as well (4 min).
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
N_IMAGES = 96
SEED = 7
IGNORED_KEYS = re.compile(r"(_s|_per_s|_bytes|_mb|when|date|time|path|folder|place|file|host|machine|commit|version)$")
COMMON = """
[data]
source = "images"
labels = { file = "labels.csv" }

[extraction]
runtime = "torch"

[groups]
patient = "patient"

[split]
test = 0.25
val = 0.25
by = "patient"

[[embedding]]
backbone = "efficientnet_lite0"
tap = ["blocks.4", "blocks.6"]
size_px = 64
"""
HEADS = {
    "class": ["knn", "lda", "logreg", "mlp", "rf", "ridge", "svm", "xgboost"],
    "tags": ["logreg", "ridge", "xgboost"],
    "level": ["ridge", "rf", "svm", "xgboost"],
}
TARGETS = {
    "class": '[targets.class]\ncolumn = "class"\n',
    "tags": '[targets.tags]\ncolumns = ["bright", "third", "odd"]\nkind = "labels"\n',
    "level": '[targets.level]\ncolumn = "level"\nkind = "numbers"\n',
}
FINETUNE = '\n[[finetune]]\nstrategy = "last-block"\nepochs = 2\nlr = 1e-3\nsize_px = 64\n'
COMMANDS = [
    "extract",
    "fit",
    "finetune",
    "ensemble",
    "leaks",
    "evaluate",
    "evaluate --per-class",
    "evaluate --final",
    "report",
    "predict images",
    "cache ls",
    "cache verify",
    "cache compact",
    "cache gc --dry-run",
    "extract",
    "fit",
]


def write_images(folder: Path) -> None:
    """Write noisy squares of three classes, and a table with a target of each kind and with groups."""
    rng = np.random.default_rng(SEED)
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(N_IMAGES):
        code = number % 3
        level = rng.uniform(0, 1)
        pixels = rng.normal(60 + 50 * code + 40 * level, 45, (72, 72, 3)).clip(0, 255).astype(np.uint8)
        name = f"{number:03}.png"
        Image.fromarray(pixels).save(folder / "images" / name)
        tags = [int(level > 0.5), int(code == 2), number % 2]
        rows.append([name, "abc"[code], *tags, round(level, 4), f"p{number // 4}"])
    with (folder / "images" / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "class", "bright", "third", "odd", "level", "patient"], *rows])


def record(out: Path, with_demo: bool) -> None:
    """Run all commands and write the output of each into a new folder."""
    out.mkdir(parents=True)
    work = out / "work"
    for target, heads in HEADS.items():
        home = work / target
        write_images(home)
        sections = [f'\n[[head]]\nname = "{head}"\ntrials = 2\nfolds = 3\n' for head in heads]
        finetune = FINETUNE if target == "class" else ""
        (home / "featx.toml").write_text(COMMON + TARGETS[target] + "".join(sections) + finetune)
        for number, command in enumerate(COMMANDS):
            if command != "finetune" or finetune:
                _record(out / f"{target}-{number:02}-{command.replace(' ', '_')}.json", home, command)
        run = sorted(path for path in (home / "runs" / "featx").iterdir() if path.name.startswith("logreg"))
        for path in run[:1]:
            _record(out / f"{target}-show.json", home, f"show {path}")
            _record(out / f"{target}-export.json", home, f"export {path} --format onnx")
        names = sorted(path.name for path in (home / "cache").iterdir() if path.is_dir())
        (out / f"{target}-stores.json").write_text(json.dumps(names))
    for command in ("heads", "backbones"):
        _record(out / f"{command}.json", work, command)
    if with_demo:
        recipe = ROOT / "pipelines" / "solar_cells.toml"
        (work / "pipelines").mkdir()
        shutil.copy(recipe, work / "pipelines")
        _record(out / "demo-run.json", work, "run pipelines/solar_cells.toml --final")
    shutil.rmtree(work)


def _record(file: Path, home: Path, command: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"}
    start = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-c", "from featx.cli.main import main; main()", *command.split(), "--json"],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
    )
    print(f"{file.stem}: {time.perf_counter() - start:.1f} s, exit code {process.returncode}", flush=True)
    if process.returncode:
        file.write_text(json.dumps({"exit_code": process.returncode, "error": process.stderr[-500:]}))
        print(process.stderr[-500:])
    else:
        file.write_text(process.stdout)


def compare(old_folder: Path, new_folder: Path) -> int:
    """Print each value that differs between two records; return their number."""
    n_differences = 0
    names = {path.name for folder in (old_folder, new_folder) for path in folder.glob("*.json")}
    for name in sorted(names):
        if not (old_folder / name).exists() or not (new_folder / name).exists():
            print(f"{name}: exists in one record only")
            n_differences += 1
            continue
        old_values, new_values = (
            dict(_flat(json.loads((folder / name).read_text()))) for folder in (old_folder, new_folder)
        )
        for key in sorted(old_values.keys() | new_values.keys()):
            if old_values.get(key) != new_values.get(key):
                print(f"{name}: {key}: {old_values.get(key)!r} -> {new_values.get(key)!r}"[:240])
                n_differences += 1
    print(f"{len(names)} outputs, {n_differences} differences")
    return n_differences


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if not IGNORED_KEYS.search(name):
                yield from _flat(inner, f"{key}.{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _flat(inner, f"{key}[{number}]")
    else:
        yield key, value


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["record", folder, *options]:
            record(Path(folder).resolve(), "--demo" in options)
        case ["compare", old, new]:
            sys.exit(bool(compare(Path(old), Path(new))))
        case _:
            sys.exit(__doc__)
