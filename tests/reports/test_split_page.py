"""Page and table of repeated outer splits in which some scores are undefined."""

import pytest

from featx.cli.split_table import print_split_summary
from featx.evaluation.split_summary import SplitScores, SplitSummary, summarize_splits
from featx.reports.page.components import Table, Text
from featx.reports.split_page import build_split_section
from featx.workflow.outer_splits import SummaryOfSplits

SEEDS = (0, 1, 2)


def summarise(*scores: dict[str, dict[str, float]]) -> SplitSummary:
    """Return the summary of splits in which the run ``ridge`` was chosen, with the scores of each run by split."""
    sizes = {"n_train": 30, "n_scored": 10, "fit_s": 1.0}
    names = {"target": "age", "part": "test", "metric": "pearson", "chosen": "ridge", "chosen_by": "pearson on oof"}
    return summarize_splits([SplitScores.model_validate(names | sizes | {"scores": runs}) for runs in scores])


def build(summary: SplitSummary) -> tuple[str, list[Table]]:
    """Return the summary and the tables of the section about one target."""
    components = build_split_section(summary, SEEDS).components
    assert isinstance(components[0], Text)
    return components[0].text, [component for component in components if isinstance(component, Table)]


def test_a_score_that_is_undefined_in_one_split_has_no_mean(capsys: pytest.CaptureFixture[str]) -> None:
    ridge, knn = {"pearson": 0.5, "mae": 2.0}, {"pearson": 0.25, "mae": 3.0}
    summary = summarise({"ridge": {"mae": 2.0}, "knn": knn}, *[{"ridge": ridge, "knn": knn}] * 2)
    text, (table, by_split) = build(summary)
    assert "has no mean pearson" in text
    assert "undefined in 1 of 3 splits" in text
    assert {"mae", "pearson"} == set(summary.score_names)
    # The run that has the score in all splits keeps its mean.
    assert next(row for row in table.rows if row[0] == "knn").count(0.25) == 1
    assert [len(row) for row in by_split.rows] == [4, 4, 4]
    print_split_summary(SummaryOfSplits([summary], list(SEEDS), "splits.html"))
    assert "0.2500" in capsys.readouterr().out


def test_runs_without_a_score_have_a_column_of_their_own() -> None:
    runs = {"ridge": {"pearson": 0.5}, "constant": {"mae": 2.0}, "knn": {"pearson": 0.25}}
    _, (_, by_split) = build(summarise(runs, runs, runs))
    names = [column.name for column in by_split.columns]
    assert dict(zip(names, by_split.rows[0], strict=True)) == {
        **{"seed": "0", "chosen": 0.5, "ridge": 0.5, "knn": 0.25, "constant": None}
    }


def test_a_score_that_is_undefined_everywhere_is_missing() -> None:
    runs = {"ridge": {"mae": 2.0}, "knn": {"mae": 3.0}}
    text, (table, _) = build(summarise(runs, runs, runs))
    assert "undefined in 3 of 3 splits" in text
    assert len({len(row) for row in table.rows}) == 1
