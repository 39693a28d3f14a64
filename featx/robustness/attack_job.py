"""Everything that is known before the first attack: runs, images, attacks, files of results, and the expected time."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from featx.errors import DataError, UnsuitedError
from featx.predictors.loading import load
from featx.predictors.models import EnsembleModel, Model
from featx.progress import ProgressCallback, no_progress
from featx.registry import ATTACKS
from featx.robustness.attacked_model import AttackedModel
from featx.robustness.attacked_rows import AttackedRows, load_pictures, select_rows, to_pixels
from featx.robustness.attacks.attack_method import GRADIENT_COST, AttackMethod
from featx.robustness.pixel_embedder import make_embedders
from featx.robustness.sanity_checks import N_CHECKED, N_GRADIENTS, N_PASSES
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
        Fingerprint of its name and of its files, those of its members included.
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
    folders = [run for run in study.runs(name, runs) if run.kind != "smoothed"]
    if not folders:
        raise UnsuitedError(
            "smoothed runs answer at random; their certificates hold for every attack: attack their runs"
        )
    loaded = _load_models(folders, study.labels(name).names, progress)
    # The test split is opened last, so that an opening is logged only for runs that can be attacked.
    truth = study.open_test(name, [run.name for run in folders], user) if final else study.labels(name)
    rows = select_rows(study, truth, "test" if final else "val", n_images, specs[0].seed)
    pictures = load_pictures(study, rows, progress)
    is_native = len({picture.size for picture in pictures}) == 1
    attacked = _make_attacked_runs(folders, loaded, is_native)
    pixels = to_pixels(pictures, None if is_native else attacked[0].model.preprocessing)
    seconds = {run.name: _seconds_per_pass(run.model, pixels[:BATCH_SIZE]) for run in attacked}
    return AttackJob(study.folder / FOLDER / name, rows, pixels, attacked, tuple(specs), seconds)


def _one_target(study: Study, chosen: str | None) -> str:
    """Return the target to attack, the only one with classes unless one is chosen."""
    names = study.of_kind(["classes"], chosen)
    if len(names) > 1:
        raise DataError(f"several targets have classes: {', '.join(names)}; name one by '--target'")
    return names[0]


def _load_models(folders: Sequence[RunFolder], classes: Sequence[str], progress: ProgressCallback) -> list[Model]:
    """Load runs, whose classes must be in the order of the labels."""
    loaded = []
    for number, run in enumerate(folders, start=1):
        model = load(run.path)
        if list(model.classes) != list(classes):
            raise DataError(f"{run.name} predicts {list(model.classes)!r}, expected {list(classes)!r}")
        loaded.append(model)
        progress("load runs", number, len(folders), run.name)
    return loaded


def _make_attacked_runs(
    folders: Sequence[RunFolder], loaded: Sequence[Model], resizes: bool
) -> tuple[AttackedRun, ...]:
    """Return the runs as functions of pixels, of whole pictures if they resize them."""
    descriptions = describe_runs({run.name: run.spec for run in folders})
    embedders = make_embedders(loaded, resizes)
    attacked = tuple(
        AttackedRun(
            run.name,
            descriptions[run.name].label,
            fingerprint([run.name, *_body_digests(model)]),
            AttackedModel(model, needs_gradient=False, embedders=embedders),
        )
        for run, model in zip(folders, loaded, strict=True)
    )
    sizes = {run.model.preprocessing.model_copy(update={"mean": (0, 0, 0), "std": (1, 1, 1)}) for run in attacked}
    if len(sizes) > 1 and not resizes:
        raise UnsuitedError(
            "the images have several sizes and the runs resize them in different ways, so that perturbed images of one "
            "run are not images of another; attack runs with one 'size_px', given by their names"
        )
    return attacked


def _body_digests(model: Model) -> list[str]:
    """Return the SHA-256 of the files of a model and of the members of an ensemble."""
    members = model.members if isinstance(model, EnsembleModel) else ()
    return [model.header.body_sha256, *(digest for member in members for digest in _body_digests(member))]


@torch.no_grad()
def _seconds_per_pass(model: AttackedModel, pixels: Tensor) -> float:
    """Return the seconds of one pass of one image, from the second of two passes of a batch."""
    model(pixels)
    start = time.perf_counter()
    model(pixels)
    return (time.perf_counter() - start) / len(pixels)
