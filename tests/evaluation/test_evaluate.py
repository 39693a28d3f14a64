"""Scores of all runs, and the sealed test split.

Modules: evaluation.coverage.
"""

import math
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import featx
from featx.cli.main import app
from featx.errors import DataError, IncompleteError
from featx.metrics.scores import scores
from featx.study.run_folder import RunFolder
from featx.study.study import Study
from tests.recipes import LABEL_TABLE, toy_heads, toy_recipe


def test_runs_are_ranked_by_val_and_scored_on_the_same_rows(toy_home: Path) -> None:
    featx.extract()
    featx.fit()
    featx.ensemble()
    (evaluation,) = featx.evaluate()
    study = Study.open(None)
    assert evaluation.part == "val"
    assert evaluation.n_openings == 0
    assert [row.scores["accuracy"] for row in evaluation.rows] == sorted(
        (r.scores["accuracy"] for r in evaluation.rows), reverse=True
    )
    assert evaluation.chosen == evaluation.rows[0].run
    assert {row.scores["n"] for row in evaluation.rows} == {len(study.ids("val"))}
    for row, run in ((row, run) for row in evaluation.rows for run in study.runs() if run.name == row.run):
        assert row.scores == scores(study.truth("class"), run.predictions.of("val"))
        assert row.accuracy_low < row.scores["accuracy"] <= row.accuracy_high + 1e-12
        assert np.sum(row.confusion) == row.scores["n"] == sum(line["n"] for line in row.per_class)
        assert all(math.isfinite(row.scores[name]) for name in evaluation.scores)


def test_test_scores_keep_the_order_of_the_val_scores(toy_home: Path) -> None:
    featx.extract()
    featx.fit()
    (val,) = featx.evaluate()
    (test,) = featx.evaluate(final=True)
    assert test.part == "test"
    assert test.chosen == val.chosen
    assert test.chosen_by == val.chosen_by == "accuracy on val"
    assert [row.run for row in test.rows] == [row.run for row in val.rows]
    assert test.rows[0].scores["n"] == len(Study.open(None).ids("test"))


def test_without_a_val_split_the_out_of_fold_rows_choose(toy_home: Path) -> None:
    recipe = Path("featx.toml")
    recipe.write_text(recipe.read_text().replace("val = 0.25", "val = 0"))
    featx.extract()
    featx.fit()
    (weighted,) = featx.ensemble(methods=["weighted"])
    assert weighted.scored_on == "oof"
    (evaluation,) = featx.evaluate()
    assert evaluation.part == "oof"
    assert {row.scores["n"] for row in evaluation.rows} == {len(Study.open(None).ids("train"))}


def test_final_fails_without_a_test_split(toy_home: Path) -> None:
    recipe = Path("featx.toml")
    recipe.write_text(recipe.read_text().replace("test = 0.25", "test = 0"))
    featx.extract()
    featx.fit(heads=["logreg"])
    with pytest.raises(DataError, match="the split has no test rows"):
        featx.evaluate(final=True)
    assert Study.open(None).openings() == []


DAMAGES = [
    *product(("spec.json", "metrics.json", "header.json", "predictions.parquet"), (b"", b"[]", b"{}")),
    *product(("spec.json", "metrics.json", "predictions.parquet"), (None,)),  # removed
]


@pytest.mark.parametrize(("file", "content"), DAMAGES)
def test_a_damaged_run_is_reported_and_left_out(toy_home: Path, file: str, content: bytes | None) -> None:
    featx.extract()
    intact_run, broken_run = (RunFolder(Path(run.path)) for run in featx.fit())
    if content is None:
        (broken_run.path / file).unlink()
    else:
        (broken_run.path / file).write_bytes(content)
    (evaluation,) = featx.evaluate()
    assert [row.run for row in evaluation.rows] == [intact_run.name]
    assert len(evaluation.warnings) == 1
    assert evaluation.warnings[0].startswith(f"left out: run {broken_run.name} is damaged (")
    with pytest.raises(IncompleteError, match=f"run {broken_run.name} is damaged"):
        featx.ensemble()
    featx.report()


def test_coverage_and_abstention_follow_their_definitions(toy_home: Path) -> None:
    featx.extract()
    featx.fit(heads=["logreg", "svm"])
    (evaluation,) = featx.evaluate(coverage=0.8, abstain_below=0.6)
    study = Study.open(None)
    for row in evaluation.rows:
        table = RunFolder(study.folder / row.run).predictions.of("val")
        truth = study.truth("class").take(table.ids)
        is_predicted = table.proba.max(1) >= 0.6
        assert row.scores["predicted_share"] == pytest.approx(is_predicted.mean())
        assert row.scores["selective_accuracy"] == pytest.approx((table.codes == truth.codes)[is_predicted].mean())
        assert 0 <= row.scores["covered"] <= 1
        assert 0 <= row.scores["set_size"] <= 2
    output = CliRunner().invoke(app, ["evaluate", "--coverage", "0.8", "--abstain-below", "0.6"]).output
    assert re.search(r"run +covered +set size +predicted share +selective accuracy", output)
    assert len(re.findall(r"(?m)^(?:logreg|svm) +[01]\.\d{4}", output)) == 2
    (final_evaluation,) = featx.evaluate(final=True, coverage=0.8)
    header = featx.load(study.folder / final_evaluation.chosen).header
    assert header.conformal is not None
    assert (header.conformal.part, header.conformal.n) == ("val", int(evaluation.rows[0].scores["n"]))
    test = RunFolder(study.folder / final_evaluation.chosen).predictions.of("test")
    (threshold,) = header.conformal.at(0.8)
    assert final_evaluation.rows[0].scores["set_size"] == pytest.approx((1 - test.proba <= threshold).sum(1).mean())


def test_a_coverage_above_1_is_refused(toy_home: Path) -> None:
    featx.extract()
    featx.fit(heads=["logreg"])
    with pytest.raises(DataError, match="coverage is 90, expected a number between 0 and 1"):
        featx.evaluate(coverage=90)


def test_abstention_is_refused_before_any_test_split_is_opened(toy_home: Path) -> None:
    names = [path.relative_to("images").as_posix() for path in Path("images").rglob("*.png")]
    rows = (f"{name},{name.partition('/')[0]},{number}" for number, name in enumerate(names))
    Path("images/labels.csv").write_text("\n".join(["path,class,age", *rows]))
    targets = {"class": {"column": "class"}, "age": {"column": "age", "kind": "numbers"}}
    Path("featx.toml").write_text(toy_recipe(data=LABEL_TABLE, targets=targets, head=toy_heads("rf")))
    featx.extract()
    featx.fit()
    with pytest.raises(DataError, match="abstain_below is for classes only, target 'age' has numbers"):
        featx.evaluate(final=True, abstain_below=0.9)
    assert Study.open(None).openings() == []
