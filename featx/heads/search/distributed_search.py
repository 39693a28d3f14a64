"""Trials by Dask workers: the driver proposes and writes down, workers score, each trial with all its folds in one.

Trials are proposed in batches, one for each worker, and written down in the order of their numbers once all of a batch
are over; so what a search finds depends on the seed and on how many it tries at once, and not on who was faster.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from types import TracebackType
from typing import Any, NoReturn, Self

import optuna
from optuna.trial import FrozenTrial

from featx.errors import ClusterError
from featx.heads.builtin import Head, HeadTask
from featx.heads.folds import TrainRows
from featx.heads.search.fold_cache import SharedArrays
from featx.heads.search.journal import is_behind, new_study
from featx.heads.search.search import CrossValidation, SearchSpace, TrialRequest, TrialResult
from featx.parallel.dask_client import addresses, connected, finished, result
from featx.parallel.threads import cores_limited_to
from featx.registry import HEADS
from featx.specs.extraction import ClusterSpec
from featx.specs.head import HeadSpec


class DistributedEvaluator:
    """Workers that score trials; they are called when there is something to score, and leave with the block."""

    def __init__(self, cluster: ClusterSpec | None) -> None:
        self._cluster = cluster
        self._leaving = ExitStack()
        self._sent: tuple[Mapping[str, SearchSpace], Any] | None = None

    def __enter__(self) -> Self:
        if self._cluster is not None and self._cluster.scheduler is not None:
            assert self.size  # one that does not answer is said before any work
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leaving.close()

    @cached_property
    def _client(self) -> Any:
        assert self._cluster is not None
        return self._leaving.enter_context(connected(self._cluster))

    @cached_property
    def size(self) -> int:
        """Trials at once: as many as there are workers at the beginning; 1 where nobody was asked to help."""
        if self._cluster is None:
            return 1
        return self._cluster.workers_local or len(addresses(self._client))

    @property
    def is_alone(self) -> bool:
        """Whether there is nobody but this process."""
        return self._cluster is None

    def scores(
        self, arenas: Mapping[str, SearchSpace], spec: HeadSpec, shared_bytes: float, batch: Sequence[TrialRequest]
    ) -> list[TrialResult]:
        """Return what came of some trials, in their order.

        Raises
        ------
        ClusterError
            workers die again and again, or all of them are lost.
        """
        if self._sent is None or self._sent[0] is not arenas:
            rows = {name: arena.rows for name, arena in arenas.items()}
            self._sent = arenas, self._client.scatter([rows], broadcast=True, hash=False)[0]
        rows = self._sent[1]
        tasks = [self._client.submit(score, rows, rows.key, spec, shared_bytes, asked, pure=False) for asked in batch]
        found = {task.key: result(task) for task in finished(self._client, tasks, len(tasks))}
        return [found[task.key] for task in tasks]


# What workers do


CORES_OF_A_WORKER = 1  # Workers are started with one thread each, as many as there are cores.
_KEPT: dict[str, dict[str, CrossValidation]] = {}  # by the name of the rows; those of one search


@cores_limited_to(CORES_OF_A_WORKER)
def score(
    rows: Mapping[str, TrainRows], name: str, spec: HeadSpec, shared_bytes: float, asked: TrialRequest
) -> TrialResult:
    """Score one setting in all folds, or end it early.

    Parameters
    ----------
    rows, name
        Of each embedding, and what they are called: what trials share of them is kept.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if name not in _KEPT:
        shared = SharedArrays(shared_bytes)
        contests = {
            which: CrossValidation(which, SearchSpace(_head(some, spec), some), spec, shared)
            for which, some in rows.items()
        }
        _KEPT.clear()
        _KEPT[name] = contests
    study = new_study(None, spec.name)
    study.add_trials(asked.before)
    study.enqueue_trial(asked.suggested)
    trial, ledger = study.ask(), _Ledger(asked.before)
    _KEPT[name][asked.embeddings].run(trial, ledger)
    steps = study.get_trials(deepcopy=False)[trial.number].intermediate_values
    return TrialResult(ledger.score, steps, ledger.attributes)


def _head(rows: TrainRows, spec: HeadSpec) -> Head:
    task = HeadTask(len(rows), rows.x.shape[1], rows.facts.n_outputs, spec.seed, rows.facts.kind, spec.solver)
    head: Head = HEADS.get(spec.name)(task)
    return head


class _Ledger:
    """What `CrossValidation.run` tells of one trial."""

    def __init__(self, before: Sequence[FrozenTrial]) -> None:
        self._before = before
        self.score: float | None = None
        self.attributes: dict[str, Any] = {}

    def known(self, _asked: list[Any]) -> None:
        """Nothing: the driver has looked."""

    def finish(self, _trial: optuna.Trial, score: float, attributes: dict[str, Any]) -> None:
        """Keep what came of it."""
        self.score, self.attributes = score, attributes

    def prune(self, _trial: optuna.Trial) -> None:
        """Keep nothing."""

    def is_behind(self, trial: optuna.Trial, score: float, n_folds: int) -> bool:
        """See `featx.heads.search.journal.is_behind`."""
        return is_behind(trial, self._before, score, n_folds)

    def unusable(self, why: str) -> NoReturn:
        """Say that driver and worker search different spaces."""
        raise ClusterError(f"a worker has another space than the driver: {why}")
