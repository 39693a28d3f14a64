"""Stored results of several calls are shown together, each run within the limits that it was attacked within."""

import shutil
from collections.abc import Iterator

import matplotlib.pyplot as plt
import pytest

import featx
from featx.cli.attack_table import add_robustness, attack_lines
from featx.cli.command_summary import Summary
from featx.files.atomic import read_json, write_json
from featx.reports.page.components import Table
from featx.reports.study_report.attack_section import build_attacks
from featx.reports.study_report.facts import TargetFacts
from featx.robustness.attack import attack
from featx.robustness.attack_storage import stored_attacks
from featx.robustness.robustness_evaluation import RobustnessEvaluation
from featx.robustness.stored_attacks import read_attacks
from featx.specs.attacking import AttackSection
from featx.study.study import Study

SMALL, LARGE = 0.1, 0.3


def section(run: str, eps: float, **changes: object) -> AttackSection:
    return AttackSection(methods=("pgd",), eps=(eps,), runs=(run,), images=7, steps=4).model_copy(update=changes)


@pytest.fixture(scope="module")
def evaluation(study: Study) -> Iterator[RobustnessEvaluation]:
    shutil.rmtree(study.folder / "attacks", ignore_errors=True)
    attack(sections=[section("logreg", SMALL)])
    attack(sections=[section("lda", LARGE)])
    stored = read_attacks(study, "class")
    assert stored is not None
    yield stored.evaluation
    # Other modules of this package attack the same study.
    shutil.rmtree(study.folder / "attacks")


def test_a_run_has_results_only_within_limits_that_it_was_attacked_within(evaluation: RobustnessEvaluation) -> None:
    labels = {run.run: run.label for run in evaluation.runs}
    assert [labels[run] for run in evaluation.worst("linf", SMALL)] == ["logreg"]
    assert [labels[run] for run in evaluation.worst("linf", LARGE)] == ["lda"]
    assert all(row.p is None for row in evaluation.worst_cases)
    assert evaluation.notes == [
        "not all attacks within linf 0.1 were made on lda; name all runs in one 'featx attack' to compare them",
        "not all attacks within linf 0.3 were made on logreg; name all runs in one 'featx attack' to compare them",
    ]


def test_tables_and_report_have_dashes_for_missing_limits(
    study: Study, evaluation: RobustnessEvaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    with Summary() as summary:
        add_robustness(evaluation, summary)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    cells = {line[0]: line[2:4] for line in lines if line and line[0] in {"logreg", "lda"}}
    assert cells["logreg"][1] == cells["lda"][0] == "–"
    (scores,) = featx.evaluate()
    (line,) = attack_lines(study, [scores], {"class": evaluation})["class"]
    assert "not all attacks within linf 0.1 were made on lda" in line
    report_section = build_attacks(TargetFacts.collect(study, scores))
    assert report_section is not None
    worst_table = next(item for item in report_section.components if isinstance(item, Table))
    assert {row[0]: [value is None for value in row[2:4]] for row in worst_table.rows} == {
        "logreg": [False, True],
        "lda": [True, False],
    }
    plt.close("all")


def test_images_of_another_run_are_no_attack_on_a_run(study: Study, evaluation: RobustnessEvaluation) -> None:
    both = section("logreg", 0.2, runs=("logreg", "lda"))
    attack(sections=[both])
    # An interrupted call has attacked one of the runs.
    contents = {files.header: files.read()[0] for files in stored_attacks(study.folder / "attacks" / "class")}
    sources_and_limits = {(content.source[:3], content.spec.eps): header for header, content in contents.items()}
    header = sources_and_limits["lda", 0.2]
    content = header.read_text()
    header.unlink()
    stored = read_attacks(study, "class")
    header.write_text(content)
    assert stored is not None
    assert [row.label for row in stored.evaluation.worst("linf", 0.2).values()] == ["logreg"]
    assert [row.label for row in stored.evaluation.attacks if row.eps == 0.2] == ["logreg"]


def test_a_run_with_a_weaker_attack_has_a_note(study: Study, evaluation: RobustnessEvaluation) -> None:
    attack(sections=[section("lda", SMALL, steps=1)])
    stored = read_attacks(study, "class")
    assert stored is not None
    assert stored.evaluation.notes[0].startswith("not all attacks within linf 0.1 were made on logreg, lda; ")


def test_checks_of_other_images_are_not_counted(study: Study, evaluation: RobustnessEvaluation) -> None:
    folder = study.folder / "attacks" / "class"
    before, earlier_files = read_attacks(study, "class"), set(folder.glob("checks-*.json"))
    attack(sections=[section("logreg", SMALL, images=5)])
    (file,) = set(folder.glob("checks-*.json")) - earlier_files
    write_json(file, read_json(file) | {"failures": ["this concerns other images"]})
    # Checks of an earlier version had other fields.
    write_json(folder / "checks-old.json", {"run": "logreg", "key": "", "has_gradient": False})
    after = read_attacks(study, "class")
    assert before is not None
    assert after is not None
    assert after.evaluation.runs == before.evaluation.runs
    assert all(run.n_checks >= 7 for run in after.evaluation.runs)


def test_a_run_without_checks_has_a_note_and_its_gradient(study: Study, evaluation: RobustnessEvaluation) -> None:
    for file in (study.folder / "attacks" / "class").glob("checks-logreg*.json"):
        file.unlink()
    stored = read_attacks(study, "class")
    assert stored is not None
    assert stored.evaluation.labels_without_gradient == []
    assert stored.evaluation.notes[-1] == "sanity checks of logreg are missing; run 'featx attack' again"
