"""Attacks on runs that predict labels or a number, from pixels to the stored result and the report."""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import featx
from featx.cli.attack_table import add_robustness
from featx.cli.command_summary import Summary
from featx.errors import DataError, UnsuitedError
from featx.reports.page.components import Table
from featx.reports.study_report.attack_section import build_attacks
from featx.reports.study_report.facts import TargetFacts
from featx.robustness.attack_job import prepare_attacks
from featx.robustness.stored_attacks import read_attacks
from featx.specs.attacking import AttackSection
from featx.study.study import Study
from tests.conftest import make_images
from tests.recipes import LABEL_TABLE, toy_recipe

TARGETS = {
    "tags": {"columns": ["bright", "large"], "kind": "labels"},
    "level": {"column": "level", "kind": "numbers"},
    "pair": {"columns": ["level", "age"], "kind": "numbers"},
}
HEADS = [
    {"name": "logreg", "trials": 1, "folds": 2, "target": "tags"},
    {"name": "ridge", "trials": 1, "folds": 2, "target": "level"},
    {"name": "ridge", "trials": 1, "folds": 2, "target": "pair"},
]
LABEL_ATTACKS = AttackSection(methods=("pgd", "square"), eps=(0.1, 0.2), target="tags", images=8, steps=6, queries=8)
NUMBER_ATTACKS = AttackSection(methods=("pgd",), eps=(0.05, 0.2), target="level", images=8, steps=6)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    folder = tmp_path_factory.mktemp("targets")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("FEATX_RECIPE", "FEATX_CACHE", "FEATX_RUNS"):
            patch.delenv(variable, raising=False)
        patch.chdir(folder)
        ids = make_images(folder / "images", ("dark", "light"), n_each=16)
        is_bright = np.array([name.startswith("light") for name in ids])
        numbers = np.arange(len(ids))
        columns = {"bright": is_bright.astype(int), "large": numbers % 2, "level": 3.0 * is_bright + numbers / 50}
        pd.DataFrame({"path": ids, "age": numbers, **columns}).to_csv("images/labels.csv", index=False)
        recipe = toy_recipe(data=LABEL_TABLE, targets=TARGETS, head=HEADS, ensemble=[{"methods": []}])
        (folder / "featx.toml").write_text(recipe)
        featx.extract()
        featx.fit()
        yield Study.open(None)


def test_a_prediction_of_labels_is_wrong_if_any_label_is(study: Study) -> None:
    (result,) = featx.attack(sections=[LABEL_ATTACKS])
    assert result.kind == "labels"
    stored_attacks = read_attacks(study, "tags")
    assert stored_attacks is not None
    run = result.runs[0].run
    for table in stored_attacks.attacked.tables:
        rows = table.rows[run]
        flags = rows[["attacked.bright", "attacked.large"]].to_numpy() >= 0.5
        names = [" + ".join(np.array(["bright", "large"])[row]) or "none" for row in flags]
        assert names == rows["attacked"].tolist()
        assert ((rows["attacked"] == rows["true"]) == rows["is_right"]).all()
    worst_accuracies = [result.worst("linf", eps)[run].accuracy for eps in (0.1, 0.2)]
    assert result.runs[0].clean >= worst_accuracies[0] >= worst_accuracies[1]
    assert worst_accuracies[1] < result.runs[0].clean


def test_the_largest_change_of_a_number_grows_with_the_limit(study: Study) -> None:
    (result,) = featx.attack(sections=[NUMBER_ATTACKS])
    assert not result.attacks
    small_change, large_change = sorted(result.changes, key=lambda row: row.eps or 0)
    assert 0 < small_change.mean < large_change.mean <= large_change.largest
    assert small_change.low <= small_change.mean <= small_change.high
    stored_attacks = read_attacks(study, "level")
    assert stored_attacks is not None
    rows = next(iter(stored_attacks.attacked.tables[0].rows.values()))
    change = (rows["attacked.level"] - rows["clean.level"]).abs()
    assert float(change.mean()) == pytest.approx(min(small_change.mean, large_change.mean))
    (evaluation,) = featx.evaluate(target="level")
    section = build_attacks(TargetFacts.collect(study, evaluation))
    assert section is not None
    (table,) = (component for component in section.components if isinstance(component, Table))
    assert [row[2] for row in table.rows] == [row.mean for row in result.changes]


def test_a_number_that_was_not_attacked_within_a_limit_has_a_dash(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    (result,) = featx.attack(sections=[NUMBER_ATTACKS])
    small_change = min(result.changes, key=lambda row: row.eps or 0)
    other_run = replace(result.runs[0], run="other", label="other")
    changes = [*result.changes, replace(small_change, run="other", label="other")]
    with Summary() as summary:
        add_robustness(replace(result, runs=[*result.runs, other_run], changes=changes), summary)
    output = capsys.readouterr().out
    assert re.search(r"other +[\d.]+ +–", output)
    assert f"least changed within linf 51/255: {result.runs[0].label}" in output


def test_named_runs_determine_the_target(study: Study) -> None:
    (level_run,) = study.runs("level")
    section = AttackSection(methods=("pgd",), eps=(0.1,), images=4, steps=1)
    assert prepare_attacks(sections=[section.model_copy(update={"runs": (level_run.name,)})]).target == "level"
    with pytest.raises(DataError, match=r"runs called 'ridge' predict 2 targets \(level, pair\); name one as"):
        prepare_attacks(sections=[section.model_copy(update={"runs": ("ridge",)})])
    ridge_names = sorted(run.name for run in study.runs() if run.spec.stem == "ridge")
    with pytest.raises(DataError, match=f"no finished run is called 'svm'; runs on this split: .*{ridge_names[0]}"):
        study.runs(names=["svm"])


def test_several_numbers_and_smallest_perturbations_of_numbers_are_refused(study: Study) -> None:
    with pytest.raises(UnsuitedError, match="the target has 2 numbers; an attack changes one number"):
        prepare_attacks(sections=[AttackSection(methods=("pgd",), target="pair")])
    with pytest.raises(UnsuitedError, match="which is not defined for numbers"):
        prepare_attacks(sections=[AttackSection(methods=("cw",), target="level")])
