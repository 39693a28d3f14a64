"""One attack on one run, batch by batch: finished batches are stored, and a batch that is too large is halved."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from featx.embeddings.engine import is_out_of_memory
from featx.robustness.attack_job import AttackedRun, AttackJob, AttackTask
from featx.robustness.attack_plan import method_of
from featx.robustness.attack_tables import ATTACKED, CLEAN
from featx.robustness.attacked_rows import BATCH_SIZE, batches
from featx.robustness.attacks.attacked_images import AttackedImages, QueryMeter, l2_norms, linf_norms, margin
from featx.robustness.example_images import add_examples

T = TypeVar("T")
# Seeds of batches differ by their first image.
SEED_DISTANCE = 1_000_003
Report = Callable[[float], None]


def run_task(job: AttackJob, task: AttackTask, clean_scores: Mapping[str, Tensor], report: Report) -> None:
    """Make an attack on a run and store its results; batches that an interrupted call finished are not repeated.

    Parameters
    ----------
    job
        Runs and images.
    task
        The attack and the run.
    clean_scores
        Name of a run → its scores for all unperturbed images.
    report
        Function that receives the cost of each pass.
    """
    files = job.files(task)

    def attack(rows: slice) -> tuple[Tensor, QueryMeter, float]:
        start = time.perf_counter()
        meter = QueryMeter(rows.stop - rows.start, report)
        return _perturb(job, task, clean_scores, rows, meter), meter, time.perf_counter() - start

    for rows, (pixels, meter, seconds) in halved_batches(len(job.pixels), files.n_finished, job.batch_size, attack):
        frame = _batch_frame(job, clean_scores, rows, pixels)
        frame["n_queries"] = np.tile(meter.counts.numpy() * task.source.n_draws, len(job.runs))
        frame["seconds"] = seconds / (rows.stop - rows.start)
        add_examples(files, frame[frame["run"] == task.source.name], job.pixels[rows], pixels)
        files.write_part(rows.start, rows.stop, frame)
    files.finish(job.content(task))


def halved_batches(n: int, start: int, size: int, attack: Callable[[slice], T]) -> Iterator[tuple[slice, T]]:
    """Yield the rows of each batch and what `attack` returns for them; a batch that exceeds the memory is halved.

    Parameters
    ----------
    n, start
        Number of rows, and the first one.
    size
        Rows of a batch.
    attack
        Function of the rows of a batch.
    """
    while start < n:
        rows = slice(start, min(n, start + size))
        try:
            result = attack(rows)
        except Exception as error:
            if not is_out_of_memory(error) or size == 1:
                raise
            size = max(1, size // 2)
            continue
        yield rows, result
        start = rows.stop


def images_under_attack(
    job: AttackJob, task: AttackTask, rows: slice, clean_scores: Tensor, direction: int = 1
) -> AttackedImages:
    """Return a batch of images under attack; the first row and the seed decide its random numbers.

    Parameters
    ----------
    job, task
        Images, and the attack on a run.
    rows
        Rows of the batch.
    clean_scores
        Scores of the attacked run for all unperturbed images.
    direction
        Direction of the change (`featx.robustness.attack_goals.AttackGoal`).
    """
    spec, source = task.spec, task.source
    generator = torch.Generator().manual_seed(spec.seed * SEED_DISTANCE + rows.start)
    positions = torch.arange(rows.start, rows.stop)
    return AttackedImages(
        source.scores,
        job.pixels[rows],
        job.goal.codes(positions),
        spec.norm,
        spec.eps,
        generator,
        job.goal.compare(source.model, clean_scores, positions, direction),
    )


def _perturb(
    job: AttackJob, task: AttackTask, clean_scores: Mapping[str, Tensor], rows: slice, meter: QueryMeter
) -> Tensor:
    """Return the perturbed pixels of a batch: of several directions, those with the largest effect on each image."""
    perturb = method_of(task.spec.method).perturb
    perturbed, effects = [], []
    for direction in job.goal.directions:
        images = images_under_attack(job, task, rows, clean_scores[task.source.name], direction)
        perturbed.append(perturb(replace(images, meter=meter), task.spec).detach())
        effects.append(_effect(images, perturbed[-1]))
    strongest_indices = torch.stack(effects).argmax(dim=0)
    return torch.stack(perturbed)[strongest_indices, torch.arange(len(strongest_indices))]


@torch.no_grad()
def _effect(images: AttackedImages, pixels: Tensor) -> Tensor:
    return margin(images.scores(pixels), images)


@torch.no_grad()
def scores_of_runs(runs: Sequence[AttackedRun], pixels: Tensor) -> dict[str, Tensor]:
    """Return the (n, k) scores of runs for pixels by name, batch by batch; runs share the features of a network."""
    scores: dict[str, list[Tensor]] = {run.name: [] for run in runs}
    embedders = dict.fromkeys(embedder for run in runs for embedder in run.model.embedders)
    for rows in batches(len(pixels), BATCH_SIZE):
        batch = pixels[rows]
        features: dict[str, Tensor] = {}
        for embedder in embedders:
            features |= embedder(batch)
        for run in runs:
            is_fixed = run.n_draws == 1
            scores[run.name].append(run.model.from_features(features) if is_fixed else run.scores(batch))
    return {name: torch.cat(parts) for name, parts in scores.items()}


def _batch_frame(job: AttackJob, clean_scores: Mapping[str, Tensor], rows: slice, pixels: Tensor) -> pd.DataFrame:
    """Return the predictions of all runs for the images of a batch, one row for each run and image."""
    delta = pixels - job.pixels[rows]
    true = list(job.rows.truth.texts().values())
    positions = torch.arange(rows.start, rows.stop)
    shared_columns = {
        "id": job.rows.ids[rows],
        "digest": job.rows.digests[rows],
        "true": true[rows],
        "linf": linf_norms(delta).double().numpy(),
        "l2": l2_norms(delta).double().numpy(),
    }
    frames = []
    for run, attacked_scores in zip(job.runs, scores_of_runs(job.runs, pixels).values(), strict=True):
        before_scores = clean_scores[run.name][rows]
        columns = shared_columns | {
            "run": run.name,
            "clean": job.goal.prediction_texts(run.model, before_scores),
            "attacked": job.goal.prediction_texts(run.model, attacked_scores),
            "is_right_before": job.goal.is_right(run.model, before_scores, positions),
            "is_right": job.goal.is_right(run.model, attacked_scores, positions),
        }
        for prefix, scores in ((CLEAN, before_scores), (ATTACKED, attacked_scores)):
            outputs = job.goal.outputs(scores).T
            columns |= {f"{prefix}{name}": column for name, column in zip(job.rows.truth.names, outputs, strict=True)}
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)
