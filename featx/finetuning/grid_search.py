"""Which runs of a grid are worth finishing: Optuna proposes them, and stops those that fall behind."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from featx.errors import DataError
from featx.finetuning.history import TrainingHistory
from featx.finetuning.phase import nothing
from featx.specs.finetuning import FinetuneSpec

R = TypeVar("R")
AfterEpoch = Callable[[TrainingHistory], None]
Attempt = Callable[[FinetuneSpec, AfterEpoch], tuple[R, float]]
# Keys that change what a held-out loss is: its formula or unit, the weights of the rows, or which rows are held out.
NOT_COMPARABLE = ("loss", "scale", "class_weight", "group_weight", "holdout", "seed")
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
FIRST = 2  # trials, and epochs, before anything is stopped


class Stopped(optuna.TrialPruned):
    """A run fell behind the others.

    Parameters
    ----------
    epoch
        After which it was stopped.
    """

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        super().__init__(f"stopped after epoch {epoch}")


def search(  # noqa: PLR0913 (a search and where it is kept)
    specs: Sequence[FinetuneSpec],
    n_trials: int,
    attempt: Attempt[R],
    stopped: Callable[[FinetuneSpec, int], R],
    journal: Path,
    seed: int = 0,
) -> list[R]:
    """Try `n_trials` of the specs, and return what became of each.

    Parameters
    ----------
    specs
        A grid.
    attempt
        Trains one; returns its result and its lowest held-out loss.
    stopped
        Makes the result of one that was stopped after an epoch.
    journal
        Optuna's file: trials of an interrupted search that stand in it count.

    Raises
    ------
    DataError
        held-out losses of the grid's runs cannot be compared.

    Notes
    -----
    Proposals are TPE's, the first ones random; a run is stopped when its held-out loss is above the median of the
    others' at the same epoch, unless it is trained on several devices: these report when a phase is over.
    """
    axes = _axes(specs)
    if incomparable := [name for name in NOT_COMPARABLE if name in axes]:
        raise DataError(
            f"a search compares held-out losses, and those of runs that differ in {incomparable[0]!r} cannot be "
            "compared; give each value its own [[finetune]], or leave 'trials' out"
        )
    if any(spec.holdout == 0 for spec in specs):
        raise DataError("a search compares held-out losses, found holdout = 0; expected a share of train, as 0.1")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name="finetune",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=FIRST, n_warmup_steps=FIRST),
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(FIRST, n_trials // 3)),
    )
    by_choice = {_choice(axes, spec): spec for spec in specs}
    results: dict[tuple[int, ...], R] = {}
    for known in study.get_trials(deepcopy=False, states=FINISHED):
        choice = tuple(known.params[name] for name in axes)
        if known.state == TrialState.PRUNED:
            results[choice] = stopped(by_choice[choice], known.user_attrs["epoch"])
        else:
            results[choice] = attempt(by_choice[choice], nothing)[0]  # its run is there already
    rng = np.random.default_rng(seed)
    while len(results) < min(n_trials, len(by_choice)):
        trial = study.ask()
        choice = tuple(trial.suggest_categorical(name, range(len(values))) for name, values in axes.items())
        if choice in results or choice not in by_choice:
            study.tell(trial, state=TrialState.FAIL)
            left = [other for other in by_choice if other not in results]
            study.enqueue_trial(dict(zip(axes, left[rng.integers(len(left))], strict=True)))
            continue
        results[choice] = _attempted(study, trial, by_choice[choice], attempt, stopped)
    return list(results.values())


def _attempted(
    study: optuna.Study,
    trial: optuna.Trial,
    spec: FinetuneSpec,
    attempt: Attempt[R],
    stopped: Callable[[FinetuneSpec, int], R],
) -> R:
    def after_epoch(course: TrainingHistory) -> None:
        last = course.epochs[-1]
        trial.report(last.held_loss, last.number)
        if trial.should_prune():
            raise Stopped(last.number)

    try:
        result, lowest = attempt(spec, after_epoch)
    except Stopped as stop:
        trial.set_user_attr("epoch", stop.epoch)
        study.tell(trial, state=TrialState.PRUNED)
        return stopped(spec, stop.epoch)
    study.tell(trial, lowest)
    return result


def _axes(specs: Sequence[FinetuneSpec]) -> dict[str, list[Any]]:
    """Return the keys in which specs differ, and the values of each."""
    every = {name: [getattr(spec, name) for spec in specs] for name in FinetuneSpec.model_fields}
    distinct = {
        name: [next(group) for _, group in itertools.groupby(sorted(values, key=repr), key=repr)]
        for name, values in every.items()
    }
    return {name: values for name, values in distinct.items() if len(values) > 1}


def _choice(axes: dict[str, list[Any]], spec: FinetuneSpec) -> tuple[int, ...]:
    return tuple(values.index(getattr(spec, name)) for name, values in axes.items())
