"""Searches whose trials are scored by Dask workers."""

import json
from pathlib import Path
from typing import Any

import pytest

import featx
from featx.errors import ClusterError
from featx.heads.fit import FitResult
from featx.specs.extraction import ClusterSpec
from featx.specs.head import HeadSpec
from featx.study.study import Study


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(featx.__file__).parents[1]))


def trials(run: FitResult) -> list[Any]:
    found = json.loads((Path(run.path) / "metrics.json").read_text())
    return [(one["number"], one["score"], one["params"], one["fold_scores"]) for one in found["trials"]]


def test_trials_by_workers_are_the_same_each_time_and_one_worker_finds_what_one_process_does(toy_home: Path) -> None:
    featx.extract()
    head = HeadSpec(name="svm", trials=7, folds=3)
    (alone,) = featx.fit(heads=head)
    (by_one,) = featx.fit(heads=head, cluster=ClusterSpec(workers_local=1), force=True)
    assert trials(by_one) == trials(alone)
    assert by_one.n_pruned == alone.n_pruned
    two, again = (featx.fit(heads=head, cluster=ClusterSpec(workers_local=2), force=True)[0] for _ in range(2))
    assert trials(two) == trials(again)
    assert two.n_trials == 7
    assert trials(two)[0] == trials(alone)[0]
    made = Study.open(None).runs("class")[0]
    assert made.metrics["trials_at_once"] == 2


def test_a_scheduler_that_does_not_answer_is_said_before_the_search(toy_home: Path) -> None:
    featx.extract()
    with pytest.raises(ClusterError, match="no Dask scheduler answers at 'tcp://127"):
        featx.fit(heads="svm", cluster=ClusterSpec(scheduler="tcp://127.0.0.1:9"))
    assert not list(Path("runs/featx").glob("svm-*"))
