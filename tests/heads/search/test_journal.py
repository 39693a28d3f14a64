"""Journals of trials: interrupted, killed and pruned searches."""

import json
import shutil
from pathlib import Path

import pytest

import featx
from featx.heads.search.journal import TrialJournal, should_prune
from featx.specs.head import HeadSpec
from tests.processes import run_until_killed


def test_an_interrupted_search_continues(toy_home: Path) -> None:
    featx.extract()

    def interrupt(stage: str, n_done: int, total: int, note: str = "") -> None:
        if stage.startswith("tune") and n_done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="^$"):
        featx.fit(heads=["logreg"], trials=5, progress=interrupt)
    steps: list[tuple[str, int]] = []
    (run,) = featx.fit(
        heads=["logreg"], trials=5, progress=lambda stage, n_done, _total, _note="": steps.append((stage, n_done))
    )
    assert run.n_trials == 5
    assert [n_done for stage, n_done in steps if stage.startswith("tune")] == [3, 4, 5]
    # Three folds, all rows, and three folds with the scaling of all rows.
    assert [n_done for stage, n_done in steps if stage == "fit logreg"] == [1, 2, 3, 4, 5, 6, 7]
    params = [
        json.dumps(trial["params"])
        for trial in json.loads((Path(run.path) / "metrics.json").read_text())["search"]["trials"]
    ]
    assert len(params) + run.n_pruned == 5
    assert (Path(run.path) / "trials.journal").is_file()
    assert not list(Path("runs/featx").glob(".trials*.journal"))


KILLED = """
import sys, time
import featx
from featx.registry import BACKBONES
BACKBONES.register("toy")(None)
def progress(stage, done, total, note=""):
    if stage.startswith("tune") and done == int(sys.argv[1]):
        print("there", flush=True)
        time.sleep(60 if int(sys.argv[1]) else 0)
featx.fit(heads="svm", trials=8, progress=progress)
"""


def test_a_killed_search_ends_with_the_same_trials(toy_home: Path) -> None:
    featx.extract()
    (undisturbed_run,) = featx.fit(heads="svm", trials=8)
    expected = json.loads((Path(undisturbed_run.path) / "metrics.json").read_text())["search"]["trials"]
    shutil.rmtree(undisturbed_run.path)
    for n_done in (2, 5):
        run_until_killed(KILLED, str(n_done))
    (resumed_run,) = featx.fit(heads="svm", trials=8)
    trials = json.loads((Path(resumed_run.path) / "metrics.json").read_text())["search"]["trials"]
    assert [(trial["score"], trial["params"]) for trial in trials] == [
        (trial["score"], trial["params"]) for trial in expected
    ]
    assert resumed_run.params == undisturbed_run.params


def test_a_trial_clearly_below_the_best_is_pruned(tmp_path: Path) -> None:
    # The standard deviation is .0158; two standard errors of the difference of two means of two are .0316.
    fold_scores = [0.90, 0.92, 0.88, 0.91, 0.89]
    with TrialJournal(tmp_path / "journal", HeadSpec(name="svm", trials=3), []) as trials:
        first, second = trials.next(), trials.next()
        assert first is not None
        assert second is not None
        assert not should_prune(first, trials.scored_trials, 0.1, 2)
        attributes = {"asked": [], "fold_scores": fold_scores, "params": {}, "embeddings": "", "path": {}}
        trials.complete(first, 0.9, attributes)
        assert should_prune(second, trials.scored_trials, 0.91 - 0.032, 2)
        assert not should_prune(second, trials.scored_trials, 0.91 - 0.031, 2)
