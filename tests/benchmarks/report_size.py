"""Benchmark of the report: time and size with 50 classes or 40 labels, 30 runs, 5,000 val and 20,000 test rows.

usage: python -m tests.benchmarks.report_size

The runs have planted predictions of known skill: one head is fitted, and its folder is copied with other predictions.
The scores of the opened test split are those of these predictions. Their intervals are planted: drawing them for 30
runs and 20,000 rows takes most of the time of ``featx evaluate --final``, which this benchmark does not measure.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.special import expit, softmax

import featx
from featx.artifacts.header import commit, read_header, write_header_file
from featx.evaluation.evaluation_table import RunEvaluation
from featx.evaluation.final_scores import write_final
from featx.files.atomic import file_sha256, write_table
from featx.files.seals import write_sealed
from featx.metrics.scores import confusion, per_class, scores
from featx.reports.report import ReportFiles
from featx.study.run_folder import PREDICTIONS, SPEC, RunFolder
from featx.study.run_spec import HeadRunSpec
from featx.study.study import Study
from featx.tables.predictions import AnyPredictions, LabelProba, Predictions, concatenate_predictions
from featx.tables.truth import AnyTruth, Truth
from tests.recipes import LABEL_TABLE, toy_recipe

SIZES = {"train": 3_000, "val": 5_000, "test": 20_000}
N_CLASSES, N_LABELS, N_RUNS = 50, 40, 30
MAX_SECONDS, MAX_BYTES = 60.0, 10_000_000
IMAGE_PX = 16


def write_images(folder: Path, sizes: Mapping[str, int], kind: str) -> None:
    """Write images of noise, and a table with their part and their class or labels."""
    rng, n = np.random.default_rng(0), sum(sizes.values())
    (folder / "x").mkdir(parents=True)
    ids = [f"x/{number:05}.png" for number in range(n)]
    for name in ids:
        Image.fromarray(rng.integers(0, 256, (IMAGE_PX, IMAGE_PX, 3), dtype=np.uint8)).save(folder / name)
    table: dict[str, Any] = {"path": ids, "part": np.repeat(list(sizes), list(sizes.values()))}
    if kind == "classes":
        table["species"] = [f"species {code:02}" for code in np.arange(n) % N_CLASSES]
    else:
        table |= {f"label{number:02}": (rng.random(n) < 0.2).astype(int) for number in range(N_LABELS)}
    pd.DataFrame(table).to_csv(folder / "labels.csv", index=False)


def make_study(sizes: Mapping[str, int], kind: str) -> Study:
    """Extract the images in the working directory, and fit one head."""
    write_images(Path("images"), sizes, kind)
    columns = [f"label{number:02}" for number in range(N_LABELS)]
    target = {"column": "species"} if kind == "classes" else {"columns": columns, "kind": "labels"}
    head = {"name": "lda", "trials": 1, "folds": 2}
    recipe = toy_recipe(data=LABEL_TABLE, targets={"species": target}, split={"column": "part"}, head=[head])
    Path("featx.toml").write_text(recipe)
    featx.extract()
    featx.fit()
    return Study.open(None)


def plant_runs(study: Study, n_runs: int) -> None:
    """Copy the only run of a study until there are enough, with the predictions of better and better models."""
    (source,) = study.runs()
    truth = pd.read_csv("images/labels.csv").set_index("path")
    assert isinstance(source.spec, HeadRunSpec)
    for number in range(n_runs - 1):
        spec = source.spec.model_copy(update={"head": {**source.spec.head, "seed": number + 1}})
        path = study.run_path(f"planted{number:02}", spec)
        shutil.copytree(source.path, path)
        write_sealed(path / SPEC, spec.identity())
        write_table(path / PREDICTIONS, planted_predictions(source, truth, number).to_frame())
        header = read_header(source.path)[1]
        digests = header.files_sha256 | {PREDICTIONS: file_sha256(path / PREDICTIONS)}
        write_header_file(path, header.model_copy(update={"files_sha256": digests}))


def plant_opening(study: Study) -> None:
    """Open the test split, and write the scores of all runs with intervals as wide as those on val."""
    (evaluation,) = featx.evaluate()
    runs = {run.name: run for run in study.runs()}
    truth = study.open_test(evaluation.target, list(runs))
    rows = [_test_scores(row, truth, runs[row.run].predictions.of("test")) for row in evaluation.rows]
    write_final(study, list(runs.values()), replace(evaluation, part="test", rows=rows))


def _test_scores(row: RunEvaluation, truth: AnyTruth, table: AnyPredictions) -> RunEvaluation:
    values = scores(truth, table)
    intervals = {
        name: [edge + values[name] - row.scores[name] for edge in edges]
        for name, edges in row.intervals.items()
        if name in values
    }
    counts = confusion(truth, table).tolist() if isinstance(truth, Truth) else []
    return replace(
        row, scores=values, intervals=intervals, per_class=per_class(truth, table), confusion=counts, train_scores={}
    )


def planted_predictions(source: RunFolder, truth: pd.DataFrame, number: int) -> Predictions | LabelProba:
    """Return predictions for the rows of a run whose skill grows with the number."""
    rng, predictions = np.random.default_rng(number), source.predictions
    parts = []
    for part in ("oof", "val", "test"):
        rows = predictions.of(part)
        labels = truth.loc[rows.ids.tolist()]
        skill = 2.0 + 0.1 * number
        if isinstance(predictions, Predictions):
            member = labels["species"].to_numpy()[:, None] == np.array(predictions.names)[None]
            values: NDArray[Any] = softmax(rng.normal(size=member.shape) + skill * member, axis=1)
            parts.append(Predictions.of_part(part, rows.ids, values, predictions.names, rows.fold))
        else:
            member = labels[list(predictions.names)].to_numpy()
            values = expit(rng.normal(size=member.shape) + skill * (member - 0.5))
            parts.append(LabelProba.of_part(part, rows.ids, values, predictions.names, rows.fold))
    planted = concatenate_predictions(parts)
    assert isinstance(planted, Predictions | LabelProba)
    return planted


def measure_report(sizes: Mapping[str, int], kind: str, n_runs: int) -> tuple[float, int, ReportFiles]:
    """Return the seconds and the bytes of the report of a planted study in the working directory."""
    study = make_study(sizes, kind)
    plant_runs(study, n_runs)
    plant_opening(study)
    start = time.perf_counter()
    files = featx.report()
    return time.perf_counter() - start, Path(files.report).stat().st_size, files


def main() -> int:
    """Measure both kinds of targets and return the exit code: 1 if a report is too slow or too large."""
    has_failed = False
    for kind in ("classes", "labels"):
        home = Path.cwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            seconds, n_bytes, _ = measure_report(SIZES, kind, N_RUNS)
            os.chdir(home)
        print(f"{kind}: {N_RUNS} runs, {SIZES}: {seconds:.1f} s, {n_bytes / 1e6:.2f} MB ({commit()})", flush=True)
        has_failed |= seconds > MAX_SECONDS or n_bytes > MAX_BYTES
    return int(has_failed)


if __name__ == "__main__":
    import tests.conftest  # noqa: F401 (registers the backbone)

    sys.exit(main())
