"""Journal of the trials of one search: resumed after a kill, and shared by processes."""

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
from filelock import Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from featx.errors import DataError
from featx.files.atomic import acquire_lock, file_lock
from featx.heads.scaling import Params
from featx.heads.search.diagnostics import parameter_importances
from featx.metrics.definitions import find_score
from featx.metrics.score_texts import ScoreFormat
from featx.specs.head import HeadSpec

# Trials that the median pruner needs before it prunes.
MIN_TRIALS_BEFORE_PRUNING = 4
# A trial is pruned if its score is so many standard errors below that of the best one.
PRUNING_STANDARD_ERRORS = 2.0
POLL_INTERVAL_S = 0.1
# Optuna needs a number for an undefined score, such as the correlation of constant predictions; results leave it out.
UNDEFINED_SCORE = -1e9
# User attributes of every trial with a score.
SCORED_ATTRIBUTES = {"asked", "fold_scores", "params", "embeddings", "path"}
# Role in the name of the lock file of a process that will read the journal of its search.
USER = "user"
# Role in the name of the lock file of a process that runs a trial, and user attribute of the trial that names the file.
WORKER = "worker"


def create_study(storage: JournalStorage | None, name: str) -> optuna.Study:
    """Return a study in a storage; None keeps it in memory."""
    return optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=MIN_TRIALS_BEFORE_PRUNING),
    )


def has_score(fold_scores: Sequence[float]) -> bool:
    """Return whether the score of a setting is defined in all folds."""
    return UNDEFINED_SCORE not in fold_scores


def best_trial(trials: Sequence[FrozenTrial]) -> FrozenTrial:
    """Return the trial with the highest score; the first of equal ones."""
    return max(trials, key=lambda trial: (trial.value, -trial.number))


def should_prune(trial: optuna.Trial, scored_trials: Sequence[FrozenTrial], score: float, n_folds: int) -> bool:
    """Return whether a trial's score over its first folds is below the median, or clearly below that of the best trial.

    Clearly means by more than two standard errors of the difference of two such means, computed from the fold scores of
    the best trial.
    """
    if trial.should_prune():
        return True
    if not scored_trials:
        return False
    best_scores = np.array(best_trial(scored_trials).user_attrs["fold_scores"])
    error = float(best_scores.std(ddof=1)) * (2 / n_folds) ** 0.5
    return bool(score < best_scores[:n_folds].mean() - PRUNING_STANDARD_ERRORS * error)


class TrialJournal:
    """An Optuna study in a journal file.

    Each trial is sampled with a seed derived from the seed of the search and the number of trials started before it; so
    a search that was killed continues as if it had not been. A trial whose process no longer holds its lock file counts
    as never started.

    Parameters
    ----------
    journal
        Path of the journal file.
    spec
        Head to search.
    starts
        Settings of the first trials.

    Raises
    ------
    DataError
        The file is not a journal of this search.
    """

    def __init__(self, journal: Path, spec: HeadSpec, starts: Sequence[Params]) -> None:
        self._journal, self._spec, self._starts = journal, spec, starts
        self._lock_file = _own_lock_file(journal, WORKER)
        _truncate_incomplete_line(journal)
        try:
            self._study = create_study(JournalStorage(JournalFileBackend(str(journal))), spec.name)
            foreign_trials = [trial for trial in self.scored_trials if not set(trial.user_attrs) >= SCORED_ATTRIBUTES]
        # Optuna raises these for a file that it did not write.
        except (ValueError, KeyError) as error:
            raise self.incompatible(f"{type(error).__name__}: {error}") from error
        if foreign_trials:
            raise self.incompatible(f"trial {foreign_trials[0].number} lacks the attributes that featx writes")

    def incompatible(self, reason: str) -> DataError:
        """Return the error to raise if the file holds another search than this one."""
        return DataError(
            f"{self._journal} is not a search of head {self._spec.name!r} over the current search space ({reason}); "
            "move it away, or search again with 'featx fit --force'"
        )

    def __enter__(self) -> Self:
        self._lock = acquire_lock(self._lock_file)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock_file.unlink(missing_ok=True)
        self._lock.release()

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=states)

    def next(self) -> optuna.Trial | None:
        """Return a trial to run; None if the requested number of trials is finished.

        Waits for trials of other processes: if one of these is killed, its trial has to be run again.
        """
        while (trial := self._start_trial()) is None and self._trials(TrialState.RUNNING):
            time.sleep(POLL_INTERVAL_S)
        return trial

    def next_batch(self, max_trials: int) -> list[optuna.Trial]:
        """Return trials to run in parallel, sampled without each other's results; none if all are finished."""
        first_trial = self.next()
        batch = [] if first_trial is None else [first_trial]
        while 0 < len(batch) < max_trials and (trial := self._start_trial()) is not None:
            batch.append(trial)
        return batch

    def _start_trial(self) -> optuna.Trial | None:
        with file_lock(_turn_lock(self._journal)):
            for running_trial in self._trials(TrialState.RUNNING):
                if _is_released(self._journal.with_name(running_trial.user_attrs.get(WORKER, "nobody"))):
                    self._study.tell(running_trial.number, state=TrialState.FAIL)
            n_started = len(self._trials(TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING))
            if n_started >= self._spec.trials:
                return None
            if n_started < len(self._starts) and not self._trials(TrialState.WAITING):
                self._study.enqueue_trial(self._starts[n_started])
            self._study.sampler = optuna.samplers.TPESampler(
                seed=int(np.random.SeedSequence([self._spec.seed, n_started]).generate_state(1)[0]),
                n_startup_trials=max(3, self._spec.trials // 3),
            )
            trial = self._study.ask()
            trial.set_user_attr(WORKER, self._lock_file.name)
            return trial

    def find(self, setting: list[Any]) -> dict[str, Any] | None:
        """Return the attributes and the score of a scored trial of the same setting; None if there is none."""
        for trial in self.scored_trials:
            if trial.user_attrs["asked"] == setting:
                attributes = {name: value for name, value in trial.user_attrs.items() if name != WORKER}
                return attributes | {"score": trial.value}
        return None

    def complete(self, trial: optuna.Trial, score: float, attributes: dict[str, Any]) -> None:
        """Write the score and the attributes of a trial."""
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        self._study.tell(trial, score)

    def prune(self, trial: optuna.Trial) -> None:
        """Write that a trial was pruned."""
        self._study.tell(trial, state=TrialState.PRUNED)

    def format_progress(self, number: int, metric: str) -> str:
        """Return the result of a trial and the best one so far; losses and errors without their minus."""
        trial = self._study.get_trials(deepcopy=False)[number]
        if not self.scored_trials:
            return f"trial {number + 1} ended early"
        signed_score = find_score(metric).signed
        best = best_trial(self.scored_trials)
        score_format = ScoreFormat.of(metric, [best.value])
        if not has_score(best.user_attrs["fold_scores"]):
            return f"trial {number + 1} · {metric} of no setting is defined yet"
        best_text = f"best {metric} {score_format.show(signed_score(best.value or 0))} (trial {best.number + 1})"
        if trial.state == TrialState.PRUNED:
            return f"trial {number + 1} ended early · {best_text}"
        if not has_score(trial.user_attrs["fold_scores"]):
            return f"trial {number + 1} not defined · {best_text}"
        spread = score_format.show(float(np.std(trial.user_attrs["fold_scores"])))
        score = score_format.show(signed_score(trial.value or 0))
        return f"trial {number + 1} {score} ± {spread} over the folds · {best_text}"

    @property
    def n_finished(self) -> int:
        """Number of trials that have a score or were pruned."""
        return len(self._trials(TrialState.COMPLETE, TrialState.PRUNED))

    @property
    def n_pruned(self) -> int:
        """Number of pruned trials."""
        return len(self._trials(TrialState.PRUNED))

    @property
    def scored_trials(self) -> list[FrozenTrial]:
        """Trials with a score, in the order in which they were started."""
        return self._trials(TrialState.COMPLETE)

    def importances(self) -> dict[str, float]:
        """Return the importance of each parameter (`featx.heads.search.diagnostics.parameter_importances`).

        The result is empty if the score of a setting is not defined, because the explained variance cannot be computed.
        """
        if not all(has_score(trial.user_attrs["fold_scores"]) for trial in self.scored_trials):
            return {}
        return parameter_importances(self._study, self.scored_trials, self._spec.seed)


@contextmanager
def hold_journal(journal: Path) -> Iterator[None]:
    """Prevent other processes from removing a journal while the block runs."""
    lock_file = _own_lock_file(journal, USER)
    with ExitStack() as stack:
        with file_lock(_turn_lock(journal)):
            stack.enter_context(file_lock(lock_file))
        stack.callback(lock_file.unlink, missing_ok=True)
        yield


def remove_journal(journal: Path) -> None:
    """Remove a journal unless a process uses it."""
    with file_lock(_turn_lock(journal)):
        holders = [path for role in (WORKER, USER) for path in journal.parent.glob(f"{journal.name}.{role}-*")]
        if all(map(_is_released, holders)):
            journal.unlink(missing_ok=True)


def _own_lock_file(journal: Path, role: str) -> Path:
    """Return the path of a new lock file of this process next to a journal."""
    return journal.with_name(f"{journal.name}.{role}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def _truncate_incomplete_line(journal: Path) -> None:
    """Remove the line that a process was writing when it was killed or the disk was full, unless another one writes."""
    if not journal.is_file():
        return
    with file_lock(_turn_lock(journal)):
        if not all(_is_released(worker) for worker in journal.parent.glob(f"{journal.name}.{WORKER}-*")):
            return
        content = journal.read_bytes()
        if content and not content.endswith(b"\n"):
            with journal.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)


def _turn_lock(journal: Path) -> Path:
    # Optuna uses the ending .lock itself.
    return journal.with_name(f"{journal.name}.turn")


def _is_released(lock_file: Path) -> bool:
    """Return whether no process holds a lock file; such a file is removed."""
    if not lock_file.exists():
        return True
    try:
        lock = acquire_lock(lock_file, is_blocking=False)
    except Timeout:
        return False
    lock_file.unlink(missing_ok=True)
    lock.release()
    return True
