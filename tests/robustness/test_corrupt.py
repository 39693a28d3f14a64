"""Runs on corrupted images: every kind of target, stored outputs, mean corruption errors, the command and its output.

Modules: cli.corrupt_command, cli.corruption_table, robustness.corrupted_pictures, robustness.corruption_job,
robustness.corruption_record, robustness.corruption_results, robustness.corruption_store,
robustness.sampled_rows, specs.corrupting.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import featx
from featx.errors import DataError, RecipeError
from featx.robustness.corrupt import corrupt, run_corruptions
from featx.robustness.corrupted_pictures import MAX_SHORTER_SIDE_PX, reduce_picture
from featx.robustness.corruption_job import CorruptionJob, prepare_corruptions
from featx.robustness.corruption_record import read_corruptions, read_summary
from featx.robustness.corruption_results import CorruptionResults
from featx.robustness.corruption_store import ORIGINAL, CorruptionStore, corruptions_folder, make_cells
from featx.robustness.run_keys import run_key
from featx.robustness.sampled_rows import only_target, sample_positions
from featx.specs.corrupting import CorruptionSpec
from featx.study.study import Study
from tests.conftest import make_images
from tests.printed import run_command
from tests.recipes import toy_heads, toy_recipe

SPEC = CorruptionSpec(kinds=("brightness", "gaussian_noise", "probe"), severities=(1, 5), images=9)
RUNS = ("svm-toy", "svm-deep", "toy-head", "soft")
SECTION = {"kinds": ["fog"], "severities": [2], "images": 6, "reference": "ridge"}


@pytest.fixture(scope="module")
def job(study: Study) -> CorruptionJob:
    return prepare_corruptions(spec=SPEC.model_copy(update={"reference": "svm-toy"}), runs=RUNS)


@pytest.fixture(scope="module")
def results(job: CorruptionJob) -> CorruptionResults:
    return run_corruptions(job)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a study with labels and numbers whose runs are finished, and return its recipe."""
    folder = tmp_path_factory.mktemp("numbers")
    ids = make_images(folder / "images", n_each=20)
    rng = np.random.default_rng(0)
    is_light = np.repeat([0, 1], 20)
    columns = {
        "path": ids,
        "age": 5.0 * is_light + rng.normal(size=40),
        "red": is_light,
        "big": rng.permutation(is_light),
    }
    pd.DataFrame(columns).to_csv(folder / "images" / "labels.csv", index=False)
    text = toy_recipe(
        data={"source": "images", "labels": {"file": "labels.csv"}},
        targets={"tags": {"columns": ["red", "big"], "kind": "labels"}, "age": {"column": "age", "kind": "numbers"}},
        split={"test": 0.2, "val": 0.4, "stratify": False},
        head=[{**toy_heads("logreg")[0], "target": "tags"}, {**toy_heads("ridge")[0], "target": "age"}],
        ensemble=[{"methods": []}],
        corruption=SECTION,
    )
    (folder / "featx.toml").write_text(text)
    featx.extract(folder / "featx.toml")
    featx.fit(folder / "featx.toml")
    return folder / "featx.toml"


def test_the_cost_is_known_before(job: CorruptionJob) -> None:
    assert job.expected_s > 0
    # Two backbones, and the network that was trained here.
    assert job.n_networks == 3
    assert len(job.missing) == len(job.cells) == 1 + 2 * 2 + 8 + 5 + 1


def test_every_run_has_scores_with_intervals(job: CorruptionJob, results: CorruptionResults) -> None:
    assert {run.run for run in results.runs} == {run.name for run in job.runs}
    assert {run.run.split("-")[0] for run in results.runs} == {"svm", "toy", "soft"}
    means = []
    for run in results.runs:
        for cell in (run.original, *run.cells, *run.probes):
            assert cell.interval[0] <= cell.score <= cell.interval[1]
        assert {(cell.kind, cell.severity) for cell in run.cells} == {
            (kind, severity) for kind in ("brightness", "gaussian_noise") for severity in (1, 5)
        }
        assert run.mean == pytest.approx(np.mean([cell.score for cell in run.cells]))
        assert run.mean is not None
        assert run.interval is not None
        assert run.interval[0] <= run.mean <= run.interval[1]
        assert [cell.kind for cell in run.probes].count("pixel_shift") == 8
        means.append(run.mean)
    assert means == sorted(means, reverse=True)


def test_predictions_for_original_images_are_those_of_the_runs(job: CorruptionJob, results: CorruptionResults) -> None:
    for name, table in job.store.read(ORIGINAL, job.runs).items():
        run = next(run for run in job.runs if run.name == name)
        expected = run.predictions.of("val").take(job.store.rows.ids).ordered(table.names)
        np.testing.assert_allclose(table.values, expected.values, atol=1e-5)


def test_brighter_images_are_taken_for_the_light_class(job: CorruptionJob, results: CorruptionResults) -> None:
    # Brightness is all that tells the classes apart, so that brighter images are taken for light ones.
    brighter = next(cell for cell in job.cells if (cell.kind, cell.severity) == ("brightness", 5))
    original_outputs, damaged_outputs = (
        job.store.read(cell, job.runs[:1])[job.runs[0].name] for cell in (ORIGINAL, brighter)
    )
    light = original_outputs.names.index("light")
    assert (damaged_outputs.values[:, light] >= original_outputs.values[:, light]).all()
    assert next(iter(results.score_drop_by_kind)) == "brightness"


def test_mean_corruption_errors_are_relative_to_the_reference(results: CorruptionResults) -> None:
    assert results.reference is not None
    assert results.reference.startswith("svm-toy")
    reference = next(run for run in results.runs if run.run == results.reference)
    assert reference.errors is not None
    defined = [value for value in (reference.errors.mean, reference.errors.relative) if value is not None]
    assert defined == pytest.approx([1.0] * len(defined))
    assert len(defined) + len(reference.errors.problems) == 2


def test_nothing_is_computed_twice_and_new_runs_only_add_their_own(
    job: CorruptionJob, results: CorruptionResults
) -> None:
    repeated_job = prepare_corruptions(spec=job.spec, runs=RUNS)
    assert repeated_job.missing == {}
    assert repeated_job.expected_s == 0
    assert run_corruptions(repeated_job) == results
    cell = job.cells[3]
    other_runs = [run for run in job.runs if not run.name.startswith("svm-toy")]
    frame = pd.read_parquet(job.store.file(cell))
    columns = [name for name in frame.columns if not name.startswith("svm-toy")]
    frame[columns].to_parquet(job.store.file(cell))
    partial = prepare_corruptions(spec=job.spec, runs=RUNS)
    assert [run.name for run in partial.missing[cell]] == [run.name for run in job.runs if run not in other_runs]
    assert partial.n_networks == 1
    assert run_corruptions(partial) == results


def test_an_interrupted_evaluation_continues(study: Study) -> None:
    spec = SPEC.model_copy(update={"kinds": ("fog", "snow"), "images": 4})
    finished_notes: list[str] = []

    def interrupt(stage: str, n_done: int, n_total: int, note: str = "") -> None:
        if stage == "corrupt" and n_done == 2:
            raise KeyboardInterrupt
        finished_notes.append(note)

    with pytest.raises(KeyboardInterrupt):
        corrupt(spec=spec, runs=["svm-toy"], progress=interrupt)
    resumed_job = prepare_corruptions(spec=spec, runs=["svm-toy"])
    assert [(cell.kind, cell.severity) for cell in resumed_job.missing] == [("fog", 5), ("snow", 1), ("snow", 5)]


@pytest.mark.parametrize(("target", "score"), [("tags", "average_precision"), ("age", "mae")])
def test_labels_and_numbers_have_their_own_score(recipe: Path, target: str, score: str) -> None:
    reference = "logreg" if target == "tags" else "ridge"
    spec = SPEC.model_copy(update={"kinds": ("brightness", "pixel_shift"), "reference": reference})
    results = corrupt(recipe, spec=spec, target=target)
    assert results.score == score
    (run,) = results.runs
    assert run.errors is not None
    assert run.errors.mean == pytest.approx(1.0)
    assert run.consistency is not None
    if target == "age":
        assert run.consistency.share_8 is None
        assert run.consistency.largest_change is not None
        assert run.consistency.largest_change > 0
        # Greater errors are worse.
        assert results.score_drop_by_kind["brightness"] == pytest.approx(run.by_kind["brightness"] - run.original.score)
    else:
        assert run.consistency.share_4 is not None
        assert run.consistency.share_8 is not None
        assert 0 <= run.consistency.share_8 <= run.consistency.share_4 <= 1


def test_calls_at_the_same_time_keep_the_outputs_of_each_other(job: CorruptionJob, tmp_path: Path) -> None:
    first_run, second_run = job.runs[:2]
    stores = [CorruptionStore(tmp_path, job.store.rows) for _ in range(2)]
    assert [store.keys(ORIGINAL) for store in stores] == [set(), set()]
    for store, run in zip(stores, (first_run, second_run), strict=True):
        columns = run.predictions.names
        values = np.full((len(job.store.rows.ids), len(columns)), 1 / len(columns))
        store.write(ORIGINAL, {run: (columns, values)})
    assert stores[1].keys(ORIGINAL) == {run_key(first_run), run_key(second_run)}


@pytest.mark.parametrize("target", ["../../../x", "/tmp/x", "Gender (M/F)"])
def test_the_files_of_any_target_are_in_one_folder(target: str) -> None:
    assert corruptions_folder(Path("runs/toy"), target).parent == Path("runs/toy/corruptions")
    assert ".." not in corruptions_folder(Path("runs/toy"), target).parts


def test_stale_results_are_not_read(study: Study, job: CorruptionJob, results: CorruptionResults) -> None:
    run_corruptions(job)
    assert read_corruptions(study, "class") == results
    summary = read_summary(study, "class")
    assert summary is not None
    assert {name: run.mean for name, run in summary.runs.items()} == {run.run: run.mean for run in results.runs}
    assert summary.score == results.score
    # Images with other contents have other files, and runs that were made again other columns.
    changed_rows = replace(job.store.rows, digests=(*job.store.rows.digests[1:], "other"))
    assert not CorruptionStore(job.store.folder, changed_rows).file(ORIGINAL).exists()
    assert len({run_key(run) for run in job.runs}) == len(job.runs)
    file = job.store.file(ORIGINAL)
    frame = pd.read_parquet(file)
    key = run_key(job.runs[0])
    frame.rename(columns=lambda name: name.replace(key, key[::-1])).to_parquet(file)
    stored_results = read_corruptions(study, "class")
    assert stored_results is not None
    assert {run.run for run in stored_results.runs} == {run.run for run in results.runs} - {job.runs[0].name}
    file.unlink()
    assert read_corruptions(study, "class") is None
    frame.to_parquet(file)


def test_images_that_changed_are_refused(study: Study, job: CorruptionJob) -> None:
    path = Path("images") / str(job.store.rows.ids[0])
    original = path.read_bytes()
    Image.new("RGB", (20, 18), "red").save(path)
    with pytest.raises(DataError, match="has changed since the extraction; run 'featx extract'"):
        prepare_corruptions(spec=SPEC.model_copy(update={"kinds": ("snow",), "images": 11}))
    path.write_bytes(original)


def test_wrong_choices_are_refused(study: Study, recipe: Path) -> None:
    with pytest.raises(DataError, match=r"the recipe has 2 targets \(tags, age\); name one as the target"):
        prepare_corruptions(recipe)
    (age_run,) = Study.open(recipe).runs("age")
    assert prepare_corruptions(recipe, spec=SPEC, runs=[age_run.name]).target == "age"
    with pytest.raises(DataError, match="no finished run is called 'none'"):
        prepare_corruptions(spec=SPEC.model_copy(update={"reference": "none"}))
    with pytest.raises(DataError, match="3 runs are called 'svm' .*; expected the name of one reference"):
        prepare_corruptions(spec=SPEC.model_copy(update={"reference": "svm"}))
    with pytest.raises(RecipeError, match="no corruption is called 'fogg'; did you mean 'fog'"):
        study.recipe.corruption_spec(kinds=["fogg"])
    with pytest.raises(RecipeError, match="severities"):
        study.recipe.corruption_spec(severities=[6])
    assert study.openings() == []


def test_the_section_of_the_recipe_is_the_default(recipe: Path) -> None:
    prepared = prepare_corruptions(recipe, target="age")
    assert prepared.cells == make_cells(CorruptionSpec(kinds=("fog",), severities=(2,)))
    assert len(prepared.store.rows.ids) == 6
    assert prepared.reference == prepared.runs[0].name


def test_the_reference_is_evaluated_too(study: Study) -> None:
    prepared = prepare_corruptions(spec=SPEC.model_copy(update={"reference": "lda"}), runs=["svm-toy"])
    assert {run.name.split("-")[0] for run in prepared.runs} == {"lda", "svm"}


def test_samples_keep_the_share_of_each_class() -> None:
    strata = np.repeat([0, 1], [60, 40])
    positions = sample_positions(strata, 10, 0)
    assert np.bincount(strata[positions]).tolist() == [6, 4]
    assert np.array_equal(sample_positions(strata, 100, 0), np.arange(100))
    assert len(sample_positions(np.array([0, 1, 1, 1]), 2, 0)) == 2


def test_large_pictures_are_reduced_and_small_ones_are_not() -> None:
    assert reduce_picture(Image.new("RGB", (2000, 1000))).shape == (MAX_SHORTER_SIDE_PX, 2 * MAX_SHORTER_SIDE_PX, 3)
    assert reduce_picture(Image.new("L", (20, 18))).shape == (18, 20)


def test_the_command_says_the_cost_and_prints_a_table(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = "corrupt svm-toy --kind fog --kind probe --severity 2 --images 6 --reference svm-toy"
    code, output, errors = run_command(words, capsys)
    assert code == 0
    assert "1 corruption and 14 probes of 6 of 13 val images through 1 network for 1 run: about" in errors
    assert "best under corruption: svm" in output
    assert "most harmful: fog" in output
    assert all(len(line) <= 80 for line in output.splitlines())
    output_json = json.loads(run_command(f"{words} --json", capsys)[1])
    assert (output_json["target"], output_json["part"], output_json["n"], output_json["score"]) == (
        "class",
        "val",
        6,
        "accuracy",
    )
    assert output_json["runs"][0]["by_kind"].keys() == output_json["score_drop_by_kind"].keys() == {"fog"}
    assert "all outputs are stored" in run_command(words, capsys)[2]
    code, _, errors = run_command("corrupt --kind fogg", capsys)
    assert code == 1
    assert "no corruption is called 'fogg'; did you mean 'fog'" in errors


def test_the_test_split_is_opened_on_request_and_logged(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_study = Study.open(recipe)
    assert open_study.openings() == []
    results_before = read_corruptions(open_study, "age")
    code, output, _ = run_command(f"corrupt -r {recipe} --target age --final --json", capsys)
    assert code == 0
    assert json.loads(output)["part"] == "test"
    assert [opening["target"] for opening in open_study.openings()] == ["age"]
    # Reports show results on val only.
    assert read_corruptions(open_study, "age") == results_before


def test_a_study_without_a_target_is_refused() -> None:
    with pytest.raises(DataError, match=r"the recipe has no target, .* add \[targets.NAME\]"):
        only_target([])
