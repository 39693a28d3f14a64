"""Attacks on the finished runs of a recipe: each run is attacked, and every run answers all perturbed images."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from featx.embeddings.engine import is_out_of_memory
from featx.files.atomic import read_json_as, read_table, write_json, write_table
from featx.progress import ProgressCallback, no_progress
from featx.robustness.attack_job import (
    ATTACKS_VERSION,
    BATCH_SIZE,
    DEFAULT_ATTACKS,
    DEFAULT_IMAGES,
    AttackedRun,
    AttackJob,
    method_of,
    prepare_attacks,
)
from featx.robustness.attack_results import ANSWER, AttackResults, PerturbedImages, RunUnderAttack, summarise
from featx.robustness.attacked_rows import AttackedRows, batches
from featx.robustness.attacks.attacked_images import AttackedImages, l2_norms, linf_norms
from featx.robustness.sanity_checks import N_CHECKED, failed_checks
from featx.specs.attacking import AttackSpec
from featx.specs.base import fingerprint
from featx.specs.recipe import Recipe


def attack(  # noqa: PLR0913 (options by name, one each for the command's)
    recipe: str | Path | Recipe | None = None,
    *,
    specs: Sequence[AttackSpec] = DEFAULT_ATTACKS,
    runs: Sequence[str] | None = None,
    target: str | None = None,
    n_images: int = DEFAULT_IMAGES,
    final: bool = False,
    user: str | None = None,
    progress: ProgressCallback = no_progress,
) -> list[AttackResults]:
    """Attack the finished runs of a recipe; the parameters are those of `prepare_attacks`."""
    job = prepare_attacks(
        recipe, specs=specs, runs=runs, target=target, n_images=n_images, final=final, user=user, progress=progress
    )
    return run_attacks(job, progress)


def run_attacks(job: AttackJob, progress: ProgressCallback = no_progress) -> list[AttackResults]:
    """Make all attacks whose results are not stored, and return the results of all.

    What is finished is stored after each attack on each run, so that an interrupted call continues there.
    """
    wrong_before = {run.name: _is_wrong(run, job.pixels, job.rows) for run in job.runs}
    doubts: dict[str, tuple[str, ...]] = {}
    steps = [(spec, source) for spec in job.specs for source in job.sources(spec)]
    perturbed: dict[AttackSpec, dict[str, PerturbedImages]] = {spec: {} for spec in job.specs}
    for number, (spec, source) in enumerate(steps):
        progress("attack", number, len(steps), f"{spec.method} on {source.label}")
        perturbed[spec][source.name] = _perturbed_images(job, spec, source)
        if source.name not in doubts:
            doubts[source.name] = _failed_checks(job, spec, source)
    progress("attack", len(steps), len(steps))
    return [_summary(job, spec, wrong_before, perturbed[spec], doubts) for spec in job.specs]


def _failed_checks(job: AttackJob, spec: AttackSpec, source: AttackedRun) -> tuple[str, ...]:
    """Return the failed sanity checks of a run, made on its first images once and stored beside the results."""
    facts: dict[str, Any] = {"version": ATTACKS_VERSION, "source": source.key, "shape": list(job.pixels.shape)}
    facts |= {"digests": list(job.rows.digests[:N_CHECKED]), "norm": spec.norm, "eps": spec.eps, "seed": spec.seed}
    file = job.folder / f"checks-{source.name}-{fingerprint(facts)[:12]}.json"
    if file.is_file():
        return tuple(read_json_as(file, list[str]))
    failed = failed_checks(_images(job, spec, source, slice(0, N_CHECKED)), spec, source.model.has_gradient)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, list(failed))
    return failed


def _is_wrong(run: AttackedRun, pixels: Tensor, rows: AttackedRows) -> NDArray[np.bool_]:
    return np.asarray(_answers(run, pixels) != rows.codes)


@torch.no_grad()
def _answers(run: AttackedRun, pixels: Tensor) -> NDArray[np.int64]:
    """Return the codes of the classes that a run answers."""
    codes = [run.model.decide(run.model(pixels[rows])) for rows in batches(len(pixels), BATCH_SIZE)]
    return torch.cat(codes).cpu().numpy()


def _images(job: AttackJob, spec: AttackSpec, source: AttackedRun, rows: slice) -> AttackedImages:
    """Return a batch of images under attack; the first row and the seed decide its random numbers."""
    generator = torch.Generator().manual_seed(spec.seed * 1_000_003 + (rows.start or 0))
    codes = torch.as_tensor(job.rows.codes[rows])

    def scores(pixels: Tensor) -> Tensor:
        return source.model.margins(source.model(pixels))

    return AttackedImages(scores, job.pixels[rows], codes, spec.norm, spec.eps, generator)


def _perturbed_images(job: AttackJob, spec: AttackSpec, source: AttackedRun) -> PerturbedImages:
    """Return the stored images' table of an attack on a run, or make it."""
    file = job.file(spec, source)
    if file.is_file():
        frame = read_table(file, "remove it to attack again")
        return PerturbedImages(source.name, frame, float(frame["seconds"].iloc[0]))
    start = time.perf_counter()
    pixels = torch.cat(list(_perturb(job, spec, source)))
    seconds = time.perf_counter() - start
    delta = pixels - job.pixels
    names = np.array(job.rows.classes, dtype=object)
    columns = {
        "id": job.rows.ids,
        "true": names[job.rows.codes],
        "linf": linf_norms(delta).numpy(),
        "l2": l2_norms(delta).numpy(),
        "seconds": seconds,
    }
    answers = {f"{ANSWER}{run.name}": names[_answers(run, pixels)] for run in job.runs}
    frame = pd.DataFrame(columns | answers)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_table(file, frame)
    return PerturbedImages(source.name, frame, seconds)


def _perturb(job: AttackJob, spec: AttackSpec, source: AttackedRun) -> Iterator[Tensor]:
    """Yield the perturbed images batch by batch; a batch that does not fit into memory is halved."""
    perturb = method_of(spec).perturb
    size, start = BATCH_SIZE, 0
    while start < len(job.pixels):
        rows = slice(start, min(len(job.pixels), start + size))
        try:
            perturbed = perturb(_images(job, spec, source, rows), spec).detach()
        except Exception as error:
            if not is_out_of_memory(error) or size == 1:
                raise
            size //= 2
            continue
        yield perturbed
        start = rows.stop


def _summary(
    job: AttackJob,
    spec: AttackSpec,
    wrong_before: Mapping[str, NDArray[np.bool_]],
    perturbed: Mapping[str, PerturbedImages],
    doubts: Mapping[str, tuple[str, ...]],
) -> AttackResults:
    """Return the results of one attack; for a run that could not be attacked itself, all perturbed images count."""
    summaries: list[RunUnderAttack] = []
    for run in job.runs:
        counted = {run.name: perturbed[run.name]} if run.name in perturbed else perturbed
        if counted:
            summary = summarise(spec, run.name, run.label, wrong_before[run.name], counted)
            summaries.append(replace(summary, doubts=doubts.get(run.name, ())))
    ranked = tuple(sorted(summaries, key=lambda row: -row.robust))
    return AttackResults(spec, job.rows, wrong_before, perturbed, ranked)
