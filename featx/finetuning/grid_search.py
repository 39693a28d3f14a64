"""Search in a grid of runs: Optuna proposes runs, and stops those whose monitored value falls behind."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from featx.errors import DataError
from featx.finetuning.history import TrainingHistory
from featx.finetuning.phase import do_nothing
from featx.specs.finetuning import FinetuneSpec

R = TypeVar("R")
AfterEpoch = Callable[[TrainingHistory], None]
Choice = tuple[int, ...]  # the position of a spec's value on each axis of the grid
# Keys that change which rows are monitored, or by which value.
OTHER_ROWS = ("holdout", "seed", "monitor", "choose_by")
# Keys that change what a loss is: its formula or unit, or the weights of the rows.
OTHER_LOSS = ("loss", "scale", "class_weight", "group_weight")
# Seed of the first proposal; the next ones have the seeds after it.
SEED = 0
FINISHED_STATES = (TrialState.COMPLETE, TrialState.PRUNED)
# Number of trials that run to their end, and of epochs that each trial runs, before any trial is stopped.
MIN_BEFORE_STOPPING = 2


class RunStopped(optuna.TrialPruned):
    """Raised in a run whose monitored value fell behind that of the other runs.

    Parameters
    ----------
    epoch
        Number of the last epoch of the run.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        super().__init__(f"stopped after epoch {epoch}")


@dataclass(frozen=True)
class TrialRunner(Generic[R]):
    """The functions that turn specs of a grid into results.

    Attributes
    ----------
    run
        Function of a spec and a callback after each epoch; it trains a network and returns its result and the monitored
        value of its best epoch, negated if greater is better.
    stopped_result
        Function of a spec and an epoch that returns the result of a run that was stopped after that epoch.
    """

    run: Callable[[FinetuneSpec, AfterEpoch], tuple[R, float]]
    stopped_result: Callable[[FinetuneSpec, int], R]


def search_grid(specs: Sequence[FinetuneSpec], n_trials: int, runner: TrialRunner[R], journal: Path) -> list[R]:
    """Try `n_trials` specs of a grid, and return the result of each.

    Parameters
    ----------
    specs
        The grid.
    n_trials
        Number of specs to try.
    runner
        Trains networks.
    journal
        Optuna's file; finished trials of an interrupted search in it count.

    Raises
    ------
    DataError
        If monitored values of the grid's runs cannot be compared.

    Notes
    -----
    Trials are proposed by TPE, the first ones at random. A proposal depends on the finished trials alone, so that an
    interrupted search goes on with the interrupted run, and tries what it would have tried. A run is stopped when its
    monitored value is worse than the median of the other runs at the same epoch, unless it is trained on several
    devices: these report only at the end of a phase.
    """
    axes = _axes(specs)
    _check_comparable(specs, axes)
    study = _open_study(journal)
    specs_by_choice = {_choice(axes, spec): spec for spec in specs}
    results: dict[Choice, R] = {}
    for trial in study.get_trials(deepcopy=False, states=FINISHED_STATES):
        choice = tuple(trial.params[name] for name in axes)
        if trial.state == TrialState.PRUNED:
            results[choice] = runner.stopped_result(specs_by_choice[choice], trial.user_attrs["epoch"])
        else:
            # The run exists already, so this only reads its result.
            results[choice] = runner.run(specs_by_choice[choice], do_nothing)[0]
    while len(results) < min(n_trials, len(specs_by_choice)):
        seed = SEED + len(results)
        n_random = max(MIN_BEFORE_STOPPING, n_trials // 3)
        # Interrupted trials, which Optuna takes for running ones, must not count.
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=n_random, constant_liar=False)
        new_trial = study.ask()
        choice = tuple(new_trial.suggest_categorical(name, range(len(values))) for name, values in axes.items())
        if choice in results or choice not in specs_by_choice:
            study.tell(new_trial, state=TrialState.FAIL)
            untried_candidates = [candidate for candidate in specs_by_choice if candidate not in results]
            candidate = untried_candidates[np.random.default_rng(seed).integers(len(untried_candidates))]
            study.enqueue_trial(dict(zip(axes, candidate, strict=True)))
            continue
        results[choice] = _run_trial(study, new_trial, specs_by_choice[choice], runner)
    return list(results.values())


def _check_comparable(specs: Sequence[FinetuneSpec], axes: dict[str, list[Any]]) -> None:
    """Check that the monitored values of all runs of a grid can be compared."""
    keys = OTHER_ROWS if all(spec.choose_by == "score" for spec in specs) else (*OTHER_LOSS, *OTHER_ROWS)
    if incomparable_keys := [name for name in keys if name in axes]:
        raise DataError(
            f"a search compares monitored values, and those of runs that differ in {incomparable_keys[0]!r} cannot be "
            "compared; give each value its own [[finetune]], or remove 'trials'"
        )
    if any(not spec.holdout_share and spec.monitor == "holdout" for spec in specs):
        raise DataError("a search compares held-out rows, found holdout = 0; expected a share of train, as 0.1")


def _open_study(journal: Path) -> optuna.Study:
    """Return Optuna's study, with the trials of an interrupted search."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    n_first = MIN_BEFORE_STOPPING
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name="finetune",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=n_first, n_warmup_steps=n_first),
    )


def _take_over_reports(study: optuna.Study, trial: optuna.Trial) -> int:
    """Report the values of interrupted trials of the same run again, and return their last epoch; 0 if there are none.

    Optuna decides by these values whether to stop the run.
    """
    values: dict[int, float] = {}
    for running_trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if running_trial.params == trial.params:
            values |= running_trial.intermediate_values
    for epoch, value in values.items():
        trial.report(value, epoch)
    return max(values, default=0)


def _run_trial(study: optuna.Study, trial: optuna.Trial, spec: FinetuneSpec, runner: TrialRunner[R]) -> R:
    """Run a trial, report its monitored values to Optuna, and return its result."""
    last_reported_epoch = _take_over_reports(study, trial)

    def report(history: TrainingHistory) -> None:
        last_epoch = history.epochs[-1]
        if last_epoch.number > last_reported_epoch:
            trial.report(history.choice.cost(last_epoch), last_epoch.number)
        if last_epoch.number >= last_reported_epoch and trial.should_prune():
            raise RunStopped(last_epoch.number)

    try:
        result, lowest_cost = runner.run(spec, report)
    except RunStopped as stop:
        trial.set_user_attr("epoch", stop.epoch)
        study.tell(trial, state=TrialState.PRUNED)
        return runner.stopped_result(spec, stop.epoch)
    # Optuna takes no nan, and such a trial is finished too.
    study.tell(trial, math.inf if math.isnan(lowest_cost) else lowest_cost)
    return result


def _axes(specs: Sequence[FinetuneSpec]) -> dict[str, list[Any]]:
    """Return the distinct values of each key in which specs differ."""
    axes = {}
    for name in FinetuneSpec.model_fields:
        values = sorted((getattr(spec, name) for spec in specs), key=repr)
        distinct_values = [next(group) for _, group in itertools.groupby(values, key=repr)]
        if len(distinct_values) > 1:
            axes[name] = distinct_values
    return axes


def _choice(axes: dict[str, list[Any]], spec: FinetuneSpec) -> Choice:
    """Return the position of a spec's value on each axis."""
    return tuple(values.index(getattr(spec, name)) for name, values in axes.items())
