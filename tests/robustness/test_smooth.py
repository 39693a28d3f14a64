"""Randomized smoothing: certificates equal the closed form, hold against attacks, and belong to runs like any others.

Modules: artifacts.certificates, cli.smoothing_command, evaluation.certified_runs, metrics.certified_accuracy,
robustness.noise_votes, reports.study_report.certificate_section, robustness.smoothed_model, robustness.smoothing_job,
specs.smoothing, study.smoothed_metrics.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

import featx
from featx.artifacts.certificates import CERTIFICATES, read_certificates
from featx.artifacts.header import read_header
from featx.cli.run_table import evaluations
from featx.cli.stage_lines import StagePrinter
from featx.errors import ArtifactError, DataError, FeatxError, UnsuitedError
from featx.evaluation.evaluation_table import Evaluation
from featx.metrics.certified_accuracy import certified_radius
from featx.predictors.models import Model
from featx.reports.page.components import Figure, Table
from featx.reports.study_report.certificate_section import build_certificates
from featx.reports.study_report.facts import TargetFacts
from featx.robustness.attack_job import prepare_attacks
from featx.robustness.corruption_job import prepare_corruptions
from featx.robustness.noise_votes import NoiseVotes, noise_source
from featx.robustness.smooth import SmoothingResult
from featx.robustness.smoothing_job import make_votes, prepare_smoothing
from featx.specs.attacking import AttackSection
from featx.specs.finetuning import FinetuneSpec
from featx.specs.smoothing import SmoothingSpec
from featx.study.study import Study
from tests.conftest import make_images
from tests.printed import run_command
from tests.recipes import toy_heads, toy_recipe

CPU = torch.device("cpu")
SPEC = SmoothingSpec(run="logreg/toy", sigma=0.1, n0=20, n=60, images=8)
RECIPE = toy_recipe(
    embedding=[{"backbone": "toy", "weights": "none"}, {"backbone": "deep", "weights": "none", "size_px": 20}],
    head=[{**toy_heads("logreg")[0], "embeddings": ["toy", "deep"]}],
    ensemble=[{"methods": ["soft"]}],
    smoothing=[SPEC.model_dump(exclude_none=True)],
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    folder = tmp_path_factory.mktemp("smoothed")
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("FEATX_RECIPE", "FEATX_CACHE", "FEATX_RUNS"):
            patch.delenv(variable, raising=False)
        patch.chdir(folder)
        make_images(folder / "images", n_each=20)
        (folder / "featx.toml").write_text(RECIPE)
        featx.extract()
        featx.fit()
        featx.ensemble()
        yield Study.open(None)


@pytest.fixture(scope="module")
def smoothed(study: Study) -> SmoothingResult:
    (result,) = featx.smooth()
    return result


@pytest.fixture(scope="module")
def evaluation(study: Study, smoothed: SmoothingResult) -> Evaluation:
    return featx.evaluate()[0]


class LinearModel(nn.Module):
    """A linear classifier of pixels with two classes."""

    classes = ("below", "above")

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0))

    def forward(self, pixels: Tensor) -> Tensor:
        distance = (pixels * self.weights).sum((1, 2, 3)) / self.weights.norm()
        return torch.stack([-distance, distance], dim=1)

    def decide(self, scores: Tensor) -> Tensor:
        return scores.argmax(1)


@pytest.mark.parametrize("distance", [0.05, 0.2, 0.4])
def test_the_radius_of_a_linear_model_is_its_distance_from_the_boundary(distance: float) -> None:
    model, sigma, n = LinearModel(), 0.25, 40_000
    pixels = distance * model.weights / model.weights.norm()
    counts = NoiseVotes(model, sigma, CPU).count(pixels, n, np.random.default_rng(0))  # type: ignore[arg-type]
    radius = certified_radius(int(counts[1]), n, sigma, alpha=0.001)
    assert radius is not None
    # Any attack needs a perturbation as long as the distance; the certificate is below it by the error of n copies.
    share = 0.5 * (1 + math.erf(distance / sigma / math.sqrt(2)))
    slope = math.exp(-((distance / sigma) ** 2) / 2) / math.sqrt(2 * math.pi)
    error = sigma * math.sqrt(share * (1 - share) / n) / slope
    assert distance - 7 * error < radius <= distance


def test_predictions_without_a_clear_majority_are_not_certified() -> None:
    assert certified_radius(530, 1000, 0.25, 0.001) is None
    assert certified_radius(600, 1000, 0.25, 0.001) == pytest.approx(0.0325, abs=0.002)
    # More copies, or a larger probability of a mistake, certify more.
    assert certified_radius(6000, 10000, 0.25, 0.001) > certified_radius(600, 1000, 0.25, 0.1) > 0.0325


def test_noise_does_not_depend_on_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    votes, pixels = NoiseVotes(LinearModel(), 0.5, CPU), torch.full((3, 2, 2), 0.02)  # type: ignore[arg-type]
    expected = votes.count(pixels, 100, noise_source("a", 0))
    monkeypatch.setattr("featx.robustness.noise_votes.MAX_COPIES", 7)
    assert (votes.count(pixels, 100, noise_source("a", 0)) == expected).all()
    assert expected.sum() == 100
    assert (votes.count(pixels, 100, noise_source("b", 0)) != expected).any()
    assert (votes.count(pixels, 100, noise_source("a", 1)) != expected).any()


def test_copies_that_do_not_fit_into_memory_are_halved() -> None:
    class SmallMemory(LinearModel):
        def forward(self, pixels: Tensor) -> Tensor:
            if len(pixels) > 5:
                raise torch.cuda.OutOfMemoryError("out of memory")
            return super().forward(pixels)

    pixels = torch.full((3, 2, 2), 0.02)
    counts = [
        NoiseVotes(model, 0.5, CPU).count(pixels, 40, noise_source("a", 0))  # type: ignore[arg-type]
        for model in (LinearModel(), SmallMemory())
    ]
    assert (counts[0] == counts[1]).all()


def test_a_smoothed_run_is_compared_and_loaded_like_any_other(
    study: Study, smoothed: SmoothingResult, evaluation: Evaluation
) -> None:
    row = next(row for row in evaluation.rows if row.run == smoothed.run)
    assert row.scores["accuracy"] == smoothed.val_score
    assert row.images_per_s is not None
    assert (
        0
        < row.images_per_s
        < min(other_row.images_per_s or 1e9 for other_row in evaluation.rows if other_row is not row) * 2
    )
    table = study.runs("class", [smoothed.run])[0].predictions
    assert set(table.part) == {"val", "test"}
    prediction = featx.load(smoothed.path).predict_images([f"images/{name}" for name in table.ids[:6]])
    with pytest.warns(UserWarning, match="^1 of 2 images cannot be read and have no prediction, first 'gone.png': "):
        mixed_prediction = featx.load(smoothed.path).predict_images(["gone.png", f"images/{table.ids[0]}"])
    assert mixed_prediction.images == [f"images/{table.ids[0]}"]
    np.testing.assert_array_equal(prediction.proba, table.ordered(prediction.classes).proba[:6])
    (certified,) = evaluation.certificates
    assert (certified.run, certified.n_images, certified.side_px) == (smoothed.run, 8, 16)
    accuracies = [point.accuracy for point in certified.curve]
    assert accuracies == sorted(accuracies, reverse=True)
    assert all(point.low <= point.accuracy <= point.high for point in certified.curve)
    assert accuracies[0] > 0.5
    assert Evaluation.from_dict(asdict(evaluation)) == evaluation
    assert not featx.smooth()[0].is_new


def test_a_smoothed_network_predicts_images(study: Study) -> None:
    spec = FinetuneSpec(backbone="toy", weights="none", strategy="head", epochs=1)
    (network,) = featx.finetune(specs=[spec])
    (smoothed_network,) = featx.smooth(specs=[SmoothingSpec(run=network.run, sigma=0.1, n0=20, n=60, images=4)])
    prediction = featx.load(smoothed_network.path).predict_images("images/dark/000.png")
    assert prediction.proba.sum() == pytest.approx(1)


def test_the_report_shows_the_certified_accuracy(study: Study, evaluation: Evaluation) -> None:
    section = build_certificates(TargetFacts.collect(study, evaluation))
    assert section is not None
    _, figure, table = section.components
    assert isinstance(figure, Figure)
    assert isinstance(table, Table)
    assert "at radius 0: smoothed-logreg" in figure.description
    (certified,) = evaluation.certificates
    assert [row[4] for row in table.rows] == [point.accuracy for point in certified.table]
    assert {row[2] for row in table.rows} == {"pixels at 16 px"}
    bare_evaluation = replace(evaluation, certificates=[])
    assert build_certificates(TargetFacts.collect(study, bare_evaluation)) is None


def test_an_interrupted_call_continues_and_ends_like_an_uninterrupted_one(
    study: Study, smoothed: SmoothingResult
) -> None:
    expected = read_certificates(Path(smoothed.path), read_header(smoothed.path)[1])
    calls = []

    def interrupt(stage: str, n_done: int, total: int, note: str = "") -> None:
        calls.append((n_done, note))
        if stage.startswith("smooth") and n_done == 18:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        featx.smooth(force=True, progress=interrupt)
    assert "noisy images for 1 run, about" in calls[0][1]
    spec = prepare_smoothing(study, SPEC).state_folder
    assert len(list(spec.glob("votes-*.parquet"))) == 1
    Path(smoothed.path).rename("elsewhere")
    n_done: list[int] = []
    (resumed_run,) = featx.smooth(
        progress=lambda stage, n, *_: n_done.append(n) if stage.startswith("smooth") else None
    )
    assert min(n_done) == 17
    assert read_certificates(Path(resumed_run.path), read_header(resumed_run.path)[1]).equals(expected)
    assert not spec.exists()


def attack_expected_prediction(votes: NoiseVotes, pixels: Tensor, code: int, radius: float) -> Tensor:
    """Return pixels within an L2 radius that PGD on the mean loss over draws of the noise makes."""
    generator, delta = torch.Generator().manual_seed(0), torch.zeros_like(pixels)
    target = torch.tensor([code])
    for _ in range(8):
        delta.requires_grad_()
        noise = votes.sigma * torch.randn((16, *pixels.shape), generator=generator)
        scores = votes.model(pixels + delta + noise)
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(scores, target.expand(16)), delta)
        delta = delta.detach() + radius / 2 * gradient / gradient.norm().clamp(min=1e-12)
        delta = delta * min(1.0, radius / float(delta.norm()))
    return pixels + delta


def n_broken(votes: NoiseVotes, images: Sequence[tuple[Tensor, int, float]], n: int) -> int:
    """Return how many certified predictions an attack within the radius changes for sure."""
    n_broken_predictions = 0
    for number, (pixels, code, radius) in enumerate(images):
        perturbed_pixels = attack_expected_prediction(votes, pixels, code, radius)
        counts = votes.count(perturbed_pixels, n, np.random.default_rng(number))
        # On the border of the radius, half of the copies may be predicted otherwise; three standard errors are more.
        n_broken_predictions += counts[code] < n / 2 - 3 * math.sqrt(n) / 2
    return n_broken_predictions


def test_no_attack_within_the_radius_changes_a_prediction(study: Study, smoothed: SmoothingResult) -> None:
    job = prepare_smoothing(study, SPEC)
    certificates = read_certificates(Path(smoothed.path), read_header(smoothed.path)[1]).dropna()
    classes = list(job.model.classes)
    images = [
        (job.pixels(row.id), classes.index(row.prediction), row.radius) for row in certificates.itertuples(index=False)
    ]
    assert len(images) >= 4
    assert n_broken(job.votes, images, 200) == 0
    # The attack is no weak one: with a perturbation as long as the difference between the classes, it changes many.
    assert n_broken(job.votes, [(pixels, code, 15.0) for pixels, code, _ in images], 200) >= 2


def test_a_vote_over_several_input_sizes_is_certified_as_a_picture_alone(study: Study) -> None:
    spec = SPEC.model_copy(update={"run": "soft", "n0": 4, "n": 8, "images": 2})
    with pytest.raises(
        UnsuitedError, match=r"resize images in 2 ways \(to 16, 20 px\).*set noise_at = 'picture'"
    ) as error_info:
        featx.smooth(specs=[spec])
    assert "\n" not in str(error_info.value)
    (result,) = featx.smooth(specs=[spec.model_copy(update={"noise_at": "picture"})])
    assert result.side_px is None
    assert result.abstained == 1


def test_smoothed_runs_are_no_members_exports_or_targets(study: Study, smoothed: SmoothingResult) -> None:
    name = smoothed.run
    with pytest.raises(DataError, match="is a smoothed run, which is no member"):
        featx.ensemble(members=[name, "logreg"])
    with pytest.raises(DataError, match="is a smoothed run.* export the run it smooths"):
        featx.export(name)
    prediction = featx.predict(["images/dark/000.png"], runs=[name])[name]
    expected = featx.load(smoothed.path).predict_images("images/dark/000.png")
    assert (prediction.proba == expected.proba).all()
    assert name not in featx.predict("images/dark/000.png")
    with pytest.raises(UnsuitedError, match="the predictions of smoothed runs are randomised"):
        prepare_attacks(sections=[AttackSection(runs=(name,))])
    with pytest.raises(DataError, match="smoothed runs add noise to images themselves"):
        prepare_corruptions(runs=[name])
    with pytest.raises(DataError, match="is a smoothed run; name the run that it smooths"):
        featx.smooth(specs=[SPEC.model_copy(update={"run": name})])
    with pytest.raises(DataError, match="'logreg' matches 2 runs"):
        featx.smooth(specs=[SPEC.model_copy(update={"run": "logreg"})])
    with pytest.raises(ArtifactError, match="takes images, not embeddings"):
        featx.load(smoothed.path).predict(np.zeros((1, 3)))


def test_noise_in_levels_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"found 64 for pixels in \[0, 1\]; .* write 0.251 \(64/255\)"):
        SmoothingSpec(run="a", sigma=64)


def test_smoothing_is_announced_and_printed(
    study: Study,
    smoothed: SmoothingResult,
    evaluation: Evaluation,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, output, _ = run_command("smooth", capsys)
    assert code == 0
    assert "already done" in output
    assert all(len(line) <= 80 for line in output.splitlines())
    assert json.loads(run_command("smooth --json", capsys)[1])["runs"][0]["run"] == smoothed.run
    assert run_command("smooth logreg --sigma 64", capsys)[0] == 1
    capsys.readouterr()
    StagePrinter().add("smooth", [smoothed])
    assert capsys.readouterr().out.startswith("smooth   val acc smoothed-logreg 0.")
    evaluations([evaluation])
    text = " ".join(capsys.readouterr().out.split())
    assert f"certified: {smoothed.label}, " in text
    assert "within L2 radius 0.05 of pixels at 16 px; " in text


def test_certificates_that_were_changed_or_whose_run_changed_are_refused(
    study: Study, smoothed: SmoothingResult
) -> None:
    model: Model = featx.load(smoothed.path)
    assert make_votes(model.base, SPEC, CPU).sigma == 0.1  # type: ignore[attr-defined]
    file = Path(smoothed.path) / CERTIFICATES
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(FeatxError, match="certificates.parquet"):
        featx.evaluate()
    file.write_bytes(content)
    (base,) = study.runs("class", ["logreg/toy"])
    base.path.rename("kept")
    assert "smooths a run that has changed since" in Study.open(None).reasons_left_out()[smoothed.run]
    Path("kept").rename(base.path)
