"""The trials of one search on disk: resumed after a kill, and shared by processes."""

import fcntl
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from featx.errors import DataError
from featx.files.atomic import locked, open_lock
from featx.heads.scaling import Params
from featx.heads.search.diagnostics import importances
from featx.metrics.definitions import LESS_IS_BETTER
from featx.specs.head import HeadSpec

PRUNED_FROM = 4  # trials on, when there are others to compare with
SURELY = 2.0  # standard errors
BETWEEN_LOOKS_S = 0.1
TOLD = {"asked", "fold_scores", "params", "embeddings", "path"}  # attributes of a trial with a score
USER = "user"  # names the lock file of a process that will read the journal of its search
WORKER = "worker"  # the attribute of a trial that names the lock file of the process that runs it


def new_study(storage: JournalStorage | None, name: str) -> optuna.Study:
    """Return a study in some storage, or in memory."""
    return optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=PRUNED_FROM),
    )


def best_of(finished: Sequence[FrozenTrial]) -> FrozenTrial:
    """Return the trial with the highest score; of equals the first."""
    return max(finished, key=lambda trial: (trial.value, -trial.number))


def is_behind(trial: optuna.Trial, finished: Sequence[FrozenTrial], score: float, n_folds: int) -> bool:
    """Whether a trial's score over its first folds is below the median of the others, or surely below the best's.

    Surely: by more than two standard errors of the difference of two such means, as the best's scores spread.
    """
    if trial.should_prune():
        return True
    if not finished:
        return False
    of_best = np.array(best_of(finished).user_attrs["fold_scores"])
    error = float(of_best.std(ddof=1)) * (2 / n_folds) ** 0.5
    return bool(score < of_best[:n_folds].mean() - SURELY * error)


class TrialJournal:
    """An Optuna study in a journal file.

    Each proposal is drawn anew from the seed, the number of trials begun before it and their results: a search that was
    killed goes on as if it had not been. A trial whose process does not hold its lock file any more counts as never
    begun.

    Parameters
    ----------
    starts
        The settings of the first trials.

    Raises
    ------
    DataError
        something else stands in the file.
    """

    def __init__(self, journal: Path, spec: HeadSpec, starts: Sequence[Params]) -> None:
        self._journal, self._spec, self._starts = journal, spec, starts
        self._mine = _own_lock(journal, WORKER)
        _drop_half_a_line(journal)
        try:
            self._study = new_study(JournalStorage(JournalFileBackend(str(journal))), spec.name)
            odd = [one.number for one in self.finished if not set(one.user_attrs) >= TOLD]
        except (ValueError, KeyError) as error:  # of a file that Optuna did not write
            raise self.unusable(f"{type(error).__name__}: {error}") from error
        if odd:
            raise self.unusable(f"its trial {odd[0]} does not say what featx's do")

    def unusable(self, why: str) -> DataError:
        """Return what to raise where the file holds another search than this one."""
        return DataError(
            f"{self._journal} is not a search of head {self._spec.name!r} over today's settings ({why}); move it away, "
            "or say '--force'"
        )

    def __enter__(self) -> Self:
        self._handle = open_lock(self._mine, os.O_CREAT)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._mine.unlink(missing_ok=True)
        os.close(self._handle)

    def _in(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states)

    def next(self) -> optuna.Trial | None:
        """Return a trial to run; None where as many as are asked for are over.

        Waits for those of other processes: one that is killed leaves its trial to be run again.
        """
        while (trial := self._asked()) is None and self._in(TrialState.RUNNING):
            time.sleep(BETWEEN_LOOKS_S)
        return trial

    def batch(self, most: int) -> list[optuna.Trial]:
        """Return trials to run beside each other, none knowing of what comes of another; empty where all are over."""
        first = self.next()
        found = [] if first is None else [first]
        while 0 < len(found) < most and (trial := self._asked()) is not None:
            found.append(trial)
        return found

    def _asked(self) -> optuna.Trial | None:
        with locked(_lock(self._journal)):
            for running in self._in(TrialState.RUNNING):
                if _is_dead(self._journal.with_name(running.user_attrs.get(WORKER, "nobody"))):
                    self._study.tell(running.number, state=TrialState.FAIL)
            n_begun = len(self._in(TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING))
            if n_begun >= self._spec.trials:
                return None
            if n_begun < len(self._starts) and not self._in(TrialState.WAITING):
                self._study.enqueue_trial(self._starts[n_begun])
            self._study.sampler = optuna.samplers.TPESampler(
                seed=int(np.random.SeedSequence([self._spec.seed, n_begun]).generate_state(1)[0]),
                n_startup_trials=max(3, self._spec.trials // 3),
            )
            trial = self._study.ask()
            trial.set_user_attr(WORKER, self._mine.name)
            return trial

    def known(self, asked: list[Any]) -> dict[str, Any] | None:
        """Return what came of an equal setting before; None where there was none."""
        equal = (one for one in self._in(TrialState.COMPLETE) if one.user_attrs["asked"] == asked)
        found = next(equal, None)
        if found is None:
            return None
        return {name: value for name, value in found.user_attrs.items() if name != WORKER} | {"score": found.value}

    def is_behind(self, trial: optuna.Trial, score: float, n_folds: int) -> bool:
        """See `is_behind`."""
        return is_behind(trial, self.finished, score, n_folds)

    def finish(self, trial: optuna.Trial, score: float, attributes: dict[str, Any]) -> None:
        """Write what came of a trial."""
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        self._study.tell(trial, score)

    def prune(self, trial: optuna.Trial) -> None:
        """Write that a trial was ended early."""
        self._study.tell(trial, state=TrialState.PRUNED)

    def news(self, number: int, metric: str) -> str:
        """Return what came of a trial, and the best so far; losses and errors without their minus."""
        trial = self._study.get_trials(deepcopy=False)[number]
        if not self.finished:
            return f"trial {number + 1} ended early"
        sign = -1 if metric in LESS_IS_BETTER else 1
        best = f"best {metric} {sign * (self.best.value or 0):.4f} (trial {self.best.number + 1})"
        if trial.state == TrialState.PRUNED:
            return f"trial {number + 1} ended early · {best}"
        spread = float(np.std(trial.user_attrs["fold_scores"]))
        return f"trial {number + 1} {sign * (trial.value or 0):.4f} ± {spread:.4f} over the folds · {best}"

    @property
    def n_done(self) -> int:
        """TrialJournal that are over."""
        return len(self._in(TrialState.COMPLETE, TrialState.PRUNED))

    @property
    def n_pruned(self) -> int:
        """TrialJournal that were ended early."""
        return len(self._in(TrialState.PRUNED))

    @property
    def finished(self) -> list[FrozenTrial]:
        """TrialJournal that have a score, in the order in which they were begun."""
        return self._in(TrialState.COMPLETE)

    def importances(self) -> dict[str, float]:
        """Return how much each parameter mattered (`featx.heads.search.diagnostics`)."""
        return importances(self._study, self.finished, self._spec.seed)

    @property
    def best(self) -> FrozenTrial:
        """See `best_of`."""
        return best_of(self.finished)


@contextmanager
def hold_journal(journal: Path) -> Iterator[None]:
    """Keep a journal from being cleared by other processes while the block runs."""
    own = _own_lock(journal, USER)
    with ExitStack() as stack:
        with locked(_lock(journal)):
            stack.enter_context(locked(own))
        stack.callback(own.unlink, missing_ok=True)
        yield


def clear(journal: Path) -> None:
    """Remove a journal that no process works with."""
    with locked(_lock(journal)):
        holders = [path for role in (WORKER, USER) for path in journal.parent.glob(f"{journal.name}.{role}-*")]
        if all(map(_is_dead, holders)):
            journal.unlink(missing_ok=True)


def _own_lock(journal: Path, role: str) -> Path:
    """Return a new lock file of this process beside a journal."""
    return journal.with_name(f"{journal.name}.{role}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def _drop_half_a_line(journal: Path) -> None:
    """Undo what a process was writing when it was killed or the disk was full, where no other one is at work."""
    if not journal.is_file():
        return
    with locked(_lock(journal)):
        if not all(_is_dead(worker) for worker in journal.parent.glob(f"{journal.name}.{WORKER}-*")):
            return
        content = journal.read_bytes()
        if content and not content.endswith(b"\n"):
            with journal.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)


def _lock(journal: Path) -> Path:
    return journal.with_name(f"{journal.name}.turn")  # Optuna has a .lock of its own


def _is_dead(lock: Path) -> bool:
    """Whether no process holds a worker's lock file."""
    try:
        handle = open_lock(lock)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    lock.unlink(missing_ok=True)
    return True
