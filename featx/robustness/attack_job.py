"""Everything that is known before the first attack: runs, images, attacks, files of results, and the expected time."""

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from featx.errors import DataError, UnsuitedError
from featx.file_names import file_name
from featx.predictors.loading import load
from featx.predictors.models import Model
from featx.progress import ProgressCallback, no_progress
from featx.robustness.attack_goals import AttackGoal, make_goal
from featx.robustness.attack_plan import count_queries, made_spec, method_of, plan_attacks, search_spec
from featx.robustness.attack_statistics import AttackedUnits
from featx.robustness.attack_storage import ATTACKS_VERSION, FOLDER, AttackFiles, StoredAttack, checks_file
from featx.robustness.attacked_model import AttackedModel, find_gradient_problem
from featx.robustness.attacked_rows import BATCH_SIZE, load_pictures, to_pixels
from featx.robustness.pixel_embedder import make_embedders
from featx.robustness.run_keys import run_key
from featx.robustness.sampled_rows import SampledRows, only_target, sample_rows, targets_of
from featx.robustness.sanity_checks import N_CHECK_PASSES, N_CHECKED, is_random
from featx.specs.attacking import DEFAULT_EPS, DEFAULT_QUERIES, AttackSection, AttackSpec
from featx.specs.base import fingerprint
from featx.specs.recipe import Recipe
from featx.study.run_folder import RunFolder
from featx.study.run_settings import label_runs
from featx.study.study import Study

# Number of images by which the duration of a pass is measured.
N_MEASURED = 8
# Number of draws of a run with random outputs whose mean is attacked.
N_DRAWS = 10
# Largest l2 norm, as a mean change of a pixel, that is no number of levels in 0 … 255 by mistake.
MAX_MEAN_CHANGE = 0.25


@dataclass(frozen=True)
class AttackedRun:
    """A run under attack.

    Attributes
    ----------
    name, label
        Name and label of the run.
    key
        Fingerprint of its name and of its files, those of its members included.
    model
        The run as a function of pixels.
    seconds_per_pass
        Measured seconds of one pass of one image.
    n_draws
        Number of passes whose mean are its scores; more than one if its outputs are random.
    """

    name: str
    label: str
    key: str
    model: AttackedModel
    seconds_per_pass: float = math.nan
    n_draws: int = 1

    def scores(self, pixels: Tensor) -> Tensor:
        """Return the scores of pixels; for random outputs, their mean over draws."""
        scores: Tensor = self.model(pixels)
        for _ in range(self.n_draws - 1):
            scores = scores + self.model(pixels)
        return scores / self.n_draws


@dataclass(frozen=True)
class AttackTask:
    """One attack on one run."""

    spec: AttackSpec
    source: AttackedRun

    @property
    def name(self) -> str:
        """Name of the attack with its run, for messages."""
        limit = f" {self.spec.norm} {self.spec.eps:.3g}" if method_of(self.spec.method).has_limit else ""
        return f"{self.spec.method}{limit} on {self.source.label}"


@dataclass(frozen=True)
class AttackJob:
    """Everything that is known before the first attack.

    Attributes
    ----------
    target
        Name of the target.
    folder
        Folder of the results.
    rows
        The attacked images.
    goal
        What attacks change.
    units
        Units of the images, for intervals.
    pixels
        (n, 3, h, w) pixels of the images in [0, 1]: of the decoded images if these have one size, otherwise after
        resizing and cropping.
    runs
        The attacked runs, all of which take images of one size.
    specs
        The attacks.
    n_queries
        Queries of an image by the Square attack on runs without gradient.
    batch_size
        Images that are attacked together and stored together.
    """

    target: str
    folder: Path
    rows: SampledRows
    goal: AttackGoal
    units: AttackedUnits
    pixels: Tensor
    runs: tuple[AttackedRun, ...]
    specs: tuple[AttackSpec, ...]
    n_queries: int = DEFAULT_QUERIES
    batch_size: int = BATCH_SIZE

    @cached_property
    def tasks(self) -> tuple[AttackTask, ...]:
        """All attacks on runs, each once: runs without gradient are searched within the limit of each attack."""
        tasks: list[tuple[AttackSpec, str]] = []
        for spec in self.specs:
            generator_spec = made_spec(spec)
            method = method_of(generator_spec.method)
            for run in self.runs:
                if run.model.has_gradient or not method.needs_gradient:
                    tasks.append((generator_spec, run.name))
                elif method.has_limit:
                    tasks.append((search_spec(spec, self.specs, self.n_queries), run.name))
        runs_by_name = {run.name: run for run in self.runs}
        return tuple(AttackTask(spec, runs_by_name[name]) for spec, name in dict.fromkeys(tasks))

    @cached_property
    def pixels_key(self) -> str:
        """Fingerprint of the pixels, and of the contents and true values of the images."""
        digest = hashlib.sha256(self.pixels.numpy().data).hexdigest()
        return fingerprint([digest, list(self.rows.digests), self.rows.truth.texts(), list(self.rows.truth.names)])

    def content(self, task: AttackTask) -> StoredAttack:
        """Return the description of a task."""
        method = method_of(task.spec.method)
        return StoredAttack(
            version=ATTACKS_VERSION,
            spec=task.spec,
            has_limit=method.has_limit,
            needs_gradient=method.needs_gradient,
            part=self.rows.part,
            n_rows=self.rows.n_rows,
            source=task.source.name,
            runs={run.name: run.key for run in self.runs},
            has_gradient={run.name: run.model.has_gradient for run in self.runs},
            height_px=self.pixels.shape[-2],
            width_px=self.pixels.shape[-1],
            pixels_key=self.pixels_key,
        )

    def files(self, task: AttackTask) -> AttackFiles:
        """Return the files of a task."""
        return AttackFiles.of(self.folder, self.content(task))

    def checks_file(self, run: AttackedRun, spec: AttackSpec) -> Path:
        """Return the file of the sanity checks of a run within the limit of an attack."""
        facts = [ATTACKS_VERSION, run.key, self.pixels_key, spec.norm, spec.eps, spec.seed]
        return checks_file(self.folder, run.name, fingerprint(facts)[:12])

    @cached_property
    def checks(self) -> list[tuple[AttackedRun, AttackSpec]]:
        """Each run with the attacks within whose limit it is checked: the first one of each norm."""
        specs_by_norm = {spec.norm: spec for spec in reversed(self.specs) if method_of(spec.method).has_limit}
        specs = list(specs_by_norm.values()) or [AttackSpec(method="pgd", eps=DEFAULT_EPS)]
        return [(run, spec) for run in self.runs for spec in specs]

    @property
    def pending_checks(self) -> list[tuple[AttackedRun, AttackSpec]]:
        """Checks whose outcomes are not stored."""
        return [(run, spec) for run, spec in self.checks if not self.checks_file(run, spec).is_file()]

    def n_check_passes(self, run: AttackedRun) -> float:
        """Return the largest cost of the checks of a run in passes of one image without gradient."""
        passes_per_image = N_CHECK_PASSES if run.model.has_gradient else 2
        return min(len(self.pixels), N_CHECKED) * passes_per_image * run.n_draws

    def n_passes(self, task: AttackTask) -> float:
        """Return the cost of a task in passes of one image without gradient."""
        n_directions, n_draws = len(self.goal.directions), task.source.n_draws
        passes_per_image = method_of(task.spec.method).n_passes(task.spec, self.goal.n_alternatives())
        return len(self.pixels) * passes_per_image * n_directions * n_draws

    @property
    def pending_tasks(self) -> list[AttackTask]:
        """Tasks whose results are not stored."""
        return [task for task in self.tasks if not self.files(task).is_finished]

    @property
    def _pending_passes(self) -> list[tuple[AttackedRun, float]]:
        """Largest number of passes of one image through a run, for each attack and check whose results are not stored.

        The Square attack and further starts leave out images on which they have succeeded.
        """
        passes = [(task.source, (1 - self.finished_share(task)) * self.n_passes(task)) for task in self.pending_tasks]
        return [*passes, *((run, self.n_check_passes(run)) for run, _ in self.pending_checks)]

    @property
    def longest_s(self) -> float:
        """Longest expected duration in seconds of all attacks and checks whose results are not stored."""
        return sum(run.seconds_per_pass * n_passes for run, n_passes in self._pending_passes)

    @property
    def cost_text(self) -> str:
        """The number of attacks, images and passes, and how long they are expected to take."""
        height, width = self.pixels.shape[-2:]
        n_attacks, n_passes = len(self.tasks), sum(n_passes for _, n_passes in self._pending_passes)
        sample = f"{len(self.pixels)} of {self.rows.n_rows} {self.rows.part} images of {width} × {height} px"
        minutes = max(self.longest_s / 60, 0.1)
        cost = (
            f"at most {n_passes:,.0f} image passes in about {minutes:.1f} minutes, fewer where an attack succeeds early"
        )
        runs = "1 run" if len(self.runs) == 1 else f"{len(self.runs)} runs"
        return (
            f"{n_attacks} {'attack' if n_attacks == 1 else 'attacks'} on {runs} with {sample}: "
            f"{cost if n_passes else 'all results are stored'}"
        )

    def finished_share(self, task: AttackTask) -> float:
        """Return the share of the images whose results an interrupted call has stored."""
        return self.files(task).n_finished / len(self.pixels)


def prepare_attacks(
    recipe: str | Path | Recipe | None = None,
    *,
    sections: Sequence[AttackSection] = (AttackSection(),),
    final: bool = False,
    user: str | None = None,
    progress: ProgressCallback = no_progress,
) -> AttackJob:
    """Load runs and images, and measure how long the attacks will take; nothing is attacked yet.

    Parameters
    ----------
    recipe
        Recipe or path of a recipe; by default the one that ``$FEATX_RECIPE`` names, or ``./featx.toml``.
    sections
        Grids of attacks on the same images and runs, by default FGSM and PGD.
    final
        Whether the images are those of the sealed test split; the opening is logged. By default they are of val.
    user
        Name of the person for the log of openings.
    progress
        Receives the progress.

    Raises
    ------
    UnsuitedError
        the target has several numbers, a method cannot attack it, a run has no gradient although white-box attacks are
        demanded, or the runs take images of different sizes.
    DataError
        there are no rows, a run is not found, or an image is gone or changed.
    """
    study, first_section = Study.open(recipe), sections[0]
    target = _one_target(study, first_section.target, first_section.runs)
    open_labels = study.labels(target)
    specs = plan_attacks(sections, open_labels.kind)
    goal = make_goal(open_labels)
    folders = [run for run in study.runs(target, list(first_section.runs) or None) if run.kind != "smoothed"]
    if not folders:
        raise UnsuitedError(
            "the predictions of smoothed runs are randomised, and their certificates hold for every attack; attack the "
            "runs that they smooth"
        )
    models = _load_models(folders, open_labels.names, progress)
    gradient_problems = [find_gradient_problem(model) for model in models]
    if first_section.white_box:
        _refuse_without_gradient(folders, gradient_problems)
    _check_gradients(specs, gradient_problems)
    # The test split is opened after these checks, so that an opening is logged only for runs that can be attacked. The
    # sizes of its images are known only afterwards.
    truth = study.open_test(target, [run.name for run in folders], user) if final else open_labels
    rows = sample_rows(study, truth, "test" if final else "val", first_section.images, first_section.seed)
    pictures = load_pictures(study, rows, progress)
    is_native = len({picture.size for picture in pictures}) == 1
    labels = label_runs({run.name: run.spec for run in study.runs(target)})
    attacked_runs = _make_attacked_runs(folders, models, labels, is_native)
    pixels = to_pixels(pictures, None if is_native else attacked_runs[0].model.preprocessing)
    _check_l2_limits(specs, pixels)
    measured_runs = tuple(_measured(run, pixels[:N_MEASURED]) for run in attacked_runs)
    units = AttackedUnits(len(rows.ids), study.groups(rows.ids))
    folder = study.folder / FOLDER / file_name(target)
    return AttackJob(
        target,
        folder,
        rows,
        type(goal)(rows.truth),
        units,
        pixels,
        measured_runs,
        tuple(specs),
        count_queries(sections),
    )


def _one_target(study: Study, target: str | None, runs: Sequence[str]) -> str:
    """Return the target to attack: that of the named runs, the only one, or the only one with classes."""
    names = targets_of(study, target, runs)
    class_targets = [name for name in names if study.recipe.targets[name].kind == "classes"]
    return only_target(class_targets or names, runs)


def _load_models(folders: Sequence[RunFolder], names: Sequence[str], progress: ProgressCallback) -> list[Model]:
    """Load runs, whose classes, labels or numbers must be in the order of the true values."""
    models = []
    for number, run in enumerate(folders, start=1):
        model = load(run.path)
        if list(model.classes) != list(names):
            raise DataError(f"{run.name} predicts {list(model.classes)!r}, expected {list(names)!r}")
        models.append(model)
        progress("load runs", number, len(folders), run.name)
    return models


def _refuse_without_gradient(folders: Sequence[RunFolder], problems: Sequence[str]) -> None:
    """Refuse runs whose scores have no gradient, for white-box attacks."""
    for run, problem in zip(folders, problems, strict=True):
        if problem:
            raise UnsuitedError(
                f"{run.name} cannot be attacked with gradients: {problem}; name other runs, or leave out white_box"
            )


def _make_attacked_runs(
    folders: Sequence[RunFolder], models: Sequence[Model], labels: Mapping[str, str], resizes: bool
) -> tuple[AttackedRun, ...]:
    """Return the runs as functions of pixels, of whole pictures if they resize them."""
    embedders = make_embedders(models, resizes)
    attacked_runs = tuple(
        AttackedRun(
            run.name,
            labels[run.name],
            run_key(run),
            AttackedModel(model, needs_gradient=False, embedders=embedders),
        )
        for run, model in zip(folders, models, strict=True)
    )
    sizes = {run.model.preprocessing.model_copy(update={"mean": (0, 0, 0), "std": (1, 1, 1)}) for run in attacked_runs}
    if len(sizes) > 1 and not resizes:
        raise UnsuitedError(
            "the images have several sizes and the runs resize them in different ways, so that perturbed images of one "
            "run are not images of another; attack runs with one 'size_px', given by their names"
        )
    return attacked_runs


def _check_gradients(specs: Sequence[AttackSpec], problems: Sequence[str]) -> None:
    """Refuse attacks that leave no result, because they have no limit and no run has a gradient."""
    if not all(problems):
        return
    for spec in specs:
        if not method_of(spec.method).has_limit:
            raise UnsuitedError(
                f"none of the runs has a gradient, which attack {spec.method!r} needs: "
                f"{problems[0]}; attack them by 'square', or attack other runs too, whose images "
                "are tried on these"
            )


def _check_l2_limits(specs: Sequence[AttackSpec], pixels: Tensor) -> None:
    """Refuse limits of l2 norms that are numbers of levels in 0 … 255."""
    height, width = pixels.shape[-2:]
    for spec in specs:
        mean_change = spec.eps / math.sqrt(pixels[0].numel())
        if spec.norm == "l2" and mean_change > MAX_MEAN_CHANGE:
            raise UnsuitedError(
                f"found eps {spec.eps:g} (l2) for images of {width} × {height} px, which changes each pixel by "
                f"{mean_change:.2f} of 1 on average; if levels of 0 … 255 were meant, write {spec.eps / 255:.4g} "
                f"({spec.eps:g}/255)"
            )


@torch.no_grad()
def _measured(run: AttackedRun, pixels: Tensor) -> AttackedRun:
    """Return a run with the seconds of one pass of one image, and with several draws if its outputs are random."""
    run.model(pixels)
    start = time.perf_counter()
    has_random_outputs = is_random(run.model, pixels)
    seconds = (time.perf_counter() - start) / (2 * len(pixels))
    return AttackedRun(run.name, run.label, run.key, run.model, seconds, N_DRAWS if has_random_outputs else 1)
