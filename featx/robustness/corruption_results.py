"""Scores of runs on corrupted images, from stored outputs, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from featx.evaluation.intervals import Resamples, draw_scores, is_constant, percentile_interval, unseen_intervals
from featx.metrics.definitions import Scorer, find_score
from featx.metrics.score_texts import ScoreFormat
from featx.metrics.scores import align
from featx.robustness.corruption_errors import CorruptionErrors, error_of, mean_corruption_errors
from featx.robustness.corruption_store import ORIGINAL, Cell, CorruptionStore
from featx.robustness.corruptions.kinds import patch_shuffle
from featx.robustness.shift_consistency import ShiftConsistency, measure_consistency
from featx.study.run_folder import RunFolder
from featx.study.run_settings import label_runs
from featx.study.study import Study
from featx.tables.ids import Floats, Kind
from featx.tables.predictions import AnyPredictions
from featx.tables.truth import AnyTruth

# Draws of each interval: there are a hundred intervals for each run.
N_DRAWS = 500
PIXEL_SHIFT, PATCH_SHUFFLE, EDGES = "pixel_shift", "patch_shuffle", "edges"
# Patches on each side at each severity of `PATCH_SHUFFLE`.
SHUFFLED_GRIDS = tuple(map(int, patch_shuffle.strengths))
Interval = tuple[float, float]


@dataclass(frozen=True)
class CellScore:
    """Score of a run under one kind of corruption at one severity.

    Attributes
    ----------
    kind, severity
        Kind of corruption and severity; ``original`` and 0 for the original images.
    score
        The score.
    interval
        95 % interval of the score.
    """

    kind: str
    severity: int
    score: float
    interval: Interval


@dataclass(frozen=True)
class CorruptedRun:
    """Scores of one run on corrupted images.

    Attributes
    ----------
    run, label
        Name and label of the run.
    original
        Score on the original images.
    cells
        Scores under each kind of corruption and severity.
    probes
        Scores of the probes.
    mean
        Mean score over all kinds and severities; None if only probes were evaluated.
    interval
        95 % interval of `mean`.
    errors
        Mean corruption errors; None without a reference.
    consistency
        Whether the prediction stays under shifts by one pixel; None if they were not evaluated.
    """

    run: str
    label: str
    original: CellScore
    cells: tuple[CellScore, ...]
    probes: tuple[CellScore, ...]
    mean: float | None
    interval: Interval | None
    errors: CorruptionErrors | None
    consistency: ShiftConsistency | None

    @property
    def by_kind(self) -> dict[str, float]:
        """Mean score over the severities of each kind of corruption."""
        kinds = dict.fromkeys(cell.kind for cell in self.cells)
        return {kind: float(np.mean([cell.score for cell in self.cells if cell.kind == kind])) for kind in kinds}

    def probe_scores(self, kind: str) -> list[float]:
        """Return the scores of a probe at each of its severities."""
        return [cell.score for cell in self.probes if cell.kind == kind]


@dataclass(frozen=True)
class CorruptionResults:
    """Scores of all runs of a target on corrupted images.

    Attributes
    ----------
    target, kind
        Name and kind of the target.
    part
        ``val`` or ``test``.
    ids
        Ids of the images.
    n_rows
        Number of rows of the part, of which the images are a sample.
    score
        Name of the score.
    reference
        Name of the reference run; None for none.
    runs
        Runs, the best mean score first.
    """

    target: str
    kind: Kind
    part: str
    ids: tuple[str, ...]
    n_rows: int
    score: str
    reference: str | None
    runs: tuple[CorruptedRun, ...]

    @property
    def score_format(self) -> ScoreFormat:
        """Formats of the scores of all runs on original and on corrupted images."""
        return ScoreFormat.of(self.score, [value for run in self.runs for value in (run.original.score, run.mean)])

    @property
    def problems(self) -> list[str]:
        """Reasons why runs have no mean corruption errors."""
        errors = [run.errors for run in self.runs if run.errors is not None]
        return list(dict.fromkeys(problem for error in errors for problem in error.problems))

    @property
    def score_drop_by_kind(self) -> dict[str, float]:
        """Loss of score by each kind of corruption, averaged over severities and runs; the most harmful kind first."""
        sign = find_score(self.score).signed(1.0)
        losses = {
            kind: float(np.mean([sign * (run.original.score - run.by_kind[kind]) for run in self.runs]))
            for kind in self.runs[0].by_kind
        }
        return dict(sorted(losses.items(), key=lambda item: -item[1]))


def summarise_corruptions(  # noqa: PLR0913 (each is one part of an evaluation)
    study: Study,
    target: str,
    runs: Sequence[RunFolder],
    store: CorruptionStore,
    cells: Sequence[Cell],
    reference: str | None,
) -> CorruptionResults:
    """Return the scores of runs from their stored outputs.

    Parameters
    ----------
    study, target
        The study, and the name of the target.
    runs
        Runs whose outputs are stored for all cells.
    store
        The stored outputs.
    cells
        Kinds of corruptions at each severity, the original images included.
    reference
        Name of the run that mean corruption errors are relative to.
    """
    labels = label_runs({run.name: run.spec for run in study.runs(target)})
    rows, metric = store.rows, study.metric(target)
    outputs = {cell: store.read(cell, runs) for cell in cells}
    resamples = replace(Resamples.of(len(rows.ids), study.groups(rows.ids)), n_draws=N_DRAWS)
    run_scores = [_score_run(run.name, labels[run.name], rows.truth, outputs, metric, resamples) for run in runs]
    if reference is not None:
        run_scores = _with_errors(run_scores, reference, metric)
    sort_key = find_score(metric).sort_key
    ranked_runs = sorted(run_scores, key=lambda run: -sort_key(run.original.score if run.mean is None else run.mean))
    ids = tuple(map(str, rows.ids))
    return CorruptionResults(
        target, rows.truth.kind, rows.part, ids, rows.n_rows, metric, reference, tuple(ranked_runs)
    )


def _score_run(  # noqa: PLR0913 (each is one part of a score)
    name: str,
    label: str,
    truth: AnyTruth,
    outputs: Mapping[Cell, Mapping[str, AnyPredictions]],
    metric: str,
    resamples: Resamples,
) -> CorruptedRun:
    """Return the scores of one run."""
    cells = list(outputs)
    aligned_pairs = [align(truth, outputs[cell][name]) for cell in cells]
    scorers = [Scorer(*pair, [metric]) for pair in aligned_pairs]
    weights = aligned_pairs[0][0].weights
    draws = [values[metric] for values in draw_scores(scorers, resamples, weights)]
    scores = [
        CellScore(cell.kind, cell.severity, scorer.plain(weights)[metric], _interval(values, scorer, resamples))
        for cell, scorer, values in zip(cells, scorers, draws, strict=True)
    ]
    scores_by_cell = dict(zip(cells, scores, strict=True))
    corruption_scores = tuple(score for cell, score in scores_by_cell.items() if cell.is_corruption)
    mean_draws = _mean_over_kinds([(cell.kind, d) for cell, d in zip(cells, draws, strict=True) if cell.is_corruption])
    shifted_outputs = [pair[1] for cell, pair in zip(cells, aligned_pairs, strict=True) if cell.kind == PIXEL_SHIFT]
    run = CorruptedRun(
        name,
        label,
        scores_by_cell[ORIGINAL],
        corruption_scores,
        tuple(score for cell, score in scores_by_cell.items() if cell is not ORIGINAL and not cell.is_corruption),
        None,
        None,
        None,
        measure_consistency(*aligned_pairs[cells.index(ORIGINAL)], shifted_outputs) if shifted_outputs else None,
    )
    if mean_draws is None:
        return run
    corruption_scorer = scorers[cells.index(next(cell for cell in cells if cell.is_corruption))]
    return replace(
        run,
        mean=float(np.mean(list(run.by_kind.values()))),
        interval=_interval(mean_draws, corruption_scorer, resamples),
    )


def _mean_over_kinds(draws: Sequence[tuple[str, Floats]]) -> Floats | None:
    """Return the draws of the mean over kinds of the mean over severities; None if there are none."""
    kinds = dict.fromkeys(kind for kind, _ in draws)
    means = [np.mean([values for kind, values in draws if kind == name], axis=0) for name in kinds]
    return np.asarray(np.mean(means, axis=0)) if means else None


def _interval(draws: Floats, scorer: Scorer, resamples: Resamples) -> Interval:
    """Return the interval of a score; if all draws agree, that of rows of a kind that was not seen."""
    if is_constant(draws):
        return unseen_intervals(scorer, scorer.names, resamples.n_units)[scorer.names[0]]
    return percentile_interval(draws)


def _with_errors(runs: Sequence[CorruptedRun], reference: str, metric: str) -> list[CorruptedRun]:
    """Add the mean corruption errors relative to the reference; none if no kind of corruption was evaluated."""
    errors = {run.run: _errors_by_kind(run, metric) for run in runs}
    originals = {run.run: error_of(metric, run.original.score) for run in runs}
    labels = {run.run: run.label for run in runs}
    if not errors[reference]:
        return list(runs)
    return [
        replace(
            run,
            errors=mean_corruption_errors(
                errors[run.run], originals[run.run], errors[reference], originals[reference], labels[reference]
            ),
        )
        for run in runs
    ]


def _errors_by_kind(run: CorruptedRun, metric: str) -> dict[str, list[float]]:
    errors: dict[str, list[float]] = {}
    for cell in run.cells:
        errors.setdefault(cell.kind, []).append(error_of(metric, cell.score))
    return errors
