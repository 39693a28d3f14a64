"""Attacks on the runs of a study: results are stored, reused and ordered, and refused where they make no sense.

Modules: robustness.attack_job, robustness.attack_plan, robustness.attack_results,
robustness.stored_attacks, robustness.attack_storage,
robustness.attack_tables, robustness.example_images, robustness.robustness_evaluation.
"""

import operator
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

import featx
from featx.cli.attack_table import checks_text
from featx.errors import DataError, UnsuitedError
from featx.files.atomic import read_json_as, write_json
from featx.files.seals import write_sealed
from featx.robustness.attack import _check, attack, run_attacks
from featx.robustness.attack_job import AttackJob, prepare_attacks
from featx.robustness.attack_plan import count_queries, evaluated, group_sections, plan_attacks
from featx.robustness.attack_results import AttackedRuns
from featx.robustness.attack_storage import CheckOutcomes, stored_attacks
from featx.robustness.attack_tables import AttackTable
from featx.robustness.attacks.attacked_images import AttackedImages, QueryMeter
from featx.robustness.robustness_evaluation import RobustnessEvaluation
from featx.robustness.stored_attacks import attack_notes, read_attacks
from featx.specs.attacking import AttackSection
from featx.study.study import Study
from tests.conftest import make_images
from tests.recipes import toy_heads, toy_recipe

SECTION = AttackSection(
    methods=("fgsm", "pgd", "square", "transfer", "cw"),
    eps=(0.1, 0.3),
    runs=("logreg", "lda", "rf"),
    images=9,
    steps=5,
    queries=10,
)


@pytest.fixture(scope="module")
def job(study: Study) -> AttackJob:
    return prepare_attacks(sections=[SECTION])


@pytest.fixture(scope="module")
def result(job: AttackJob) -> RobustnessEvaluation:
    return run_attacks(job)


def table_of(job: AttackJob, method: str, eps: float, run: str) -> AttackTable:
    tasks = [task for task in job.tasks if task.spec.method == method and task.spec.eps == eps]
    return AttackTable.read(job.files(next(task for task in tasks if task.source.name.startswith(run))))


def test_every_run_has_a_robust_accuracy_under_every_attack(job: AttackJob, result: RobustnessEvaluation) -> None:
    names = {run.name for run in job.runs}
    assert {run.run for run in result.runs} == names
    assert result.limits == {"linf": [0.1, 0.3]}
    for method in ("fgsm", "pgd", "square", "transfer"):
        for eps in (0.1, 0.3):
            rows = result.results_under(method, "linf", eps)
            assert set(rows) == names
            assert all(0 <= row.low <= row.accuracy <= row.high <= 1 for row in rows.values())
    clean_accuracies = {run.run: run.clean for run in result.runs}
    assert all(row.accuracy <= clean_accuracies[row.run] for row in (*result.attacks, *result.worst_cases))
    assert set(result.results_under("cw", "l2", None)) == names


def test_the_worst_case_is_the_weakest_result_of_all(result: RobustnessEvaluation) -> None:
    for eps in (0.1, 0.3):
        for run, worst in result.worst("linf", eps).items():
            rows = [result.results_under(method, "linf", eps)[run] for method in ("fgsm", "pgd", "square", "transfer")]
            assert worst.accuracy <= min(row.accuracy for row in rows)
            assert worst.strongest_method in {"fgsm", "pgd", "square", "cw"}
            assert worst.accuracy <= result.worst("linf", 0.1)[run].accuracy


def test_perturbations_keep_the_limit(job: AttackJob, result: RobustnessEvaluation) -> None:
    limited = [task for task in job.tasks if task.spec.method != "cw"]
    for task in limited:
        table = AttackTable.read(job.files(task))
        assert float(table.norms("linf").max()) <= task.spec.eps + 1e-6
        # Nothing but a perturbation changes a prediction.
        is_same = table.norms("linf") == 0
        assert (table.is_wrong(task.source.name) == table.is_wrong_before(task.source.name))[is_same].all()
    assert len(limited) > len(job.runs)


def test_pgd_is_not_weaker_than_fgsm_for_any_run(job: AttackJob, result: RobustnessEvaluation) -> None:
    with_gradient = [run.name for run in job.runs if run.model.has_gradient]
    assert len(with_gradient) == 2
    for eps in (0.1, 0.3):
        fgsm, pgd = (result.results_under(method, "linf", eps) for method in ("fgsm", "pgd"))
        assert all(pgd[run].accuracy <= fgsm[run].accuracy for run in with_gradient)


def test_a_search_stronger_than_gradients_makes_a_run_doubtful(job: AttackJob, result: RobustnessEvaluation) -> None:
    tables = [AttackTable.read(job.files(task)) for task in job.tasks]
    run = next(run.name for run in job.runs if run.model.has_gradient)
    for table in tables:
        if table.source == run:
            table.rows[run]["is_right"] = table.attack.spec.method == "pgd"
    checked = {"version": 0, "run": run, "key": "", "pixels_key": "", "norm": "linf", "eps": 0.1}
    passed = CheckOutcomes(**checked, n_checks=7, failures=[])
    runs = AttackedRuns("classes", {run: "label"}, tables, list(map(evaluated, job.specs)), job.units)
    content = job.content(job.tasks[0])
    doubtful, trusted = (runs.evaluate(job.target, content, [item]) for item in (passed, replace_eps(passed, 0.2)))
    (doubt,) = doubtful.runs[0].failed_checks
    assert doubt.startswith("within linf 0.1: a search without gradients succeeds more often than gradients (9 and ")
    assert checks_text(doubtful) == "checks: 6 of 7 passed; not to be trusted: label"
    # Nothing was attacked within this limit.
    assert checks_text(trusted) == "checks: 7 of 7 passed"


def replace_eps(outcomes: CheckOutcomes, eps: float) -> CheckOutcomes:
    return outcomes.model_copy(update={"eps": eps})


def test_runs_without_gradient_are_attacked_by_transfer_and_by_search(result: RobustnessEvaluation) -> None:
    rows = result.results_under("pgd", "linf", 0.3)
    forest = next(row for run, row in rows.items() if run.startswith("rf"))
    logistic = next(row for run, row in rows.items() if run.startswith("logreg"))
    assert logistic.sources == (logistic.run,)
    assert set(forest.sources) == set(rows)
    assert next(run.has_gradient for run in result.runs if run.run == forest.run) is False
    transfer_accuracies = [
        row.accuracy for row in result.transfer if (row.method, row.eps, row.run) == ("pgd", 0.3, forest.run)
    ]
    assert forest.accuracy <= min(transfer_accuracies)


def test_transfer_counts_the_images_of_other_runs_alone(result: RobustnessEvaluation) -> None:
    for run, row in result.results_under("transfer", "linf", 0.3).items():
        assert run not in row.sources
        source_accuracies = [
            r.accuracy for r in result.transfer if r.method == "pgd" and r.eps == 0.3 and r.run == run != r.source
        ]
        assert row.accuracy <= min(source_accuracies)


def test_results_have_predictions_and_probabilities_by_id(job: AttackJob, result: RobustnessEvaluation) -> None:
    table = table_of(job, "pgd", 0.3, "logreg")
    assert table.ids.tolist() == job.rows.ids.tolist()
    assert float(table.norms("linf").max()) <= 0.3 + 1e-6
    for run, rows in table.rows.items():
        for prefix, column in (("clean", "clean"), ("attacked", "attacked")):
            proba = rows[[f"{prefix}.{name}" for name in job.rows.truth.names]].to_numpy()
            np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-9)
            names = np.array(job.rows.truth.names)[proba.argmax(axis=1)]
            assert run.startswith("soft") or names.tolist() == rows[column].tolist()
        assert (rows["n_queries"] > 5).all()
        assert (rows["seconds"] > 0).all()
        # Nothing but a perturbation changes a prediction.
        is_same = rows["linf"] == 0
        assert (rows["clean"][is_same] == rows["attacked"][is_same]).all()
    examples = table.files.read_examples()
    is_successful = table.is_wrong(table.source) & ~table.is_wrong_before(table.source)
    assert 0 < len(examples) == min(2, int(is_successful.sum()))
    assert examples["id"].tolist() == table.ids[is_successful][: len(examples)].tolist()
    assert all(picture.startswith(b"\x89PNG") for picture in examples["difference"])


def test_finished_attacks_and_checks_are_not_repeated(job: AttackJob, result: RobustnessEvaluation) -> None:
    files = [path for path in sorted(job.folder.iterdir()) if path.name != "none"]
    assert len(stored_attacks(job.folder)) == len(job.tasks)
    assert not list(job.folder.glob("*.parts"))
    assert job.longest_s == 0
    times = [file.stat().st_mtime_ns for file in files]
    checks = {file: read_json_as(file, CheckOutcomes) for file in job.folder.glob("checks-*.json")}
    assert len(checks) == len(job.runs)
    for file, outcomes in checks.items():
        write_json(file, outcomes.model_dump() | {"failures": ["this text was stored"]})
    repeated_result = attack(sections=[SECTION])[0]
    assert all(run.failed_checks == ("within linf 0.1: this text was stored",) for run in repeated_result.runs)
    for file, outcomes in checks.items():
        write_json(file, outcomes.model_dump())
    assert repeated_result.attacks == result.attacks
    assert [file.stat().st_mtime_ns for file in files if not file.name.startswith("checks-")] == [
        time for file, time in zip(files, times, strict=True) if not file.name.startswith("checks-")
    ]
    assert prepare_attacks(sections=[SECTION.model_copy(update={"steps": 9})]).longest_s > 0


class Interrupted:
    """A progress callback that stops the work like Ctrl-C after a number of reports of attacks."""

    def __init__(self, n_reports: int) -> None:
        self.n_left = n_reports

    def __call__(self, stage: str, n_done: int, total: int, /, note: str = "") -> None:
        assert n_done <= total
        self.n_left -= stage == "attack" and not note.startswith("checks of")
        if not self.n_left:
            raise KeyboardInterrupt


def test_stored_results_are_read_back_without_the_job(study: Study, result: RobustnessEvaluation) -> None:
    stored_attacks = read_attacks(study, "class")
    assert stored_attacks is not None
    assert {run.run for run in stored_attacks.evaluation.runs} == {run.run for run in result.runs}
    # The rows of a transfer are those of the attack that made the images.
    expected = [row for row in result.attacks if row.method != "transfer"]
    key = operator.attrgetter("method", "norm", "run", "accuracy")
    assert sorted(map(key, stored_attacks.evaluation.attacks)) == sorted(map(key, expected))
    assert [run.n_checks for run in stored_attacks.evaluation.runs] == [run.n_checks for run in result.runs]
    assert read_attacks(study, "class", "test") is None
    assert stored_attacks.evaluation.notes == []


def test_results_of_runs_or_images_that_changed_are_never_shown(
    study: Study, job: AttackJob, result: RobustnessEvaluation
) -> None:
    forest = next(run for run in job.runs if run.name.startswith("rf"))
    contents = {files.header: files.read()[0] for files in stored_attacks(job.folder)}
    for header, content in contents.items():
        runs = content.runs | {forest.name: "another key"}
        write_sealed(header, content.model_copy(update={"runs": runs}).model_dump(mode="json"))
    study_attacks = read_attacks(study, "class")
    assert study_attacks is not None
    n_own = sum(content.source == forest.name for content in contents.values())
    assert n_own > 0
    assert study_attacks.evaluation.notes == [
        f"stored results of {n_own} attacks on runs or images that have changed since are not shown"
    ]
    assert forest.name not in {run.run for run in study_attacks.evaluation.runs}
    for header, content in contents.items():
        write_sealed(header, content.model_copy(update={"version": 0}).model_dump(mode="json"))
    assert read_attacks(study, "class") is None
    assert "have changed since" in attack_notes(study, "class")[0]
    for header, content in contents.items():
        write_sealed(header, content.model_dump(mode="json"))
    header = next(iter(contents))
    header.write_text("{")
    study_attacks = read_attacks(study, "class")
    assert study_attacks is not None
    assert "stored results of 1 attack cannot be read" in study_attacks.evaluation.notes[0]
    write_sealed(header, contents[header].model_dump(mode="json"))


def test_an_interrupted_attack_goes_on_behind_its_last_batch(study: Study, tmp_path: Path) -> None:
    section = SECTION.model_copy(update={"methods": ("pgd",), "eps": (0.2,), "runs": ("logreg",), "images": 11})
    job = replace(prepare_attacks(sections=[section]), batch_size=4, folder=tmp_path / "interrupted")
    (task,) = job.tasks
    files, reports = job.files(task), Interrupted(-1)
    uninterrupted_job = replace(job, folder=tmp_path / "whole")
    run_attacks(uninterrupted_job, reports)
    with pytest.raises(KeyboardInterrupt):
        run_attacks(job, Interrupted(-reports.n_left // 2))
    assert not files.is_finished
    assert files.n_finished in {4, 8}
    assert 0 < job.longest_s < replace(job, folder=tmp_path / "none").longest_s
    # A batch behind a gap, which a kill between two batches cannot leave, is not used.
    files.write_part(10, 11, AttackTable.read(uninterrupted_job.files(task)).rows[task.source.name].tail(1))
    second_reports = Interrupted(-1)
    run_attacks(job, second_reports)
    assert second_reports.n_left > reports.n_left
    resumed_rows, expected = (
        AttackTable.read(item).rows[task.source.name] for item in (files, uninterrupted_job.files(task))
    )
    assert resumed_rows.drop(columns="seconds").equals(expected.drop(columns="seconds"))


def test_checks_are_made_on_as_many_images_as_fit_into_memory(job: AttackJob, monkeypatch: pytest.MonkeyPatch) -> None:
    run, n_images = job.runs[0], []

    def exceed(images: AttackedImages, *_: object) -> tuple[int, list[str]]:
        n_images.append(len(images.pixels))
        if len(images.pixels) > 3:
            raise RuntimeError("could not create a primitive")
        return 1, ["a failure"]

    monkeypatch.setattr("featx.robustness.attack.check_attacks", exceed)
    other_job = replace(job, runs=(replace(run, key="another"),))
    clean_scores = {run.name: run.scores(job.pixels)}
    _check(other_job, other_job.runs[0], job.specs[0], clean_scores, QueryMeter())
    assert n_images[-1] <= 3 < n_images[0]
    outcomes = read_json_as(other_job.checks_file(other_job.runs[0], job.specs[0]), CheckOutcomes)
    assert (outcomes.n_checks, outcomes.failures) == (1, ["a failure"])
    other_job.checks_file(other_job.runs[0], job.specs[0]).unlink()


def test_other_settings_have_other_files(job: AttackJob) -> None:
    task = job.tasks[0]
    # A renamed run, or one that was made again, has another key, and so have the results with its predictions.
    changed_job = replace(job, runs=(*job.runs[:-1], replace(job.runs[-1], key="another")))
    stems = {job.files(task).stem, changed_job.files(task).stem, replace(job, pixels=1 - job.pixels).files(task).stem}
    stems.add(job.files(replace(task, spec=task.spec.model_copy(update={"eps": 0.05}))).stem)
    stems.add(job.files(replace(task, source=job.runs[-1])).stem)
    assert len(stems) == 5


def test_each_attack_is_made_once(job: AttackJob) -> None:
    # Images of 'transfer' are those of 'pgd', and runs without gradient are searched as by 'square'.
    names = [(task.spec.method, task.spec.eps, task.source.name) for task in job.tasks]
    assert len(names) == len(set(names))
    assert {name for name, _, _ in names} == {"fgsm", "pgd", "square", "cw"}
    only_pgd = AttackSection(methods=("pgd",))
    specs = plan_attacks([only_pgd, only_pgd.model_copy(update={"queries": 7})], "classes")
    assert len(specs) == 1
    assert len(plan_attacks([AttackSection(methods=("patch",), eps=(0.1, 0.2), norms=("linf", "l2"))], "classes")) == 1
    groups = group_sections([only_pgd, AttackSection(images=5), AttackSection(methods=("cw",))])
    assert [len(group) for group in groups] == [2, 1]


def test_runs_without_gradient_are_searched_once_within_each_limit(job: AttackJob) -> None:
    stated = AttackSection(methods=("pgd", "square"), eps=(0.1,), queries=10)
    other_section = AttackSection(methods=("fgsm",), eps=(0.1, 0.3), queries=20)
    without_limit = AttackSection(methods=("cw", "patch"), queries=900)
    sections = [stated, other_section, without_limit]
    specs = tuple(plan_attacks(sections, "classes"))
    forest = next(run for run in job.runs if not run.model.has_gradient)
    tasks = replace(job, specs=specs, runs=(forest,), n_queries=count_queries(sections)).tasks
    assert {task.spec.method for task in tasks} == {"square"}
    assert sorted((task.spec.eps, task.spec.queries) for task in tasks) == [(0.1, 10), (0.3, 20)]


def test_the_keys_of_runs_depend_on_their_names_and_files(job: AttackJob) -> None:
    assert len({run.key for run in job.runs}) == len(job.runs)


def test_images_that_changed_are_refused(study: Study, job: AttackJob) -> None:
    path = Path("images") / str(job.rows.ids[0])
    shutil.copy(path, "kept.png")
    Image.new("RGB", (20, 18), "red").save(path)
    with pytest.raises(DataError, match="has changed since the extraction; run 'featx extract'"):
        prepare_attacks(sections=[SECTION])
    path.unlink()
    with pytest.raises(DataError, match="cannot be read any more"):
        prepare_attacks(sections=[SECTION])
    shutil.copy("kept.png", path)


def test_nothing_is_opened_for_runs_that_cannot_be_attacked(study: Study) -> None:
    with pytest.raises(DataError, match="no finished run is called 'none'"):
        prepare_attacks(sections=[SECTION.model_copy(update={"runs": ("none",)})], final=True)
    with pytest.raises(UnsuitedError, match="rf-.* cannot be attacked with gradients: .*leave out white_box"):
        prepare_attacks(sections=[SECTION.model_copy(update={"white_box": True})], final=True)
    with pytest.raises(UnsuitedError, match="none of the runs has a gradient, which attack 'cw' needs"):
        prepare_attacks(sections=[AttackSection(methods=("cw",), runs=("rf",))], final=True)
    assert study.openings() == []


@pytest.mark.parametrize("has_one_size", [True, False])
def test_a_vote_of_networks_of_two_sizes_has_gradients(
    has_one_size: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path / "images", n_each=12)
    if not has_one_size:
        for path in Path("images").rglob("*.png"):
            Image.open(path).resize((20 + int(path.stem) % 2, 18)).save(path)
    network = {"backbone": "toy", "weights": "none", "strategy": "head", "epochs": 1, "size_px": 24}
    recipe = toy_recipe(head=toy_heads("logreg"), finetune=[network], ensemble=[{"methods": ["soft"]}])
    Path("featx.toml").write_text(recipe)
    featx.extract()
    featx.fit()
    featx.finetune()
    featx.ensemble()
    section = AttackSection(runs=("soft",), images=4, white_box=True)
    if has_one_size:
        (vote,) = prepare_attacks(sections=[section]).runs
        assert vote.model.has_gradient
    else:
        with pytest.raises(UnsuitedError, match=r"members of soft-.* take images of .*24 px.*attack the members"):
            prepare_attacks(sections=[section])


def test_attacks_that_leave_no_result_are_refused(study: Study) -> None:
    with pytest.raises(UnsuitedError, match="not defined for numbers"):
        plan_attacks([AttackSection(methods=("cw",))], "numbers")
    with pytest.raises(UnsuitedError, match="none of the runs has a gradient, which attack 'cw' needs"):
        prepare_attacks(sections=[AttackSection(methods=("cw",), runs=("rf",), images=3)])
    levels = AttackSection(methods=("pgd",), norms=("l2",), eps=(128,), runs=("logreg",), images=3)
    with pytest.raises(UnsuitedError, match=r"found eps 128 \(l2\).*write 0.502 \(128/255\)"):
        prepare_attacks(sections=[levels])
    with pytest.raises(ValidationError, match="found 0, expected more"):
        AttackSection(eps=(0.1, 0))


def test_the_sample_keeps_the_shares_of_the_classes(study: Study, job: AttackJob) -> None:
    codes = study.labels("class").take(study.ids("val")).values
    assert job.rows.part == "val"
    assert job.rows.n_rows == len(codes) > 9
    expected = 9 * np.bincount(codes) / len(codes)
    assert np.abs(np.bincount(job.rows.truth.values) - expected).max() <= 1
