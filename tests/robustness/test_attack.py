"""Attacks on the runs of a study: results are stored, reused and ordered, and refused where they make no sense.

Modules: robustness.attack_job, robustness.attack_results, robustness.attacked_rows, robustness.sanity_checks.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from featx.errors import DataError, UnsuitedError
from featx.files.atomic import write_json
from featx.robustness.attack import run_attacks
from featx.robustness.attack_job import AttackJob, method_of, prepare_attacks
from featx.robustness.attack_results import AttackResults
from featx.robustness.attacks.attacked_images import AttackedImages
from featx.robustness.sanity_checks import failed_checks
from featx.specs.attacking import AttackSpec
from featx.study.study import Study

PGD = AttackSpec(method="pgd", eps=0.3, steps=10)
RUNS = ["logreg", "rf", "soft"]
SPECS = (AttackSpec(method="fgsm", eps=0.3), PGD, AttackSpec(method="square", eps=0.3, steps=20))


@pytest.fixture(scope="module")
def job(study: Study) -> AttackJob:
    return prepare_attacks(specs=SPECS, runs=RUNS, n_images=9)


@pytest.fixture(scope="module")
def results(job: AttackJob) -> list[AttackResults]:
    return run_attacks(job)


def test_every_run_has_a_robust_accuracy(job: AttackJob, results: list[AttackResults]) -> None:
    for attack in results:
        assert {row.run for row in attack.runs} == {run.name for run in job.runs}
        for row in attack.runs:
            assert 0 <= row.robust <= row.clean <= 1
            assert row.interval[0] <= row.robust <= row.interval[1]
        robust = [row.robust for row in attack.runs]
        assert robust == sorted(robust, reverse=True)


def test_runs_without_gradient_are_attacked_by_transfer(results: list[AttackResults]) -> None:
    pgd = results[1]
    forest = next(row for row in pgd.runs if row.run.startswith("rf"))
    logistic = next(row for row in pgd.runs if row.run.startswith("logreg"))
    assert logistic.sources == (logistic.run,)
    assert set(forest.sources) == set(pgd.perturbed)
    assert forest.run not in forest.sources
    # The worst of all transferred images counts.
    transfer = pgd.transfer()
    assert forest.robust <= transfer[forest.run].min()


def test_perturbations_keep_the_limit(results: list[AttackResults]) -> None:
    for attack in results:
        for row in attack.runs:
            largest = max(float(attack.perturbed[source].frame["linf"].max()) for source in row.sources)
            assert largest <= 0.3 + 1e-6
            # Nothing but a perturbation changes an answer.
            assert largest > 0.01 or row.robust == row.clean


def test_pgd_is_not_weaker_than_fgsm_for_any_run(results: list[AttackResults]) -> None:
    by_run = [{row.run: row.robust for row in attack.runs if row.run in row.sources} for attack in results[:2]]
    assert all(by_run[1][name] <= robust for name, robust in by_run[0].items())


def test_finished_attacks_are_not_repeated(job: AttackJob, results: list[AttackResults]) -> None:
    files = sorted(job.folder.glob("*.parquet"))
    assert len(files) == sum(len(attack.perturbed) for attack in results)
    assert job.expected_s == 0
    times = [file.stat().st_mtime_ns for file in files]
    again = run_attacks(prepare_attacks(specs=SPECS, runs=RUNS, n_images=9))
    assert [file.stat().st_mtime_ns for file in files] == times
    assert again[1].runs == results[1].runs
    files[0].unlink()
    assert prepare_attacks(specs=SPECS, runs=RUNS, n_images=9).expected_s > 0


def test_finished_checks_are_not_repeated(job: AttackJob, results: list[AttackResults]) -> None:
    files = sorted(job.folder.glob("checks-*.json"))
    assert len(files) == len(job.runs)
    texts = {file: file.read_text() for file in files}
    for file in files:
        write_json(file, ["this text was stored"])
    again = run_attacks(prepare_attacks(specs=SPECS, runs=RUNS, n_images=9))
    assert all(row.doubts == ("this text was stored",) for attack in again for row in attack.runs)
    for file, text in texts.items():
        file.write_text(text)


def test_other_settings_have_other_files(job: AttackJob) -> None:
    source = job.runs[0]
    # A renamed run, or one that was made again, has another key, and so have the results with its answers.
    changed = replace(job, runs=(*job.runs[:-1], replace(job.runs[-1], key="another")))
    assert job.file(PGD, source) != changed.file(PGD, source)
    assert job.file(PGD, source) != job.file(PGD.model_copy(update={"steps": 11}), source)
    assert job.file(PGD, source) != job.file(PGD, job.runs[1])


def test_the_keys_of_runs_depend_on_their_names_and_files(job: AttackJob) -> None:
    assert len({run.key for run in job.runs}) == len(job.runs)


def test_images_that_changed_are_refused(study: Study, job: AttackJob) -> None:
    path = Path("images") / str(job.rows.ids[0])
    shutil.copy(path, "kept.png")
    Image.new("RGB", (20, 18), "red").save(path)
    with pytest.raises(DataError, match="has changed since the extraction; run 'featx extract'"):
        prepare_attacks(specs=SPECS, runs=RUNS, n_images=9)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read any more"):
        prepare_attacks(specs=SPECS, runs=RUNS, n_images=9)
    shutil.copy("kept.png", path)


def test_nothing_is_opened_for_runs_that_cannot_be_attacked(study: Study) -> None:
    with pytest.raises(DataError, match="no finished run is called 'none'"):
        prepare_attacks(specs=SPECS, runs=["none"], final=True)
    assert study.openings() == []


def test_a_norm_that_a_method_cannot_limit_is_refused() -> None:
    with pytest.raises(UnsuitedError, match="attack 'cw' limits l2, found norm 'linf'"):
        method_of(AttackSpec(method="cw"))


def test_the_sample_keeps_the_shares_of_the_classes(study: Study, job: AttackJob) -> None:
    codes = study.labels("class").take(study.ids("val")).values
    assert job.rows.part == "val"
    assert job.rows.n_rows == len(codes) > 9
    expected = 9 * np.bincount(codes) / len(codes)
    assert np.abs(np.bincount(job.rows.codes) - expected).max() <= 1


def images_of(scores: object) -> AttackedImages:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(8, 3, 4, 4, dtype=torch.float64, generator=generator)
    return AttackedImages(scores, pixels, torch.zeros(8, dtype=torch.long), "linf", 0.05, generator)  # type: ignore[arg-type]


def test_masked_gradients_and_random_outputs_are_noticed() -> None:
    weights = torch.randn(48, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 20
    bias = torch.tensor([0.5, 0.0], dtype=torch.float64)

    def linear(pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1) @ weights + bias

    def rounded(pixels: torch.Tensor) -> torch.Tensor:
        return linear(pixels + (pixels.round() - pixels).detach() * 0 - pixels + pixels.detach())

    def noisy(pixels: torch.Tensor) -> torch.Tensor:
        return linear(pixels) + 0.1 * torch.randn(len(pixels), 2, dtype=torch.float64)

    assert failed_checks(images_of(linear), PGD, True) == ()
    masked = failed_checks(images_of(rounded), PGD, True)
    assert any("the gradient is zero for 100% of the images" in text for text in masked)
    assert any("its outputs are random" in text for text in failed_checks(images_of(noisy), PGD, True))
