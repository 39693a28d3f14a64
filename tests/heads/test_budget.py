"""A time budget divides itself over heads: cheap ones first, searches are cut short, the rest is left out and named."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import featx
from featx.cli.main import app
from featx.errors import DataError, OutOfTimeError
from featx.heads.budget import SEARCH_SHARE, Budget
from featx.heads.search.cross_validation import SearchSpace
from featx.heads.search.search import SearchOptions, search
from featx.progress import no_progress
from featx.specs.head import HeadSpec
from featx.study.run_folder import RunFolder
from tests.heads.test_heads import digits
from tests.recipes import toy_heads, toy_recipe


@pytest.fixture
def study(toy_home: Path) -> Iterator[None]:
    """Extract a toy study with three heads, the dearest first."""
    Path("featx.toml").write_text(toy_recipe(head=toy_heads("xgboost", "logreg", "ridge", trials=3)))
    featx.extract()
    return


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), (" 2 m ", 120)])
def test_durations_are_read(text: str, seconds: float) -> None:
    assert Budget.parse(text).seconds == seconds


@pytest.mark.parametrize("text", ["10", "0m", "m", "-5s", "ten minutes"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="expected a duration such as '90s', '10m' or '1.5h'"):
        Budget.parse(text)


def test_the_time_that_is_left_is_divided_over_the_heads_that_are_left() -> None:
    budget = Budget(100.0)
    first, last = (budget.deadline(n_left) - time.perf_counter() for n_left in (4, 1))
    assert (first, last) == pytest.approx((100 * SEARCH_SHARE / 4, 100 * SEARCH_SHARE), abs=1)


def test_a_deadline_ends_a_search_within_a_trial(tmp_path: Path) -> None:
    rows = digits(3, 120)
    spec = HeadSpec(name="logreg", trials=200, folds=3)
    spaces = {"": SearchSpace.of(spec, rows)}
    options = SearchOptions(deadline=time.perf_counter() + 1.0)
    result = search(spaces, spec, tmp_path / "journal", no_progress, options)
    assert 1 <= len(result.trials) + result.n_pruned < 200
    assert result.is_cut_short
    with pytest.raises(OutOfTimeError, match="head 'logreg' scored no setting within its share of the time"):
        search(spaces, spec, tmp_path / "other", no_progress, SearchOptions(deadline=time.perf_counter()))


def test_cheap_heads_come_first_and_the_others_are_named(study: None) -> None:
    runs = featx.fit(budget="1h")
    assert [run.head for run in runs] == ["ridge", "logreg", "xgboost"]
    assert not any("cut short" in run.flags for run in runs)
    spent = Budget(1e-9)
    # Runs that exist take no time.
    assert [run.is_new for run in featx.fit(budget=spent)] == [False, False, False]
    assert spent.skipped == []
    (run,) = featx.fit(heads=["ridge", HeadSpec(name="xgboost", trials=2)], budget=spent)
    assert (run.head, [head.head for head in spent.skipped]) == ("ridge", ["xgboost"])
    assert spent.skipped[0].reason == "head 'xgboost' was not started: no time was left"
    with pytest.raises(OutOfTimeError, match="the budget of 1e-09 s was too short for every head"):
        featx.fit(budget=Budget(1e-9), force=True)
    with pytest.raises(DataError, match="nested cross-validation cannot be limited by a budget"):
        featx.fit(budget="1h", nested=2)
    result = CliRunner().invoke(app, ["fit", "--budget", "1h", "--trials", "2", "--head", "ridge", "--json"])
    assert json.loads(result.stdout)["skipped"] == []


def test_a_search_that_is_cut_short_says_so(study: None) -> None:
    (run,) = featx.fit(heads=HeadSpec(name="ridge", trials=5000, folds=3), budget="4s")
    assert run.flags[0] == "cut short"
    assert 1 <= run.n_trials < 5000
    assert (
        f"{run.n_trials - run.n_pruned} of 5000 settings were scored before the share of the budget" in run.warnings[0]
    )
    assert RunFolder(Path(run.path)).metrics.flags[0] == "cut short"


def test_a_search_that_its_timeout_ends_says_so(study: None) -> None:
    (run,) = featx.fit(heads=HeadSpec(name="ridge", trials=5000, folds=3), timeout_s=0.5)
    assert run.flags[0] == "cut short"
    assert 1 <= run.n_trials < 5000
    assert f"timeout_s = 0.5 ended the search after {run.n_trials} of 5000 trials; a larger" in run.warnings[0]
    # The last trial ends after the time, but none is left to try.
    (run,) = featx.fit(heads=HeadSpec(name="ridge", trials=1, folds=3), timeout_s=0.001)
    assert "cut short" not in run.flags


def test_a_deadline_after_the_last_trial_cuts_nothing_short(tmp_path: Path) -> None:
    rows, options = digits(3, 120), SearchOptions(deadline=time.perf_counter() + 3600)

    def pass_deadline(_stage: str, n_done: int, _total: int, /, _note: str = "") -> None:
        if n_done == 1:
            object.__setattr__(options, "deadline", time.perf_counter())

    spec = HeadSpec(name="ridge", trials=1, folds=3)
    result = search({"": SearchSpace.of(spec, rows)}, spec, tmp_path / "journal", pass_deadline, options)
    assert options.is_deadline_past
    assert (len(result.trials), result.is_cut_short) == (1, False)
    spec = HeadSpec(name="ridge", trials=0, folds=3)
    assert not search({"": SearchSpace.of(spec, rows)}, spec, tmp_path / "none", no_progress, options).is_cut_short
