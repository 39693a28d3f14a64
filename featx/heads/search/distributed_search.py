"""Trials scored by Dask workers: this process suggests and records trials, a worker scores all folds of a trial.

Trials are suggested in batches, one for each worker, and recorded in the order of their numbers once the whole batch is
finished. So the result of a search depends on the seed and on the batch size, and not on the speed of the workers.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, NoReturn, Self

import optuna
from optuna.trial import FrozenTrial

from featx.errors import ClusterError
from featx.heads.folds import TrainRows
from featx.heads.scaling import Params
from featx.heads.search.cross_validation import CrossValidation, SearchSpace
from featx.heads.search.fold_cache import SharedArrays
from featx.heads.search.journal import create_study
from featx.parallel.dask_client import connect_client, iterate_completed, task_result, worker_addresses
from featx.parallel.threads import cores_limited_to
from featx.specs.extraction import ClusterSpec
from featx.specs.head import HeadSpec


@dataclass(frozen=True)
class TrialRequest:
    """A trial that a worker is to score.

    Attributes
    ----------
    embeddings
        Name of the embeddings.
    suggested
        Parameters as Optuna suggested them.
    scored_trials
        Trials that it is compared with for pruning.
    """

    embeddings: str
    suggested: Params
    scored_trials: list[FrozenTrial]


@dataclass(frozen=True)
class TrialResult:
    """Result of a trial.

    Attributes
    ----------
    score
        Mean over the folds; None if the trial was pruned.
    steps
        Interim score of each step.
    attributes
        User attributes to record with the score.
    """

    score: float | None
    steps: dict[int, float]
    attributes: dict[str, Any]


class DistributedEvaluator:
    """Dask workers that score trials; connected on the first use, and released at the end of the ``with`` block.

    Parameters
    ----------
    cluster
        Workers to use; None for this process alone.
    """

    def __init__(self, cluster: ClusterSpec | None) -> None:
        self._cluster = cluster
        self._stack = ExitStack()
        self._scattered: tuple[Mapping[str, SearchSpace], Any] | None = None

    def __enter__(self) -> Self:
        # A scheduler that does not answer is reported before any work is done.
        if self._cluster is not None and self._cluster.scheduler is not None:
            assert self.size
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    @cached_property
    def _client(self) -> Any:
        assert self._cluster is not None
        return self._stack.enter_context(connect_client(self._cluster))

    @cached_property
    def size(self) -> int:
        """Number of trials in a batch: the number of workers at the beginning, or 1 without a cluster."""
        if self._cluster is None:
            return 1
        return self._cluster.workers_local or len(worker_addresses(self._client))

    @property
    def is_local(self) -> bool:
        """Whether this process scores the trials."""
        return self._cluster is None

    def score_trials(
        self, spaces: Mapping[str, SearchSpace], spec: HeadSpec, shared_bytes: float, requests: Sequence[TrialRequest]
    ) -> list[TrialResult]:
        """Return the results of trials, in the order of the requests.

        Raises
        ------
        ClusterError
            Workers die repeatedly, or all of them are lost.
        """
        if self._scattered is None or self._scattered[0] is not spaces:
            rows = {name: space.rows for name, space in spaces.items()}
            self._scattered = spaces, self._client.scatter([rows], broadcast=True, hash=False)[0]
        rows = self._scattered[1]
        futures = [
            self._client.submit(score_trial, rows, rows.key, spec, shared_bytes, request, pure=False)
            for request in requests
        ]
        results = {future.key: task_result(future) for future in iterate_completed(self._client, futures, len(futures))}
        return [results[future.key] for future in futures]


# Functions that workers call

# Workers are started with one thread each, as many as there are cores.
CORES_PER_WORKER = 1
# Cross-validation of each embedding, by the key of the rows; only those of the current search are kept.
_cross_validations: dict[str, dict[str, CrossValidation]] = {}


@cores_limited_to(CORES_PER_WORKER)
def score_trial(
    rows: Mapping[str, TrainRows], rows_key: str, spec: HeadSpec, shared_bytes: float, request: TrialRequest
) -> TrialResult:
    """Score one setting on all folds, or prune it.

    Parameters
    ----------
    rows
        Train rows with each choice of embeddings, by name.
    rows_key
        Key of these rows; what trials share is kept until another key arrives.
    spec
        Head that is searched.
    shared_bytes
        Maximum number of bytes that trials share.
    request
        Trial to score.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if rows_key not in _cross_validations:
        shared_arrays = SharedArrays(shared_bytes)
        cross_validations = {
            name: CrossValidation(name, SearchSpace.of(spec, train_rows), spec, shared_arrays)
            for name, train_rows in rows.items()
        }
        _cross_validations.clear()
        _cross_validations[rows_key] = cross_validations
    study = create_study(None, spec.name)
    study.add_trials(request.scored_trials)
    study.enqueue_trial(request.suggested)
    trial, recorder = study.ask(), SingleTrialRecorder(request.scored_trials)
    _cross_validations[rows_key][request.embeddings].run(trial, recorder)
    steps = study.get_trials(deepcopy=False)[trial.number].intermediate_values
    return TrialResult(recorder.score, steps, recorder.attributes)


class SingleTrialRecorder:
    """Result of one trial in memory, as `CrossValidation.run` records it.

    Parameters
    ----------
    scored_trials
        Trials that the trial is compared with for pruning.

    Attributes
    ----------
    score
        Mean over the folds; None if the trial was pruned.
    attributes
        User attributes of the trial; empty if it was pruned.
    """

    def __init__(self, scored_trials: list[FrozenTrial]) -> None:
        self.scored_trials = scored_trials
        self.score: float | None = None
        self.attributes: dict[str, Any] = {}

    def find(self, _setting: list[Any]) -> None:
        """Return None: the process that suggested the trial has searched its journal already."""

    def complete(self, _trial: optuna.Trial, score: float, attributes: dict[str, Any]) -> None:
        """Record the score and the attributes of the trial."""
        self.score, self.attributes = score, attributes

    def prune(self, _trial: optuna.Trial) -> None:
        """Record nothing, because the score of a pruned trial is None."""

    def incompatible(self, reason: str) -> NoReturn:
        """Raise an error: the worker has another search space than the process that suggested the trial."""
        raise ClusterError(f"the search space of a worker differs from that of the main process: {reason}")
