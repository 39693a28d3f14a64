"""Write the golden files of the current format into ``tests/golden/format-1``.

::

    python -m tests.golden.write_files

Run it only when a format changes before its release. Files of a released format stay, and a new format gets a folder of
its own.
"""

import csv
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

import featx
from featx.specs.finetuning import FinetuneSpec, LayersSpec
from featx.storage.checks import open_store
from featx.study.study import Study
from tests.conftest import make_images

FOLDER = Path(__file__).parent / "format-1"
N_INPUTS = 16
N_PICTURES = 2
# Files of a run that predictions do not depend on.
NOT_READ = ("curves.png", "log.csv", "last.safetensors", "trials.journal")
RECIPE = """
[data]
source = "images"
labels = { file = "labels.csv" }

[targets.class]
column = "class"

[targets.level]
columns = ["level", "depth"]
kind = "numbers"

[split]
val = 0.25

[[embedding]]
backbone = "toy"
weights = "none"
"""


def write_golden_files() -> None:
    """Make a small study in a temporary folder, and copy its store, runs and an export."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    with tempfile.TemporaryDirectory() as home:
        os.chdir(home)
        _make_study()
        study = Study.open(None)
        (store_path,) = Path("cache").glob("*.zarr")
        store = open_store(store_path)
        digests = store.digests[:N_INPUTS]
        x = store.read(digests)
        FOLDER.mkdir()
        shutil.copytree(store_path, FOLDER / store_path.name)
        np.savez(FOLDER / "vectors.npz", digests=np.array(digests), x=x)
        pictures = sorted(Path("images").glob("*/*.png"))[:N_PICTURES]
        for number, picture in enumerate(pictures):
            shutil.copy(picture, FOLDER / f"picture-{number}.png")
        for run in [*study.runs("class"), *study.runs("level")]:
            shutil.copytree(run.path, FOLDER / run.name, ignore=shutil.ignore_patterns(*NOT_READ))
            model = featx.load(run.path)
            outputs = model.predict_images(pictures).proba if run.kind == "network" else model.predict_proba(x)
            np.save(FOLDER / run.name / "expected.npy", outputs)
        (export,) = featx.export("svm", "skops", out=FOLDER / "exports")
        np.save(FOLDER / "exports" / "expected.npy", featx.load(export.path).predict_proba(x))


def _make_study() -> None:
    names = make_images(Path("images"))
    levels = np.random.default_rng(0).normal(size=(len(names), 2)).round(3)
    with Path("images/labels.csv").open("w", newline="") as file:
        rows = [[name, name.split("/")[0], *level] for name, level in zip(names, levels, strict=True)]
        csv.writer(file).writerows([["path", "class", "level", "depth"], *rows])
    Path("featx.toml").write_text(RECIPE)
    featx.extract()
    featx.fit(heads=["logreg", "svm"], target="class", trials=2)
    featx.fit(heads=["ridge", "xgboost"], target="level", trials=1)
    featx.ensemble(methods=["majority", "stacking"], target="class")
    featx.ensemble(methods=["mean"], target="level")
    # Ensembles with a network predict from images only, so the network is made last.
    layers = LayersSpec(hidden=(4,))
    featx.finetune(specs=[FinetuneSpec(backbone="toy", weights="none", layers=layers, epochs=1)], target="class")


if __name__ == "__main__":
    write_golden_files()
