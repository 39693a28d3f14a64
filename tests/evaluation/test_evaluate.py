"""The table of all runs, and the sealed test split."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import featx
from featx.errors import DataError, IncompleteError
from featx.metrics.scores import scores
from featx.study.run_folder import RunFolder
from featx.study.study import Study


def test_runs_are_ranked_by_val_and_scored_on_the_same_rows(toy_home: Path) -> None:
    featx.extract()
    featx.fit()
    featx.ensemble()
    (found,) = featx.evaluate()
    study = Study.open(None)
    assert found.part == "val"
    assert found.n_looks == 0
    assert [row.scores["accuracy"] for row in found.rows] == sorted(
        (r.scores["accuracy"] for r in found.rows), reverse=True
    )
    assert found.chosen == found.rows[0].run
    assert {row.scores["n"] for row in found.rows} == {len(study.ids("val"))}
    for row, run in ((row, run) for row in found.rows for run in study.runs() if run.name == row.run):
        assert row.scores == scores(study.truth("class"), run.predictions.of("val"))
        assert row.accuracy_low < row.scores["accuracy"] <= row.accuracy_high + 1e-12
        assert np.sum(row.confusion) == row.scores["n"] == sum(line["n"] for line in row.per_class)
        assert all(math.isfinite(row.scores[name]) for name in found.scores)


def test_the_final_table_keeps_the_order_that_val_gave(toy_home: Path) -> None:
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
    (found,) = featx.evaluate()
    assert found.part == "oof"
    assert {row.scores["n"] for row in found.rows} == {len(Study.open(None).ids("train"))}


def test_without_a_test_split_final_says_so(toy_home: Path) -> None:
    recipe = Path("featx.toml")
    recipe.write_text(recipe.read_text().replace("test = 0.25", "test = 0"))
    featx.extract()
    featx.fit(heads=["logreg"])
    with pytest.raises(DataError, match="the split has no test rows"):
        featx.evaluate(final=True)
    assert Study.open(None).looks() == []


DAMAGES = [
    *product(("spec.json", "metrics.json", "header.json", "predictions.parquet"), (b"", b"[]", b"{}")),
    *product(("spec.json", "metrics.json", "predictions.parquet"), (None,)),  # removed
]


@pytest.mark.parametrize(("file", "content"), DAMAGES)
def test_a_damaged_run_is_named_and_left_out_and_the_others_are_scored(
    toy_home: Path, file: str, content: bytes | None
) -> None:
    featx.extract()
    whole, broken = (RunFolder(Path(run.path)) for run in featx.fit())
    if content is None:
        (broken.path / file).unlink()
    else:
        (broken.path / file).write_bytes(content)
    (found,) = featx.evaluate()
    assert [row.run for row in found.rows] == [whole.name]
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith(f"left out: run {broken.name} is damaged (")
    with pytest.raises(IncompleteError, match=f"run {broken.name} is damaged"):
        featx.ensemble()
    featx.report()


def test_sets_and_abstention_are_counted_as_their_definitions_say(toy_home: Path) -> None:
    featx.extract()
    featx.fit(heads=["logreg", "svm"])
    (found,) = featx.evaluate(coverage=0.8, abstain_below=0.6)
    study = Study.open(None)
    for row in found.rows:
        table = RunFolder(study.folder / row.run).predictions.of("val")
        truth = study.truth("class").take(table.ids)
        said = table.proba.max(1) >= 0.6
        assert row.scores["answered"] == pytest.approx(said.mean())
        assert row.scores["answered_accuracy"] == pytest.approx((table.codes == truth.codes)[said].mean())
        assert 0 <= row.scores["covered"] <= 1
        assert 0 <= row.scores["set_size"] <= 2
    (final,) = featx.evaluate(final=True, coverage=0.8)
    header = featx.load(study.folder / final.chosen).header
    assert header.conformal is not None
    assert (header.conformal.part, header.conformal.n) == ("val", int(found.rows[0].scores["n"]))
    test = RunFolder(study.folder / final.chosen).predictions.of("test")
    (threshold,) = header.conformal.at(0.8)
    assert final.rows[0].scores["set_size"] == pytest.approx((1 - test.proba <= threshold).sum(1).mean())


def test_a_coverage_that_is_none_is_refused(toy_home: Path) -> None:
    featx.extract()
    featx.fit(heads=["logreg"])
    with pytest.raises(DataError, match="coverage is 90, expected a number between 0 and 1"):
        featx.evaluate(coverage=90)
