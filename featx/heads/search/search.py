"""Search of a head's setting by cross-validation on the train rows."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from featx.errors import OutOfTimeError
from featx.heads.head_settings import adapted_start
from featx.heads.scaling import Params
from featx.heads.search.cross_validation import CrossValidation, SearchSpace
from featx.heads.search.diagnostics import describe_space
from featx.heads.search.distributed_search import DistributedEvaluator, TrialRequest, TrialResult
from featx.heads.search.fold_cache import SharedArrays
from featx.heads.search.journal import TrialJournal, has_score
from featx.metrics.scores import resolve_metric
from featx.parallel.threads import single_threaded
from featx.progress import ProgressCallback
from featx.specs.head import HeadSpec
from featx.study.run_metrics import ScoredTrial, SearchResult

# Name of the parameter that chooses among embeddings.
EMBEDDINGS = "embeddings"


@dataclass(frozen=True)
class SearchOptions:
    """Options of a search that do not come from the head's spec.

    Attributes
    ----------
    shared_bytes
        Maximum number of bytes that trials share, by default 2e9.
    starts
        Settings to try after the head's own, as Optuna suggested them; by default none.
    evaluator
        Dask workers that score the trials, by default this process alone.
    deadline
        Time on `time.perf_counter` at which the search ends, also within a trial; None, the default, for no limit.
    """

    shared_bytes: float = 2e9
    starts: tuple[Params, ...] = ()
    evaluator: DistributedEvaluator = field(default_factory=lambda: DistributedEvaluator(None))
    deadline: float | None = None

    @property
    def is_deadline_past(self) -> bool:
        """Whether the search has to end."""
        return self.deadline is not None and time.perf_counter() >= self.deadline


DEFAULT_OPTIONS = SearchOptions()


@single_threaded()
def search(
    spaces: Mapping[str, SearchSpace],
    spec: HeadSpec,
    journal: Path,
    progress: ProgressCallback,
    options: SearchOptions = DEFAULT_OPTIONS,
) -> SearchResult:
    """Try `spec.trials` settings, or fewer until `spec.timeout_s` has passed, and return the best one.

    Parameters
    ----------
    spaces
        The same train rows with each choice of embeddings, by name; if there are several, the choice is a parameter of
        the search.
    journal
        File that Optuna writes every trial to. Trials of an interrupted search that it holds count, and other processes
        may work on the same search.

    Notes
    -----
    The first trial is the head's `start`, the next few are random, the others are suggested by TPE. A trial that after
    two folds is below the median of the others, or clearly below the best one, is pruned (`journal.should_prune`). With
    workers, trials run in batches: a trial is suggested, and pruned, by the results before its batch.

    Raises
    ------
    OutOfTimeError
        The deadline passed before a setting was scored.
    """
    if spec.trials == 0:
        return _unsearched(spaces, spec)
    # Optuna logs Ctrl-C as a failed trial, with its traceback.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    start = time.perf_counter()
    shared_arrays = SharedArrays(options.shared_bytes)
    cross_validations = {name: CrossValidation(name, space, spec, shared_arrays) for name, space in spaces.items()}
    for cross_validation in cross_validations.values():
        cross_validation.deadline = options.deadline
    first_validation = next(iter(cross_validations.values()))
    notes = [cross_validation.memory_note for cross_validation in cross_validations.values()]
    for note in dict.fromkeys(filter(None, notes)):
        progress("note", 0, 1, f"{spec.name}: {note}")
    starts = [_adapt_start(start, spaces) for start in (first_validation.head.start, *options.starts)]
    with TrialJournal(journal, spec, starts) as trials:
        is_timed_out = _run_trials(trials, cross_validations, (spaces, spec, options), progress, start)
        is_cut_short = options.is_deadline_past and trials.n_finished < spec.trials
        scored_records, n_pruned, importances = trials.scored_trials, trials.n_pruned, trials.importances()
    if not scored_records:
        raise OutOfTimeError(f"head {spec.name!r} scored no setting within its share of the time")
    scored_trials = _scored_trials(scored_records)
    winner, params, score = _choose_setting(scored_trials, cross_validations, spec.rule)
    defined_trials = tuple(trial for trial in scored_trials if has_score(trial.fold_scores))
    return SearchResult(
        params=params,
        suggested=winner.suggested,
        score=score if has_score(winner.fold_scores) else None,
        embeddings=winner.embeddings,
        metric=first_validation.metric,
        trials=defined_trials,
        n_pruned=n_pruned + len(scored_trials) - len(defined_trials),
        is_cut_short=is_cut_short or any(validation.is_cut_short for validation in cross_validations.values()),
        is_timed_out=is_timed_out and not is_cut_short,
        space=describe_space(scored_records, first_validation.path.name, first_validation.path.values),
        importances=importances,
        shared_bytes=shared_arrays.peak_bytes,
        n_parallel_trials=options.evaluator.size,
        seconds=time.perf_counter() - start,
    )


def _adapt_start(start: Mapping[str, Any], spaces: Mapping[str, SearchSpace]) -> Params:
    """Return a setting that the search can suggest, with the first embeddings unless it names others of the search."""
    name = next((name for name in spaces if name == start.get(EMBEDDINGS)), next(iter(spaces)))
    choice = {EMBEDDINGS: name} if len(spaces) > 1 else {}
    return adapted_start(start, spaces[name].head) | choice


def _scored_trials(trials: Sequence[optuna.trial.FrozenTrial]) -> tuple[ScoredTrial, ...]:
    """Return the records of trials with a score."""
    return tuple(
        ScoredTrial(
            number=trial.number,
            score=trial.value,
            suggested=trial.params,
            **{name: trial.user_attrs[name] for name in ("fold_scores", "params", "embeddings", "path")},
        )
        for trial in trials
    )


def _unsearched(spaces: Mapping[str, SearchSpace], spec: HeadSpec) -> SearchResult:
    """Return the setting of a head that is fitted without a search."""
    (embeddings,) = spaces
    return SearchResult(
        params=dict(spec.params),
        suggested={},
        score=None,
        embeddings=embeddings,
        metric=resolve_metric(spaces[embeddings].rows.targets, spec.metric),
        trials=(),
        n_pruned=0,
        space={},
        importances={},
        shared_bytes=0,
        n_parallel_trials=1,
        seconds=0.0,
    )


SearchInputs = tuple[Mapping[str, SearchSpace], HeadSpec, SearchOptions]


def _run_trials(
    trials: TrialJournal,
    cross_validations: Mapping[str, CrossValidation],
    inputs: SearchInputs,
    progress: ProgressCallback,
    start: float,
) -> bool:
    """Run trials in batches until the requested number is finished or the time has passed.

    Returns
    -------
    bool
        Whether `spec.timeout_s` has passed before the requested number was finished.
    """
    spaces, spec, options = inputs
    first_validation = next(iter(cross_validations.values()))
    progress(f"tune {spec.name}", trials.n_finished, spec.trials)
    while not (trials.n_finished and options.is_deadline_past):
        if trials.n_finished and spec.timeout_s is not None and time.perf_counter() - start >= spec.timeout_s:
            return trials.n_finished < spec.trials
        batch = trials.next_batch(options.evaluator.size)
        if not batch:
            break
        names = [
            first_validation.name if len(spaces) == 1 else trial.suggest_categorical(EMBEDDINGS, list(spaces))
            for trial in batch
        ]
        if options.evaluator.is_local:
            for trial, name in zip(batch, names, strict=True):
                cross_validations[name].run(trial, trials)
        else:
            _run_on_workers(list(zip(batch, names, strict=True)), cross_validations, trials, inputs)
        for trial in batch:
            note = trials.format_progress(trial.number, first_validation.metric)
            progress(f"tune {spec.name}", trials.n_finished, spec.trials, note)
    return False


def _run_on_workers(
    batch: Sequence[tuple[optuna.Trial, str]],
    cross_validations: Mapping[str, CrossValidation],
    trials: TrialJournal,
    inputs: SearchInputs,
) -> None:
    """Score the trials of a batch on Dask workers, and record the results."""
    spaces, spec, options = inputs
    scored_trials = trials.scored_trials
    previous_attributes = [trials.find([name, cross_validations[name].suggest(trial, trials)]) for trial, name in batch]
    requests = [
        TrialRequest(name, trial.params, scored_trials)
        for (trial, name), attributes in zip(batch, previous_attributes, strict=True)
        if attributes is None
    ]
    results = iter(options.evaluator.score_trials(spaces, spec, options.shared_bytes, requests))
    for (trial, _), attributes in zip(batch, previous_attributes, strict=True):
        if attributes is None:
            _record(trial, next(results), trials)
        else:
            _record(trial, TrialResult(attributes.pop("score"), {}, attributes), trials)


def _record(trial: optuna.Trial, result: TrialResult, trials: TrialJournal) -> None:
    for step, value in result.steps.items():
        trial.report(value, step)
    if result.score is None:
        trials.prune(trial)
    else:
        trials.complete(trial, result.score, result.attributes)


def _choose_setting(
    trials: Sequence[ScoredTrial], cross_validations: Mapping[str, CrossValidation], rule: str
) -> tuple[ScoredTrial, Params, float]:
    """Return the trial that a rule chooses, its setting and its score."""
    best = max(trials, key=lambda trial: (trial.score, -trial.number))
    complexity = cross_validations[best.embeddings].head.complexity
    if rule == "best" or complexity is None:
        return best, best.params, best.score
    error = float(np.std(best.fold_scores, ddof=1) / np.sqrt(len(best.fold_scores)))
    candidates = [
        (complexity(params), -score, params, trial)
        for trial in trials
        for params, score in cross_validations[trial.embeddings].scored_settings(trial)
        if score >= best.score - error
        and trial.embeddings == best.embeddings
        and all(params.get(name) == best.params.get(name) for name in ("scaling", "kernel"))
    ]
    _, negative_score, params, trial = min(candidates, key=lambda candidate: candidate[:2])
    return trial, params, -negative_score
