"""Randomized smoothing: finished runs that vote over noisy copies of an image, with certified radii [1]_.

References
----------
.. [1] J. Cohen, E. Rosenfeld, J. Z. Kolter, Certified adversarial robustness via randomized smoothing, ICML 2019.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from featx.artifacts.artifact import write_ensemble
from featx.artifacts.certificates import read_certificates, write_certificates
from featx.artifacts.header import read_header
from featx.artifacts.rescoring import score_val, update_val_scores
from featx.files.atomic import file_lock, read_table, write_table
from featx.metrics.certified_accuracy import certified_radius
from featx.metrics.conformal import ConformalSpec
from featx.progress import ProgressCallback, no_progress
from featx.robustness.noise_votes import Counts, noise_source
from featx.robustness.smoothing_job import SmoothingJob, prepare_smoothing
from featx.specs.recipe import Recipe
from featx.specs.sequences import as_tuple
from featx.specs.smoothing import SmoothingSpec
from featx.study.run_folder import PREDICTIONS, RunFolder
from featx.study.run_settings import label_runs
from featx.study.smoothed_metrics import SmoothedMetrics
from featx.study.study import Study
from featx.tables.predictions import AnyPredictions, concatenate_predictions, predictions_of_part

# Images whose votes are written at a time; an interrupted call repeats at most so many.
IMAGES_PER_FILE = 16


@dataclass(frozen=True)
class SmoothingResult:
    """A smoothed run.

    Attributes
    ----------
    run
        Name of the smoothed run.
    target
        Name of the target.
    path
        Path of its folder.
    label
        Label that is unique among the smoothed runs of the call.
    base
        Name of the run that is smoothed.
    is_new
        False if an equal run existed already.
    val_score
        Accuracy of the votes on val.
    n_certified
        Number of images with a certificate or an abstention.
    abstained
        Share of them with an abstention.
    side_px
        Side of the images that get the noise; None for decoded images.
    smoothing_s
        Duration in seconds.
    """

    run: str
    target: str
    path: str
    label: str
    base: str
    is_new: bool
    val_score: float
    n_certified: int
    abstained: float
    side_px: int | None
    smoothing_s: float


def smooth(
    recipe: str | Path | Recipe | None = None,
    *,
    specs: Sequence[SmoothingSpec] | SmoothingSpec = (),
    force: bool = False,
    progress: ProgressCallback = no_progress,
) -> list[SmoothingResult]:
    """Predict the images of val and test by votes over noisy copies, and certify a sample of val.

    Each spec becomes a run like any other. An interrupted call continues where it was when it is made again.

    Parameters
    ----------
    recipe
        Recipe or path of a recipe; by default the one that ``$FEATX_RECIPE`` names, or ``./featx.toml``.
    specs
        Specs of the runs to smooth, instead of the recipe's ``[[smoothing]]``.
    force
        Whether existing runs are made again.
    progress
        Callback for progress; the expected time is its first note.

    Raises
    ------
    UnsuitedError
        A target has no classes, or members of an ensemble resize images in different ways.
    DataError
        There are no val rows, a run is not found, or an image is gone or changed.
    """
    study = Study.open(recipe)
    jobs = [prepare_smoothing(study, spec) for spec in as_tuple(specs) or study.recipe.smoothing]
    pending_jobs = [job for job in jobs if force or study.find_run(job.stem, job.run_spec) is None]
    # All networks are built before the first one runs, so that a run that cannot be smoothed is refused at once.
    if seconds := sum(job.expected_s for job in pending_jobs):
        n_passes = sum(job.n_passes for job in pending_jobs)
        noun = "run" if len(pending_jobs) == 1 else "runs"
        cost = f"{n_passes:,} noisy images for {len(pending_jobs)} {noun}, about {max(seconds / 60, 0.1):.1f} min"
        progress("note", 0, 1, cost)
    runs = {job.run_spec.fingerprint(): _smooth(job, force, progress) for job in jobs}
    labels = label_runs({result.run: RunFolder(Path(result.path)).spec for result in runs.values()})
    return [replace(result, label=labels[result.run]) for result in runs.values()]


def _smooth(job: SmoothingJob, force: bool, progress: ProgressCallback) -> SmoothingResult:
    """Return the result of a job; its votes are counted unless the run exists already."""
    with file_lock(job.state_folder.with_suffix(".lock")):
        if force:
            shutil.rmtree(job.state_folder, ignore_errors=True)
        run = None if force else job.study.find_run(job.stem, job.run_spec)
        if is_new := run is None:
            with job.study.new_run(job.stem, job.run_spec) as folder:
                _write_run(job, folder, progress)
        shutil.rmtree(job.state_folder, ignore_errors=True)
    finished_run = RunFolder(job.study.run_path(job.stem, job.run_spec)) if run is None else run
    return _result(job, update_val_scores(job.study, finished_run), is_new)


def _result(job: SmoothingJob, run: RunFolder, is_new: bool) -> SmoothingResult:
    metrics = run.metrics
    assert isinstance(metrics, SmoothedMetrics)
    assert metrics.val is not None
    certificates = read_certificates(run.path, read_header(run.path)[1])
    return run.make_result(
        SmoothingResult,
        label="",
        base=job.base.name,
        is_new=is_new,
        val_score=float(metrics.val["accuracy"]),
        abstained=float(certificates["radius"].isna().mean()),
    )


def _write_run(job: SmoothingJob, folder: Path, progress: ProgressCallback) -> None:
    """Count all votes and write the smoothed run."""
    start = time.perf_counter()
    first_counts, further_counts = _count_votes(job, progress)
    predictions = _predictions(job, first_counts)
    write_table(folder / PREDICTIONS, predictions.to_frame())
    write_certificates(folder, job.run_spec.members, job.spec, _certificates(job, first_counts, further_counts))
    labels = job.study.labels(job.target)
    metrics = SmoothedMetrics(
        finished=datetime.now(UTC).isoformat(),
        run_warnings=(),
        oof=None,
        val=score_val(labels, predictions),
        val_state=job.study.val_state(job.target),
        n_certified=len(further_counts),
        side_px=job.side_px,
        smoothing_s=round(time.perf_counter() - start, 2),
        images_per_s=1 / (job.spec.n0 * job.seconds_per_pass),
    )
    metrics.write(folder)
    header = {
        "target": job.target,
        "classes": job.model.classes,
        "metrics": metrics.scores_by_part,
        "conformal": ConformalSpec.of(labels, predictions, job.study.groups),
    }
    write_ensemble(folder, [job.base.path], header, kind="smoothed")


def _predictions(job: SmoothingJob, first_counts: Mapping[str, Counts]) -> AnyPredictions:
    """Return the shares of the votes for the images of val and test."""
    labels, tables = job.study.labels(job.target), []
    for part in ("val", "test"):
        ids = job.study.ids(part)
        if len(ids):
            shares = np.stack([first_counts[str(image)] / job.spec.n0 for image in ids])
            tables.append(predictions_of_part(labels, part, ids, shares))
    return concatenate_predictions(tables)


def _certificates(
    job: SmoothingJob, first_counts: Mapping[str, Counts], further_counts: Mapping[str, Counts]
) -> pd.DataFrame:
    """Return the table of certificates: the prediction that the first votes choose is certified by further ones."""
    rows = []
    for image, counts in further_counts.items():
        code = int(first_counts[image].argmax())
        radius = certified_radius(int(counts[code]), job.spec.n, job.spec.sigma, job.spec.alpha)
        prediction = job.model.classes[code]
        rows.append((image, prediction, int(counts[code]), job.spec.n, np.nan if radius is None else radius))
    return pd.DataFrame(rows, columns=["id", "prediction", "n_top", "n", "radius"])


def _count_votes(job: SmoothingJob, progress: ProgressCallback) -> tuple[dict[str, Counts], dict[str, Counts]]:
    """Return image → votes that choose its prediction, and image → votes that certify it; stored ones are read."""
    first_counts: dict[str, Counts] = {}
    further_counts: dict[str, Counts] = {}
    title = f"smooth {job.base.spec.stem}"
    for start in range(0, len(job.ids), IMAGES_PER_FILE):
        images = [str(image) for image in job.ids[start : start + IMAGES_PER_FILE]]
        file = job.state_folder / f"votes-{start:07}.parquet"
        if not file.is_file():
            rows = []
            for number, image in enumerate(images):
                rows += _votes_of_image(job, image)
                progress(title, start + number + 1, len(job.ids))
            file.parent.mkdir(parents=True, exist_ok=True)
            write_table(file, pd.DataFrame(rows, columns=["id", "certifies", *map(str, range(len(job.model.classes)))]))
        for image, is_certifying, *counts in read_table(file, "remove it").itertuples(index=False, name=None):
            (further_counts if is_certifying else first_counts)[image] = np.array(counts, dtype=np.int64)
    return first_counts, further_counts


def _votes_of_image(job: SmoothingJob, image: str) -> list[tuple[object, ...]]:
    """Return the rows of one image: its votes, and those that certify its prediction."""
    pixels, source = job.pixels(image), noise_source(job.digest(image), job.spec.seed)
    rows: list[tuple[object, ...]] = [(image, False, *job.votes.count(pixels, job.spec.n0, source))]
    if image in job.certified_ids:
        rows.append((image, True, *job.votes.count(pixels, job.spec.n, source)))
    return rows
