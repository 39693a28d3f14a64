"""Attacks on the finished runs of a recipe: each run is attacked, and every run answers all perturbed images."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from featx.embeddings.engine import is_out_of_memory
from featx.errors import DataError, UnsuitedError
from featx.files.atomic import read_json_as, read_table, write_json, write_table
from featx.predictors.loading import load
from featx.progress import ProgressCallback, no_progress
from featx.registry import ATTACKS
from featx.robustness.attack_results import ANSWER, AttackResults, PerturbedImages, RunUnderAttack, summarise
from featx.robustness.attacked_model import AttackedModel
from featx.robustness.attacked_rows import AttackedRows, batches, load_pictures, select_rows, to_pixels
from featx.robustness.attacks.attack_method import GRADIENT_COST, AttackMethod
from featx.robustness.attacks.attacked_images import AttackedImages, l2_norms, linf_norms
from featx.robustness.pixel_embedder import make_embedders
from featx.robustness.sanity_checks import N_CHECKED, N_GRADIENTS, N_PASSES, failed_checks
from featx.specs.attacking import AttackSpec
from featx.specs.base import fingerprint
from featx.specs.recipe import Recipe
from featx.study.run_folder import RunFolder
from featx.study.run_settings import describe_runs
from featx.study.study import Study

FOLDER = "attacks"
DEFAULT_ATTACKS = (AttackSpec(method="fgsm"), AttackSpec(method="pgd"), AttackSpec(method="square", steps=200))
DEFAULT_IMAGES = 100
BATCH_SIZE = 32
# Version of the attacks; results of another version are not reused.
ATTACKS_VERSION = 1
# Passes of the sanity checks for each image, in units of one pass without gradient.
N_CHECK_PASSES = GRADIENT_COST * N_GRADIENTS + N_PASSES


@dataclass(frozen=True)
class AttackedRun:
    """A run under attack.

    Attributes
    ----------
    name, label
        Name and label of the run.
    key
        Fingerprint of the run's spec.
    model
        The run as a function of pixels.
    """

    name: str
    label: str
    key: str
    model: AttackedModel


@dataclass(frozen=True)
class AttackJob:
    """Everything that is known before the first attack.

    Attributes
    ----------
    folder
        Folder of the results.
    rows
        The attacked images.
    pixels
        (n, 3, h, w) pixels of the images in [0, 1]: of the decoded images if these have one size, otherwise after
        resizing and cropping.
    runs
        The attacked runs, all of which take images of one size.
    specs
        The attacks.
    seconds_per_pass
        Name of a run → measured seconds of one pass of one image.
    """

    folder: Path
    rows: AttackedRows
    pixels: Tensor
    runs: tuple[AttackedRun, ...]
    specs: tuple[AttackSpec, ...]
    seconds_per_pass: Mapping[str, float]

    def sources(self, spec: AttackSpec) -> list[AttackedRun]:
        """Return the runs that an attack can be made on."""
        return [run for run in self.runs if run.model.has_gradient or not method_of(spec).needs_gradient]

    def file(self, spec: AttackSpec, source: AttackedRun) -> Path:
        """Return the file of the images that an attack makes on a run; its name depends on everything in it."""
        facts = {
            "version": ATTACKS_VERSION,
            "spec": spec.identity(),
            "digests": list(self.rows.digests),
            "shape": list(self.pixels.shape),
            "source": source.key,
            "runs": [run.key for run in self.runs],
        }
        return self.folder / f"{spec.method}-{source.name}-{fingerprint(facts)[:12]}.parquet"

    @property
    def expected_s(self) -> float:
        """Expected duration in seconds of all attacks whose results are not stored, and of the sanity checks."""
        n, k = len(self.pixels), len(self.rows.classes)
        n_passes: dict[str, float] = {}
        for spec in self.specs:
            for source in self.sources(spec):
                if not self.file(spec, source).is_file():
                    n_passes[source.name] = n_passes.get(source.name, 0) + n * method_of(spec).n_passes(spec, k)
        checked = {run.name: min(n, N_CHECKED) * N_CHECK_PASSES for run in self.runs if run.model.has_gradient}
        return sum((n_passes[name] + checked.get(name, 0)) * self.seconds_per_pass[name] for name in n_passes)


def method_of(spec: AttackSpec) -> AttackMethod:
    """Return the method of an attack.

    Raises
    ------
    UnsuitedError
        the method cannot limit the norm.
    """
    method: AttackMethod = ATTACKS.get(spec.method)
    if spec.norm not in method.norms:
        raise UnsuitedError(f"attack {spec.method!r} limits {' or '.join(method.norms)}, found norm {spec.norm!r}")
    return method


def prepare_attacks(  # noqa: PLR0913 (options by name, one each for the command's)
    recipe: str | Path | Recipe | None = None,
    *,
    specs: Sequence[AttackSpec] = DEFAULT_ATTACKS,
    runs: Sequence[str] | None = None,
    target: str | None = None,
    n_images: int = DEFAULT_IMAGES,
    final: bool = False,
    user: str | None = None,
    progress: ProgressCallback = no_progress,
) -> AttackJob:
    """Load runs and images, and measure how long the attacks will take; nothing is attacked yet.

    Parameters
    ----------
    recipe
        Recipe or path of a recipe; by default the one that ``$FEATX_RECIPE`` names, or ``./featx.toml``.
    specs
        Attacks, by default FGSM, PGD and the Square attack.
    runs
        Names of runs or beginnings of names; by default all runs of the target.
    target
        Name of the target; needed if there are several with classes.
    n_images
        Number of images to attack, an even sample of the part.
    final
        Whether the images are those of the sealed test split; the opening is logged. By default they are of val.
    user
        Name of the person for the log of openings.
    progress
        Receives the progress.

    Raises
    ------
    UnsuitedError
        the target has no classes, or the runs take images of different sizes.
    DataError
        there are no rows, a run is not found, or an image is gone or changed.
    """
    study = Study.open(recipe)
    name = _one_target(study, target)
    for spec in specs:
        method_of(spec)
    folders = study.runs(name, runs)
    truth = study.open_test(name, [run.name for run in folders], user) if final else study.labels(name)
    rows = select_rows(study, truth, "test" if final else "val", n_images, specs[0].seed)
    pictures = load_pictures(study, rows, progress)
    is_native = len({picture.size for picture in pictures}) == 1
    attacked = _load_runs(folders, truth.names, is_native, progress)
    pixels = to_pixels(pictures, None if is_native else attacked[0].model.preprocessing)
    seconds = {run.name: _seconds_per_pass(run.model, pixels[:BATCH_SIZE]) for run in attacked}
    return AttackJob(study.folder / FOLDER / name, rows, pixels, attacked, tuple(specs), seconds)


def _one_target(study: Study, chosen: str | None) -> str:
    """Return the target to attack, the only one with classes unless one is chosen."""
    names = study.of_kind(["classes"], chosen)
    if len(names) > 1:
        raise DataError(f"several targets have classes: {', '.join(names)}; name one by '--target'")
    return names[0]


def _load_runs(
    folders: Sequence[RunFolder], classes: Sequence[str], resizes: bool, progress: ProgressCallback
) -> tuple[AttackedRun, ...]:
    descriptions = describe_runs({run.name: run.spec for run in folders})
    loaded = [load(run.path) for run in folders]
    embedders = make_embedders(loaded, resizes)
    attacked = []
    for number, (run, saved) in enumerate(zip(folders, loaded, strict=True), start=1):
        model = AttackedModel(saved, needs_gradient=False, embedders=embedders)
        if list(model.classes) != list(classes):
            raise DataError(f"{run.name} predicts {list(model.classes)!r}, expected {list(classes)!r}")
        attacked.append(AttackedRun(run.name, descriptions[run.name].label, run.spec.fingerprint(), model))
        progress("load runs", number, len(folders), run.name)
    sizes = {run.model.preprocessing.model_copy(update={"mean": (0, 0, 0), "std": (1, 1, 1)}) for run in attacked}
    if len(sizes) > 1 and not resizes:
        raise UnsuitedError(
            "the images have several sizes and the runs resize them in different ways, so that perturbed images of one "
            "run are not images of another; attack runs with one 'size_px', given by their names"
        )
    return tuple(attacked)


@torch.no_grad()
def _seconds_per_pass(model: AttackedModel, pixels: Tensor) -> float:
    """Return the seconds of one pass of one image, from the second of two passes of a batch."""
    model(pixels)
    start = time.perf_counter()
    model(pixels)
    return (time.perf_counter() - start) / len(pixels)


def attack(
    recipe: str | Path | Recipe | None = None, *, progress: ProgressCallback = no_progress, **options: Any
) -> list[AttackResults]:
    """Attack the finished runs of a recipe; `options` are those of `prepare_attacks`."""
    return run_attacks(prepare_attacks(recipe, progress=progress, **options), progress)


def run_attacks(job: AttackJob, progress: ProgressCallback = no_progress) -> list[AttackResults]:
    """Make all attacks whose results are not stored, and return the results of all.

    What is finished is stored after each attack on each run, so that an interrupted call continues there.
    """
    clean = {run.name: _is_wrong(run, job.pixels, job.rows) for run in job.runs}
    doubts: dict[str, tuple[str, ...]] = {}
    steps = [(spec, source) for spec in job.specs for source in job.sources(spec)]
    perturbed: dict[AttackSpec, dict[str, PerturbedImages]] = {spec: {} for spec in job.specs}
    for number, (spec, source) in enumerate(steps):
        progress("attack", number, len(steps), f"{spec.method} on {source.label}")
        perturbed[spec][source.name] = _perturbed_images(job, spec, source)
        if source.name not in doubts:
            doubts[source.name] = failed_checks(
                _images(job, spec, source, slice(None)), spec, source.model.has_gradient
            )
    progress("attack", len(steps), len(steps))
    return [_summary(job, spec, clean, perturbed[spec], doubts) for spec in job.specs]


def _failed_checks(job: AttackJob, spec: AttackSpec, source: AttackedRun) -> tuple[str, ...]:
    """Return the failed sanity checks of a run, stored beside the results."""
    facts = {"version": ATTACKS_VERSION, "source": source.key, "digests": list(job.rows.digests[:N_CHECKED])}
    facts |= {"norm": spec.norm, "eps": spec.eps}
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
    pixels = torch.cat(list(_perturb(job, spec, source, BATCH_SIZE)))
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


def _perturb(job: AttackJob, spec: AttackSpec, source: AttackedRun, batch_size: int) -> Iterator[Tensor]:
    """Yield the perturbed images batch by batch; a batch that does not fit into memory is halved."""
    perturb = method_of(spec).perturb
    size, start = batch_size, 0
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
    clean: Mapping[str, NDArray[np.bool_]],
    perturbed: Mapping[str, PerturbedImages],
    doubts: Mapping[str, tuple[str, ...]],
) -> AttackResults:
    """Return the results of one attack; for a run that could not be attacked itself, all perturbed images count."""
    summaries: list[RunUnderAttack] = []
    for run in job.runs:
        counted = {run.name: perturbed[run.name]} if run.name in perturbed else perturbed
        if counted:
            summary = summarise(spec, run.name, run.label, clean[run.name], counted)
            summaries.append(replace(summary, doubts=doubts.get(run.name, ())))
    ranked = tuple(sorted(summaries, key=lambda row: -row.robust))
    return AttackResults(spec, job.rows, clean, perturbed, ranked)
