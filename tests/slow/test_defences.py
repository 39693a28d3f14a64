"""Defences on Fashion-MNIST: adversarial training keeps accuracy under attack, and no attack breaks a certificate."""

import shutil
from pathlib import Path

import pytest
from scipy.stats import binom

import featx
from featx.artifacts.certificates import read_certificates
from featx.artifacts.header import read_header
from featx.robustness.smoothing_job import prepare_smoothing
from featx.specs.attacking import AttackSection
from featx.specs.smoothing import SmoothingSpec
from featx.study.study import Study
from tests.recipes import toy_recipe
from tests.robustness.test_smooth import n_broken

PIPELINES = Path(__file__).parents[2] / "pipelines"
LAYERS = {"pool": "flatten", "hidden": [256], "dropout": 0.0}
NETWORK = {
    "backbone": "small_cnn",
    "strategy": "scratch",
    "lr": 2e-3,
    "patience": 0,
    "batch_size": 64,
    "layers": LAYERS,
}
# Limits of the attacks in levels of 255; the undefended network has fallen at the last one.
LEVELS = (2, 8, 16, 24)
ADVERSARIAL = {"attack": "pgd", "eps": 0.0314, "share": 1.0, "steps": 4}
RECIPE = toy_recipe(
    data={
        "source": "/usr/share/datasets/fashion-mnist",
        "reader": "arrays",
        "sample": 3000,
        "arrays": [{"images": "train-images-idx3-ubyte.gz", "labels": {"label": "train-labels-idx1-ubyte.gz"}}],
    },
    targets={"garment": {"column": "label"}},
    split={"test": 0.1, "val": 0.2},
    embedding=None,
    head=None,
    finetune=[{**NETWORK, "epochs": 12}, {**NETWORK, "epochs": 12, "adversarial": ADVERSARIAL}],
)
SMOOTHING = SmoothingSpec(run="small_cnn", sigma=0.12, n0=50, n=500, images=200)


@pytest.mark.slow
def test_adversarial_training_keeps_accuracy_under_attack(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "featx.toml").write_text(RECIPE)
    featx.extract()
    plain_run, defended_run = sorted(featx.finetune(), key=lambda run: "adversarial.attack" in run.settings)
    eps = tuple(levels / 255 for levels in LEVELS)
    section = AttackSection(methods=("pgd",), eps=eps, steps=10, images=150)
    (attacks,) = featx.attack(sections=[section])
    robust = [{run: row.accuracy for run, row in attacks.results_under("pgd", "linf", limit).items()} for limit in eps]
    with capsys.disabled():
        print(f"clean: {plain_run.val_score:.3f} undefended, {defended_run.val_score:.3f} defended")
        for levels, by_run in zip(LEVELS, robust, strict=True):
            print(f"PGD {levels}/255: {by_run[plain_run.run]:.3f} undefended, {by_run[defended_run.run]:.3f} defended")
    assert robust[-1][plain_run.run] < 0.3
    assert robust[-1][defended_run.run] - robust[-1][plain_run.run] >= 0.3
    assert robust[1][defended_run.run] > robust[1][plain_run.run]
    assert plain_run.val_score - defended_run.val_score < 0.15


@pytest.mark.slow
def test_adversarial_training_of_the_last_blocks_keeps_accuracy(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Its settings were chosen on val; these are test images.
    shutil.copy(PIPELINES / "fashion_mnist_defence.toml", home / "featx.toml")
    featx.extract()
    scores = {run.run.partition("-")[0]: (run.run, run.val_score) for run in featx.finetune()}
    section = AttackSection(methods=("pgd",), eps=(2 / 255,), steps=10, images=150)
    (attacks,) = featx.attack(sections=[section], final=True, user="test")
    accuracy = {run: row.accuracy for run, row in attacks.results_under("pgd", "linf", 2 / 255).items()}
    with capsys.disabled():
        for name, (run, val_score) in scores.items():
            print(f"{name}: {val_score:.3f} on unperturbed val images, {accuracy[run]:.3f} on test images after PGD")
    (plain_run, plain_score), (defended_run, defended_score) = scores["undefended"], scores["defended"]
    assert accuracy[defended_run] - accuracy[plain_run] >= 0.3
    assert plain_score - defended_score < 0.05


@pytest.mark.slow
def test_attacks_within_the_certified_radius_succeed_at_most_at_alpha(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "featx.toml").write_text(RECIPE.replace("epochs = 12", "epochs = 4"))
    featx.extract()
    featx.finetune()
    plain_run = next(run for run in Study.open(None).runs() if not run.spec.settings.get("adversarial.attack"))
    spec = SMOOTHING.model_copy(update={"run": plain_run.name})
    (smoothed_run,) = featx.smooth(specs=[spec])
    job = prepare_smoothing(Study.open(None), spec)
    certificates = read_certificates(Path(smoothed_run.path), read_header(smoothed_run.path)[1]).dropna()
    classes = list(job.model.classes)
    images = [
        (job.pixels(row.id), classes.index(row.prediction), row.radius) for row in certificates.itertuples(index=False)
    ]
    n_broken_certificates = n_broken(job.votes, images, 300)
    with capsys.disabled():
        (evaluation,) = featx.evaluate()
        print(f"{n_broken_certificates} of {len(images)} certificates broken; {smoothed_run.abstained:.0%} abstained")
        print([f"{point.accuracy:.2f} at {point.radius:.2f}" for point in evaluation.certificates[0].table])
    assert len(images) > 100
    assert n_broken_certificates <= binom.ppf(0.999, len(images), spec.alpha)
