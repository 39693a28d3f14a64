"""Record of the last evaluation on corrupted val images, which is shown while images, labels and runs are unchanged.

::

    runs/<recipe>/corruptions/<target>/evaluated.json
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from featx.errors import IncompleteError
from featx.files.seals import read_sealed, write_sealed
from featx.robustness.corruption_results import CorruptionResults, summarise_corruptions
from featx.robustness.corruption_store import CorruptionStore, corruptions_folder, make_cells
from featx.robustness.run_keys import run_key
from featx.robustness.sampled_rows import SampledRows, sample_rows
from featx.specs.base import fingerprint
from featx.specs.corrupting import CorruptionSpec
from featx.study.run_folder import RunFolder
from featx.study.study import Study

RECORD_FILE = "evaluated.json"


class RecordedRun(BaseModel):
    """Scores of a run.

    Attributes
    ----------
    key
        Fingerprint of the run's name and files.
    original
        Score on the original images.
    mean
        Mean score over kinds and severities; None if only probes were evaluated.
    """

    key: str
    original: float
    mean: float | None


class CorruptionRecord(BaseModel):
    """An evaluation on val rows.

    Attributes
    ----------
    spec
        Kinds, severities and sample.
    reference
        Name of the reference run.
    state
        Fingerprint of the images, their true values and the score.
    runs
        Name of each run → its scores, the best one first.
    """

    spec: CorruptionSpec
    reference: str | None
    state: str
    runs: dict[str, RecordedRun]


@dataclass(frozen=True)
class CorruptionSummary:
    """Recorded scores of the runs that are unchanged.

    Attributes
    ----------
    score
        Name of the score.
    runs
        Name of each run → its scores, the best one first.
    """

    score: str
    runs: dict[str, RecordedRun]


def record_evaluation(
    study: Study, spec: CorruptionSpec, results: CorruptionResults, rows: SampledRows, runs: Sequence[RunFolder]
) -> None:
    """Record an evaluation on val rows; one on test rows is not, since reports never open the test split."""
    if rows.part != "val":
        return
    keys = {run.name: run_key(run) for run in runs}
    recorded = {
        run.run: RecordedRun(key=keys[run.run], original=run.original.score, mean=run.mean) for run in results.runs
    }
    state = _state(rows, results.score)
    record = CorruptionRecord(spec=spec, reference=results.reference, state=state, runs=recorded)
    write_sealed(corruptions_folder(study.folder, results.target) / RECORD_FILE, record.model_dump(mode="json"))


def _state(rows: SampledRows, score: str) -> str:
    """Return a fingerprint of the images, their true values and the score."""
    truth = rows.truth
    weights = None if truth.weights is None else truth.weights.tolist()
    return fingerprint([rows.key, truth.values.tolist(), list(truth.names), weights, score])


def _read_record(study: Study, target: str) -> CorruptionRecord | None:
    """Return the record; None if there is none, it was changed, or it names kinds that are not installed any more."""
    file = corruptions_folder(study.folder, target) / RECORD_FILE
    if not file.is_file() or not len(study.ids("val")):
        return None
    try:
        return read_sealed(file, "run 'featx corrupt' again", CorruptionRecord)
    except IncompleteError:
        return None


def _recorded_rows(study: Study, target: str, record: CorruptionRecord) -> SampledRows:
    return sample_rows(study, study.labels(target), "val", record.spec.images, record.spec.seed)


def read_summary(study: Study, target: str) -> CorruptionSummary | None:
    """Return the recorded scores of unchanged runs on val rows; None if there are none.

    Nothing is computed, so that other commands can print it.
    """
    record = _read_record(study, target)
    if record is None or record.state != _state(_recorded_rows(study, target, record), study.metric(target)):
        return None
    keys = {run.name: run_key(run) for run in study.runs(target)}
    unchanged_runs = {name: run for name, run in record.runs.items() if keys.get(name) == run.key}
    return CorruptionSummary(study.metric(target), unchanged_runs) if unchanged_runs else None


def read_corruptions(study: Study, target: str) -> CorruptionResults | None:
    """Return the results of the last evaluation on val rows for the runs and images that are unchanged.

    Returns
    -------
    CorruptionResults or None
        None if nothing was evaluated, or if no run has outputs for all images, kinds and severities any more.
    """
    record = _read_record(study, target)
    if record is None:
        return None
    rows = _recorded_rows(study, target, record)
    store, cells = CorruptionStore(corruptions_folder(study.folder, target), rows), make_cells(record.spec)
    keys = {run: run_key(run) for run in study.runs(target)}
    runs = [run for run, key in keys.items() if all(key in store.keys(cell) for cell in cells)]
    if not runs:
        return None
    reference = record.reference if record.reference in [run.name for run in runs] else None
    return summarise_corruptions(study, target, runs, store, cells, reference)
