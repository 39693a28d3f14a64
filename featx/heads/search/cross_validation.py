"""Cross-validation of settings on the folds of a search."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial

from featx.artifacts.outputs import predict_outputs
from featx.errors import DataError, OutOfTimeError
from featx.heads.fitting import fit_pipeline, ignore_convergence_warnings
from featx.heads.folds import TrainRows
from featx.heads.head_definition import Head
from featx.heads.head_settings import make_head
from featx.heads.learning_problems import PROBLEMS
from featx.heads.scaling import Params
from featx.heads.search.fold_cache import FoldCache, SharedArrays
from featx.heads.search.journal import UNDEFINED_SCORE, should_prune
from featx.heads.search.regularisation_paths import PATH_PATIENCE, HeldOutOutputs, ParameterPath
from featx.metrics.scores import NEEDS_PROBABILITIES, resolve_metric, signed_score
from featx.parallel.threads import run_side_by_side
from featx.specs.head import HeadSpec
from featx.study.run_metrics import ScoredTrial
from featx.tables.decision_rule import remove_class_weights
from featx.tables.ids import Floats

# Folds that run in parallel, and after which a trial may be pruned; fixed, so that results do not depend on the cores.
N_FIRST_FOLDS = 2
# Matrices of more bytes are reported to the user.
MIN_BYTES_TO_REPORT = 0.25e9
# Values of a path on each side of the best one of the first folds that the other folds try.
N_NEIGHBOUR_VALUES = 2


class TrialRecorder(Protocol):
    """Record of trials that `CrossValidation.run` reads and writes, such as the journal of a search."""

    def find(self, setting: list[Any]) -> dict[str, Any] | None:
        """Return the attributes and the score of a scored trial of the same setting; None if there is none."""

    def complete(self, trial: optuna.Trial, score: float, attributes: dict[str, Any]) -> None:
        """Record the score and the attributes of a trial."""

    def prune(self, trial: optuna.Trial) -> None:
        """Record that a trial was pruned."""

    @property
    def scored_trials(self) -> list[FrozenTrial]:
        """Trials with a score, which a trial is compared with for pruning."""

    def incompatible(self, reason: str) -> Exception:
        """Return the error to raise if the record holds another search space."""


@dataclass(frozen=True)
class SearchSpace:
    """A head and the rows that its settings are tried on.

    Attributes
    ----------
    head
        Head for the shape of these rows.
    rows
        Train rows.
    """

    head: Head
    rows: TrainRows

    @classmethod
    def of(cls, spec: HeadSpec, rows: TrainRows) -> Self:
        """Return the head of a spec for the shape of the rows and of their folds, and the rows.

        Raises
        ------
        DataError
            The spec has more components than there are features.
        """
        n_features = rows.x.shape[1]
        if spec.largest_value("components") > n_features:
            raise DataError(
                f"[[head]] {spec.name!r}: components = {spec.largest_value('components')}, but there are {n_features} "
                f"features; expected at most {n_features}"
            )
        n_fold_rows = rows.n_fold_rows(spec.folds, spec.seed)
        return cls(make_head(spec, rows.x.shape, rows.targets.kind, rows.targets.n_outputs, n_fold_rows), rows)


class CrossValidation:
    """Scoring of settings on the folds of the train rows, for one choice of embeddings.

    Parameters
    ----------
    name
        Name of the embeddings.
    space
        Head and train rows.
    spec
        Number of folds, seed and metric.
    shared_arrays
        Cache of what trials share.

    Attributes
    ----------
    metric
        Metric that is maximised.
    folds
        Rows of each fold and their cache.
    memory_note
        Text about the memory of matrices, for the user; empty if they are small.
    path
        Parameter whose values each trial tries; with one value if the head has no path.
    deadline
        Time on `time.perf_counter` after which no value is tried; None, until it is set, for no limit.
    is_cut_short
        Whether the deadline has ended a trial.
    """

    def __init__(self, name: str, space: SearchSpace, spec: HeadSpec, shared_arrays: SharedArrays) -> None:
        head, rows = space.head, space.rows
        metric = resolve_metric(rows.targets, spec.metric)
        self.name, self.head, self.spec, self.metric = name, head, spec, metric
        self.deadline: float | None = None
        self.is_cut_short = False
        folds = rows.folds(spec.folds, spec.seed)
        self.folds = [FoldCache((name, number), rows, fold, shared_arrays) for number, fold in enumerate(folds)]
        n_held_out = len(rows) // spec.folds
        n_bytes = 0 if head.path is None else N_FIRST_FOLDS * head.path.fold_bytes(len(rows) - n_held_out, n_held_out)
        self.memory_note = format_memory_note(n_bytes, shared_arrays.max_bytes)
        path = head.path
        needs_refit = n_bytes > shared_arrays.max_bytes or (head.needs_calibration and metric in NEEDS_PROBABILITIES)
        if path is None or path.predict_path is None or needs_refit:
            name, values = ("", (None,)) if path is None else (path.name, path.values)
            path = ParameterPath(name, values, self._refit_path, patience=PATH_PATIENCE)
        self.path = path

    def suggest(self, trial: optuna.Trial, recorder: TrialRecorder) -> Params:
        """Return the setting that is suggested to a trial."""
        try:
            return self.head.suggest(trial)
        # Optuna raises this if a parameter had other choices before.
        except ValueError as error:
            raise recorder.incompatible(str(error)) from error

    def run(self, trial: optuna.Trial, recorder: TrialRecorder) -> None:
        """Score a trial on the folds and record the result, or prune the trial after the first folds or in time."""
        params = self.suggest(trial, recorder)
        if (previous_attributes := recorder.find([self.name, params])) is not None:
            recorder.complete(trial, previous_attributes.pop("score"), previous_attributes)
            return
        with self._pruned_after_deadline(trial, recorder):
            all_columns = np.arange(len(self.path.values))
            fold_scores = np.full((len(self.folds), len(all_columns)), np.nan)
            first_folds, other_folds = np.split(np.arange(len(self.folds)), [N_FIRST_FOLDS])
            fold_scores[first_folds] = self._score_folds(params, first_folds, all_columns, self.path.patience)
            if len(other_folds):
                score = float(np.nanmax(fold_scores[first_folds].mean(0)))
                trial.report(score, 0)
                if should_prune(trial, recorder.scored_trials, score, len(first_folds)):
                    recorder.prune(trial)
                    return
                columns = self._promising_columns(fold_scores[first_folds])
                fold_scores[np.ix_(other_folds, columns)] = self._score_folds(params, other_folds, columns, None)
            # The mean of a value is nan if some folds have not tried it.
            means = fold_scores.mean(0)
            best = int(np.nanargmax(means))
            is_shown = (fold_scores != UNDEFINED_SCORE).all(0) & ~np.isnan(means)
            is_shown[best] = True
            attributes = {
                "params": params | self._path_params(self.path.values[best]),
                "asked": [self.name, params],
                "fold_scores": fold_scores[:, best].tolist(),
                "embeddings": self.name,
                "path": {
                    str(value): float(mean)
                    for value, mean, is_value_shown in zip(self.path.values, means, is_shown, strict=True)
                    if is_value_shown
                },
            }
            recorder.complete(trial, float(means[best]), attributes)

    @contextmanager
    def _pruned_after_deadline(self, trial: optuna.Trial, recorder: TrialRecorder) -> Iterator[None]:
        """Prune the trial if the deadline of the search passes within the block."""
        try:
            yield
        except OutOfTimeError:
            self.is_cut_short = True
            recorder.prune(trial)

    def scored_settings(self, trial: ScoredTrial) -> Iterator[tuple[Params, float]]:
        """Yield all settings that a trial has scored on all folds, with their mean scores."""
        for value in self.path.values:
            if (score := trial.path.get(str(value))) is not None:
                yield trial.params | self._path_params(value), score

    def _path_params(self, value: Any) -> Params:
        return {self.path.name: value} if self.path.name else {}

    def _promising_columns(self, fold_scores: Floats) -> NDArray[np.intp]:
        """Return the numbers of the path's values to try on the other folds, given the scores of the first ones."""
        columns = np.arange(fold_scores.shape[1])
        if self.path.patience is None:
            return columns
        best = int(np.nanargmax(fold_scores.mean(0)))
        is_promising = abs(columns - best) <= N_NEIGHBOUR_VALUES
        if self.path.is_cumulative:
            is_promising |= columns < best
        return columns[is_promising & np.isfinite(fold_scores).all(0)]

    def _score_folds(
        self, params: Params, folds: NDArray[np.intp], columns: NDArray[np.intp], patience: int | None
    ) -> Floats:
        """Return (folds, columns) scores; nan for values that a fold has not tried because its patience ended."""
        values = [self.path.values[column] for column in columns]

        def score_fold(number: int) -> list[float]:
            fold = self.folds[number]
            scores: list[float] = []
            assert self.path.predict_path is not None
            for outputs in self.path.predict_path(params, fold, values):
                if self.deadline is not None and time.perf_counter() > self.deadline:
                    raise OutOfTimeError("the deadline of the search has passed")
                scores.append(float(np.nan_to_num(self._score(fold, outputs), nan=UNDEFINED_SCORE)))
                if patience is not None and max(scores) not in scores[-patience - 1 :]:
                    break
            return scores + [np.nan] * (len(values) - len(scores))

        with ignore_convergence_warnings():
            n_parallel = N_FIRST_FOLDS if self.head.is_single_threaded else 1
            return np.array(list(run_side_by_side(score_fold, folds.tolist(), at_once=n_parallel)))

    def _score(self, fold: FoldCache, outputs: HeldOutOutputs) -> float:
        """Return the score of outputs for held-out rows; probabilities are divided by the class weights of training."""
        weights = fold.train.class_weights
        if self.metric in NEEDS_PROBABILITIES and weights is not None:
            outputs = remove_class_weights(outputs, weights)
        return signed_score(self.metric, fold.held_out.targets, outputs)

    def _refit_path(self, params: Params, fold: FoldCache, values: Sequence[Any]) -> Iterator[HeldOutOutputs]:
        """Yield the outputs of a complete Pipeline that is fitted for each value."""
        needs_proba = self.metric in NEEDS_PROBABILITIES
        method = self.head.default_calibration if needs_proba else "none"
        if method == "temperature" and fold.train.class_weights is not None:
            # Only an offset reproduces the shares of classes in training, which `_score` divides out.
            method = "platt"
        rows = fold.held_out
        for value in values:
            model = fit_pipeline(self.head, params | self._path_params(value), fold.train, method, self.spec)
            yield (
                predict_outputs(model, rows.x, rows.targets.kind)
                if needs_proba
                else PROBLEMS[rows.targets.kind].predict_ranks(model, rows)
            )


def format_memory_note(n_bytes: float, max_bytes: float) -> str:
    """Return a text about the memory that the matrices of folds in parallel take; empty if they are small."""
    need_text = f"the matrices of {N_FIRST_FOLDS} folds need {n_bytes / 1e9:.1f} GB"
    limit = f"extraction.search_gb = {max_bytes / 1e9:.1f} limits the memory that trials share"
    if n_bytes > max_bytes:
        return (
            f"{need_text}, but {limit}; settings are fitted without these matrices, which is slower; increase search_gb"
        )
    return f"{need_text}; {limit}" if n_bytes > MIN_BYTES_TO_REPORT else ""
