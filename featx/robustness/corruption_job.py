"""Everything that is known before the first corrupted image: runs, images, kinds, stored outputs, the expected time."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from featx.embeddings.engine import workers_for
from featx.embeddings.files import FileEmbedder
from featx.embeddings.near_copies import find_near_copies
from featx.embeddings.workers import Images
from featx.errors import DataError
from featx.predictors.loading import load
from featx.predictors.models import Model
from featx.progress import ProgressCallback, no_progress
from featx.robustness.corrupted_pictures import CorruptingDecoder, read_pictures
from featx.robustness.corruption_store import ORIGINAL, Cell, CorruptionStore, corruptions_folder, make_cells
from featx.robustness.run_keys import run_key
from featx.robustness.sampled_rows import only_target, sample_rows, targets_of
from featx.specs.corrupting import CorruptionSpec
from featx.specs.embedding import Decoding, Preprocessing
from featx.specs.recipe import Recipe
from featx.specs.sequences import as_tuple
from featx.study.run_folder import RunFolder
from featx.study.study import Study
from featx.tables.ids import Floats

# Pictures that measure the rate of the networks, and severity at which the duration of each kind is measured.
N_TIMED, TIMED_SEVERITY = 16, 3
Outputs = dict[RunFolder, tuple[tuple[str, ...], Floats]]


@dataclass(frozen=True, eq=False)
class CorruptionJob:
    """Everything that is known before the first corrupted image.

    Attributes
    ----------
    study
        The study.
    target
        Name of the target.
    spec
        Kinds, severities, number of images and reference.
    runs
        The runs.
    reference
        Name of the reference of the mean corruption error; None for none.
    cells
        Kinds of corruptions at each severity, the original images first.
    store
        Stored outputs, and the sample of rows.
    missing
        Cell → runs whose outputs are not stored, if there are any.
    embedder
        Networks of the runs whose outputs are missing; None if none are.
    models
        Name of each of these runs → the loaded run.
    pictures
        Settings of decoding → digest and pixels of the images; empty if no outputs are missing.
    image_s
        Measured seconds of an image in the networks, and cell → seconds of its corruption.
    """

    study: Study
    target: str
    spec: CorruptionSpec
    runs: tuple[RunFolder, ...]
    reference: str | None
    cells: tuple[Cell, ...]
    store: CorruptionStore
    missing: Mapping[Cell, Sequence[RunFolder]]
    embedder: FileEmbedder | None
    models: Mapping[str, Model]
    pictures: Mapping[Decoding, Images]
    image_s: tuple[float, Mapping[Cell, float]] = (0.0, {})

    @property
    def n_networks(self) -> int:
        """Number of networks that the images go through."""
        models = self.models.values()
        return len({embedding.request.network_key for model in models for embedding in model.local_embeddings})

    @property
    def expected_s(self) -> float:
        """Expected duration in seconds of all cells whose outputs are not stored."""
        network_s, corruption_s = self.image_s
        n = len(next(iter(self.pictures.values()), ()))
        workers = workers_for(self.study.recipe.engine())
        return sum(n * (network_s + corruption_s[cell] / workers) for cell in self.missing)

    @property
    def cost_text(self) -> str:
        """The number of corruptions, images and networks, and how long they are expected to take."""
        n_damaged = sum(cell.is_corruption for cell in self.cells)
        n_probes = len(self.cells) - 1 - n_damaged
        counts = [
            f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in ((n_damaged, "corruption"), (n_probes, "probe")) if n
        ]
        sample = f"{len(self.store.rows.ids)} of {self.store.rows.n_rows} {self.store.rows.part} images"
        runs = "1 run" if len(self.runs) == 1 else f"{len(self.runs)} runs"
        if not self.missing:
            return f"{' and '.join(counts)} of {sample}, {runs}: all outputs are stored"
        networks = "1 network" if self.n_networks == 1 else f"{self.n_networks} networks"
        minutes = max(self.expected_s / 60, 0.1)
        return f"{' and '.join(counts)} of {sample} through {networks} for {runs}: about {minutes:.1f} minutes"

    def embed(self, cell: Cell, digests: Sequence[str] = ()) -> dict[str, dict[str, Floats]]:
        """Return the vectors of the corrupted images by fingerprint and digest; of some images if `digests` are given.

        Raises
        ------
        DataError
            an image could not be corrupted or embedded.
        """
        assert self.embedder is not None
        chosen_digests = set(digests)
        pending_images = {
            decoding: [image for image in images if not chosen_digests or image[0] in chosen_digests]
            for decoding, images in self.pictures.items()
        }
        vectors, failure_reasons = self.embedder.embed_contents(pending_images, partial(_make_decoder, cell))
        for digest, reason in failure_reasons.items():
            name = self.store.rows.ids[self.store.rows.digests.index(digest)]
            raise DataError(f"image {name!r} under {cell.kind} {cell.severity} could not be embedded: {reason}")
        return vectors  # type: ignore[return-value]


def _make_decoder(cell: Cell, _decoding: Decoding, sizes: tuple[Preprocessing, ...]) -> CorruptingDecoder:
    return CorruptingDecoder(cell.corruption, cell.kind, cell.severity, sizes)


def prepare_corruptions(  # noqa: PLR0913 (options by name, one each for the command's)
    recipe: str | Path | Recipe | None = None,
    *,
    spec: CorruptionSpec | None = None,
    runs: Sequence[str] | str | None = None,
    target: str | None = None,
    final: bool = False,
    user: str | None = None,
    progress: ProgressCallback = no_progress,
) -> CorruptionJob:
    """Load runs and images, and measure how long the evaluation will take; nothing is stored yet.

    Parameters and errors are those of `featx.corrupt`.
    """
    study = Study.open(recipe)
    runs = None if runs is None else as_tuple(runs)
    spec = spec or study.recipe.corruption or CorruptionSpec()
    name = only_target(targets_of(study, target, runs), runs)
    cells = make_cells(spec)
    # Smoothed runs are left out unless they are named, which is refused.
    folders = [run for run in study.runs(name, runs) if runs or run.kind != "smoothed"]
    reference = None if spec.reference is None else _find_reference(study, name, spec.reference)
    if reference is not None and reference.name not in [run.name for run in folders]:
        folders = [*folders, reference]
    find_near_copies(study, progress)
    # Runs that cannot be evaluated are refused before the test split is opened.
    models = {run.name: _load(run) for run in folders}
    truth = study.open_test(name, [run.name for run in folders], user) if final else study.labels(name)
    rows = sample_rows(study, truth, "test" if final else "val", spec.images, spec.seed)
    store = CorruptionStore(corruptions_folder(study.folder, name), rows)
    missing_runs = _missing_runs(store, cells, folders)
    reference_name = None if reference is None else reference.name
    job = CorruptionJob(study, name, spec, tuple(folders), reference_name, cells, store, missing_runs, None, {}, {})
    return _with_networks(job, models, progress) if missing_runs else job


def _find_reference(study: Study, target: str, name: str) -> RunFolder:
    """Return the run that a name or the beginning of one means.

    Raises
    ------
    DataError
        no run or several runs are called so.
    """
    matching_runs = study.runs(target, [name])
    if len(matching_runs) > 1:
        names_text = ", ".join(run.name for run in matching_runs)
        raise DataError(
            f"{len(matching_runs)} runs are called {name!r} ({names_text}); expected the name of one reference"
        )
    return matching_runs[0]


def _load(run: RunFolder) -> Model:
    """Return a run that predicts from embeddings.

    Raises
    ------
    DataError
        it is a smoothed run, or uses vectors that were made elsewhere.
    """
    if run.kind == "smoothed":
        raise DataError(f"smoothed runs add noise to images themselves, found {run.name}; name the run that it smooths")
    model = load(run.path)
    external = [embedding for embedding in model.embeddings if embedding.request.vectors is not None]
    if external:
        raise DataError(
            f"{run.name} uses {external[0].request.name!r}, vectors that were made elsewhere and not of "
            "corrupted images; name runs on networks"
        )
    return model


def _missing_runs(
    store: CorruptionStore, cells: Sequence[Cell], runs: Sequence[RunFolder]
) -> dict[Cell, list[RunFolder]]:
    """Return the runs of each cell whose outputs are not stored; cells that are complete are left out."""
    keys = {run: run_key(run) for run in runs}
    missing_runs = {}
    for cell in cells:
        stored_keys = store.keys(cell)
        if absent_runs := [run for run in runs if keys[run] not in stored_keys]:
            missing_runs[cell] = absent_runs
    return missing_runs


def _with_networks(job: CorruptionJob, models: Mapping[str, Model], progress: ProgressCallback) -> CorruptionJob:
    """Return a job with the networks and the pictures that the missing outputs need, and with measured durations."""
    names = {run.name for absent_runs in job.missing.values() for run in absent_runs}
    needed_models = {name: model for name, model in models.items() if name in names}
    embeddings = tuple(
        dict.fromkeys(embedding for model in needed_models.values() for embedding in model.local_embeddings)
    )
    networks = {key: network for model in needed_models.values() for key, network in model.networks.items()}
    n_images = len(set(job.store.rows.digests)) * len(job.missing)
    embedder = FileEmbedder(embeddings, job.study.recipe.extraction.device, networks, n_images)
    pictures = read_pictures(job.store.rows, embedder.decodings, progress)
    prepared_job = replace(job, embedder=embedder, models=needed_models, pictures=pictures)
    return replace(prepared_job, image_s=_measure(prepared_job))


def _measure(job: CorruptionJob) -> tuple[float, dict[Cell, float]]:
    """Return the seconds of an image in the networks, and the seconds of the corruption of each missing cell."""
    images = next(iter(job.pictures.values()))[:N_TIMED]
    digests = [digest for digest, _ in images]
    # The first call also builds the networks and starts the workers.
    job.embed(ORIGINAL, digests)
    start = time.perf_counter()
    job.embed(ORIGINAL, digests)
    network_s = (time.perf_counter() - start) / len(images)
    seconds_by_kind: dict[str, float] = {}
    for cell in job.missing:
        if cell.kind not in seconds_by_kind:
            seconds_by_kind[cell.kind] = _damage_s(cell, images[:1])
    return network_s, {cell: seconds_by_kind[cell.kind] for cell in job.missing}


def _damage_s(cell: Cell, images: Images) -> float:
    """Return the seconds that the corruption of the first image takes, from the second of two times."""
    severity = cell.severity if cell.corruption is None else min(TIMED_SEVERITY, len(cell.corruption.strengths))
    decoder = CorruptingDecoder(cell.corruption, cell.kind, severity)
    digest, pixels = images[0]
    decoder.corrupt(np.asarray(pixels), digest)
    start = time.perf_counter()
    decoder.corrupt(np.asarray(pixels), digest)
    return time.perf_counter() - start
