"""Searches whose trials are scored by Dask workers."""

from pathlib import Path
from typing import Any

import pytest

import featx
from featx.errors import ClusterError
from featx.heads.fit import FitResult
from featx.specs.extraction import ClusterSpec
from featx.specs.head import HeadSpec
from featx.study.run_folder import RunFolder
from featx.study.run_metrics import HeadMetrics
from featx.study.study import Study


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(featx.__file__).parents[1]))


def trials(run: FitResult) -> list[Any]:
    metrics = RunFolder(Path(run.path)).metrics
    assert isinstance(metrics, HeadMetrics)
    return [(trial.number, trial.score, trial.params, trial.fold_scores) for trial in metrics.search.trials]


def test_worker_trials_repeat_and_one_worker_equals_one_process(toy_home: Path) -> None:
    featx.extract()
    head = HeadSpec(name="svm", trials=7, folds=3)
    (local,) = featx.fit(heads=head)
    (one_worker,) = featx.fit(heads=head, cluster=ClusterSpec(workers_local=1), force=True)
    assert trials(one_worker) == trials(local)
    assert one_worker.n_pruned == local.n_pruned
    two_workers, repeated_search = (
        featx.fit(heads=head, cluster=ClusterSpec(workers_local=2), force=True)[0] for _ in range(2)
    )
    assert trials(two_workers) == trials(repeated_search)
    assert two_workers.n_trials == 7
    assert trials(two_workers)[0] == trials(local)[0]
    metrics = Study.open(None).runs("class")[0].metrics
    assert isinstance(metrics, HeadMetrics)
    assert metrics.search.n_parallel_trials == 2


@pytest.mark.slow
def test_a_missing_scheduler_is_reported_before_the_search(toy_home: Path) -> None:
    featx.extract()
    with pytest.raises(ClusterError, match="no Dask scheduler answers at 'tcp://127"):
        featx.fit(heads="svm", cluster=ClusterSpec(scheduler="tcp://127.0.0.1:9"))
    assert not list(Path("runs/featx").glob("svm-*"))
