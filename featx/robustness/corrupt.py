"""Evaluation of finished runs on corrupted images; each image goes through a network once for all runs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from featx.predictors.models import Columns, EnsembleModel, Model
from featx.progress import NOTE_STAGE, ProgressCallback, no_progress
from featx.robustness.corruption_job import CorruptionJob, Outputs, prepare_corruptions
from featx.robustness.corruption_record import record_evaluation
from featx.robustness.corruption_results import CorruptionResults, summarise_corruptions
from featx.robustness.corruption_store import Cell
from featx.specs.corrupting import CorruptionSpec
from featx.specs.recipe import Recipe
from featx.tables.ids import Floats


def corrupt(  # noqa: PLR0913 (options by name, one each for the command's)
    recipe: str | Path | Recipe | None = None,
    *,
    spec: CorruptionSpec | None = None,
    runs: Sequence[str] | str | None = None,
    target: str | None = None,
    final: bool = False,
    user: str | None = None,
    progress: ProgressCallback = no_progress,
) -> CorruptionResults:
    """Score the finished runs of a recipe on corrupted images.

    Parameters
    ----------
    recipe
        Recipe or path of a recipe; by default the one that ``$FEATX_RECIPE`` names, or ``./featx.toml``.
    spec
        Kinds, severities, number of images and reference; by default those of the recipe's section ``[corruption]``.
    runs
        Names of runs or beginnings of names; by default all runs of the target.
    target
        Name of the target; needed if there are several and no runs of one are named.
    final
        Whether the images are those of the sealed test split; the opening is logged. By default they are of val.
    user
        Name of the person for the log of openings.
    progress
        Receives the progress.

    Raises
    ------
    DataError
        There are no rows, a run is not found or uses vectors that were made elsewhere, or an image is gone or changed.
    """
    job = prepare_corruptions(recipe, spec=spec, runs=runs, target=target, final=final, user=user, progress=progress)
    return run_corruptions(job, progress)


def run_corruptions(job: CorruptionJob, progress: ProgressCallback = no_progress) -> CorruptionResults:
    """Compute all outputs that are not stored, and return the scores of all runs.

    Outputs are stored after each kind and severity, so that an interrupted call continues there.
    """
    progress(NOTE_STAGE, 0, 1, job.cost_text)
    n_cells = len(job.missing)
    for number, cell in enumerate(job.missing):
        progress("corrupt", number, n_cells, f"{cell.kind} {cell.severity}")
        job.store.write(cell, _outputs(job, cell))
    if n_cells:
        progress("corrupt", n_cells, n_cells)
    results = summarise_corruptions(job.study, job.target, job.runs, job.store, job.cells, job.reference)
    record_evaluation(job.study, job.spec, results, job.store.rows, job.runs)
    return results


def _outputs(job: CorruptionJob, cell: Cell) -> Outputs:
    """Return the outputs of the runs that lack them for one cell."""
    vectors, digests = job.embed(cell), job.store.rows.digests
    columns: Columns = {
        name: np.array([vectors_by_digest[digest] for digest in digests], dtype=np.float32)
        for name, vectors_by_digest in vectors.items()
    }
    # Members of ensembles predict once for all ensembles.
    predicted: dict[Path, Floats] = {}
    return {
        run: (job.models[run.name].classes, _predict(job.models[run.name], columns, predicted))
        for run in job.missing[cell]
    }


def _predict(model: Model, columns: Columns, predicted: dict[Path, Floats]) -> Floats:
    """Return the outputs (n, k) of a run, those of its members from `predicted` where they have predicted before."""
    if model.folder not in predicted:
        if isinstance(model, EnsembleModel):
            members = [model.reorder(member, _predict(member, columns, predicted)) for member in model.members]
            predicted[model.folder] = model.combine(np.stack(members))
        else:
            predicted[model.folder] = model.predict_columns(columns)
    return predicted[model.folder]
