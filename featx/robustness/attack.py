"""Attacks on the finished runs of a recipe: each run is attacked, and every run predicts all perturbed images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from featx.files.atomic import read_json_as, write_json
from featx.progress import NOTE_STAGE, ProgressCallback, no_progress
from featx.robustness.attack_batches import halved_batches, images_under_attack, run_task, scores_of_runs
from featx.robustness.attack_goals import NumberGoal
from featx.robustness.attack_job import AttackedRun, AttackJob, AttackTask, prepare_attacks
from featx.robustness.attack_plan import evaluated, group_sections
from featx.robustness.attack_results import AttackedRuns
from featx.robustness.attack_storage import ATTACKS_VERSION, CheckOutcomes
from featx.robustness.attack_tables import AttackTable
from featx.robustness.attacks.attacked_images import QueryMeter
from featx.robustness.robustness_evaluation import RobustnessEvaluation
from featx.robustness.sanity_checks import N_CHECKED, check_attacks
from featx.specs.attacking import AttackSection, AttackSpec
from featx.specs.recipe import Recipe, load_recipe
from featx.specs.sequences import as_tuple

STAGE = "attack"


def attack(
    recipe: str | Path | Recipe | None = None,
    *,
    sections: Sequence[AttackSection] | AttackSection = (),
    final: bool = False,
    user: str | None = None,
    progress: ProgressCallback = no_progress,
) -> list[RobustnessEvaluation]:
    """Attack the finished runs of a recipe.

    Parameters
    ----------
    recipe
        Recipe or path of a recipe; by default the one that ``$FEATX_RECIPE`` names, or ``./featx.toml``.
    sections
        Grids of attacks; by default those of the recipe, or if it has none, FGSM and PGD.
    final
        Whether the images are those of the sealed test split; the opening is logged. By default they are of val.
    user
        Name of the person for the log of openings.
    progress
        Receives the progress.

    Returns
    -------
    list
        One evaluation for each group of sections that attack the same images and runs.

    Raises
    ------
    UnsuitedError, DataError
        as in `featx.robustness.attack_job.prepare_attacks`.
    """
    loaded_recipe = load_recipe(recipe)
    attack_sections = as_tuple(sections) or loaded_recipe.attack or (AttackSection(seed=loaded_recipe.seed),)
    return [
        run_attacks(prepare_attacks(loaded_recipe, sections=group, final=final, user=user, progress=progress), progress)
        for group in group_sections(attack_sections)
    ]


def run_attacks(job: AttackJob, progress: ProgressCallback = no_progress) -> RobustnessEvaluation:
    """Make all attacks whose results are not stored, and return the results of all.

    Each batch of images is stored when it is finished, so that an interrupted call continues there.
    """
    progress(NOTE_STAGE, 0, 1, job.cost_text)
    pending_tasks, checks = job.pending_tasks, job.pending_checks
    n_passes = sum(map(job.n_passes, pending_tasks)) + sum(job.n_check_passes(run) for run, _ in checks)
    meter = _ProgressMeter(n_passes, progress)
    clean_scores = scores_of_runs(job.runs, job.pixels) if pending_tasks or checks else {}
    for task in pending_tasks:
        meter.begin(task.name, job.n_passes(task), job.finished_share(task))
        run_task(job, task, clean_scores, meter.add)
        meter.end()
    for run, spec in checks:
        meter.begin(f"checks of {run.label}", job.n_check_passes(run))
        _check(job, run, spec, clean_scores, QueryMeter(report=meter.add))
        meter.end()
    outcomes = [read_json_as(job.checks_file(run, spec), CheckOutcomes) for run, spec in job.checks]
    tables = [AttackTable.read(job.files(task)) for task in job.tasks]
    labels = {run.name: run.label for run in job.runs}
    attacks = list(map(evaluated, job.specs))
    runs = AttackedRuns(job.goal.truth.kind, labels, tables, attacks, job.units)
    return runs.evaluate(job.target, job.content(job.tasks[0]), outcomes)


class _ProgressMeter:
    """Reports the finished image passes of all attacks and checks: their rate and the time left."""

    def __init__(self, n_passes: float, progress: ProgressCallback) -> None:
        self._total = n_passes
        self._progress, self._note = progress, ""
        self._before = self._own = self._expected = 0.0

    def begin(self, note: str, n_passes: float, finished_share: float = 0.0) -> None:
        """Begin an attack, or checks, that take at most a number of passes, of which a share is finished."""
        self._note, self._own, self._expected = note, finished_share * n_passes, n_passes
        self._report()

    def add(self, cost: float) -> None:
        """Count passes of an attack."""
        self._own = min(self._own + cost, self._expected)
        self._report()

    def end(self) -> None:
        """End an attack, which may have taken fewer passes."""
        self._own = self._expected
        self._report()
        self._before += self._expected
        self._own = 0.0

    def _report(self) -> None:
        self._progress(STAGE, round(self._before + self._own), round(self._total), self._note)


def _check(
    job: AttackJob, run: AttackedRun, spec: AttackSpec, clean_scores: Mapping[str, Tensor], meter: QueryMeter
) -> None:
    """Make the sanity checks of a run, on as many images as fit into memory, and store their outcomes."""
    is_classification = not isinstance(job.goal, NumberGoal)

    def check(rows: slice) -> tuple[int, list[str]]:
        images = images_under_attack(job, AttackTask(spec, run), rows, clean_scores[run.name])
        return check_attacks(replace(images, meter=meter), spec, run.model.has_gradient, is_classification)

    n_images = min(N_CHECKED, len(job.pixels))
    _, (n_checks, failures) = next(halved_batches(n_images, 0, n_images, check))
    outcomes = CheckOutcomes(
        version=ATTACKS_VERSION,
        run=run.name,
        key=run.key,
        pixels_key=job.pixels_key,
        norm=spec.norm,
        eps=spec.eps,
        n_checks=n_checks,
        failures=failures,
    )
    file = job.checks_file(run, spec)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, outcomes.model_dump(mode="json"))
