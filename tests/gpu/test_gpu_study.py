"""A whole study on the device: heads, XGBoost's trees, ensembles, and gradients from the scores to the pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import featx
from featx.heads.solvers import gpu
from featx.images.resizing import make_preprocessor
from featx.robustness.attacked_model import AttackedModel
from featx.robustness.attacks.attacked_images import AttackedImages
from featx.robustness.attacks.gradient_steps import pgd
from featx.specs.attacking import AttackSpec
from featx.study.run_folder import RunFolder
from featx.study.study import Study
from tests.gpu.device import IS_CUDA, ON_DEVICE, TEST_DEVICE

pytestmark = ON_DEVICE


@pytest.fixture(scope="module")
def runs(study: Path) -> dict[str, RunFolder]:
    """The runs of all stages by the first part of their names."""
    featx.fit()
    featx.finetune()
    featx.ensemble(methods=["soft"])
    return {run.name.partition("-")[0]: run for run in Study.open(None).runs("class")}


def test_all_runs_predict_on_the_cpu_what_they_stored(study: Path, runs: dict[str, RunFolder]) -> None:
    assert {"logreg", "svm", "xgboost", "deep", "soft"} <= set(runs)
    for run in runs.values():
        model, stored_predictions = featx.load(run.path), run.predictions
        # Out-of-fold predictions are those of other models.
        is_predicted = stored_predictions.part != "oof"
        proba = model.predict_images(
            [f"images/{name}" for name in stored_predictions.ids[is_predicted]], device="cpu"
        ).proba
        expected = stored_predictions.ordered(model.classes).proba[is_predicted]
        np.testing.assert_allclose(proba, expected, atol=2e-3, err_msg=run.name)


def test_the_evaluation_covers_all_runs(runs: dict[str, RunFolder]) -> None:
    (evaluation,) = featx.evaluate()
    assert {row.run for row in evaluation.rows} == {run.name for run in runs.values()}


def test_trees_grow_on_the_device_that_xgboost_finds(runs: dict[str, RunFolder]) -> None:
    assert gpu.has_gpu() == torch.cuda.is_available()
    model = featx.load(runs["xgboost"].path).model
    devices = {step.get_params()["device"] for step in inner_estimators(model) if "device" in step.get_params()}
    assert devices == {"cuda" if gpu.has_gpu() else "cpu"}


def inner_estimators(model: object) -> list[object]:
    """Return the estimators of a fitted Pipeline, however deep they lie in it."""
    steps = [step for _, step in getattr(model, "steps", [])]
    inner = [value for name, value in vars(model).items() if hasattr(value, "get_params") and name != "steps"]
    return [model, *(leaf for part in (*steps, *inner) for leaf in inner_estimators(part))]


def picture_pixels(model: AttackedModel) -> torch.Tensor:
    """Return pixels of a few images of the study as the networks of a run get them."""
    prepare = make_preprocessor(model.preprocessing)
    arrays = [prepare(Image.open(path).convert("RGB")) for path in sorted(Path("images").rglob("*.png"))[::9]]
    return torch.as_tensor(np.stack(arrays) / 255).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("name", ["logreg", "svm", "deep"])
def test_gradients_equal_those_of_the_cpu(study: Path, runs: dict[str, RunFolder], name: str) -> None:
    gradients = []
    for device in ("cpu", TEST_DEVICE):
        model = AttackedModel(featx.load(runs[name].path)).to(device)
        pixels = picture_pixels(model).to(device).requires_grad_()
        (gradient,) = torch.autograd.grad(model(pixels)[:, 1].sum(), pixels)
        gradients.append(gradient.cpu())
    expected, device_gradient = gradients
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(device_gradient, expected, rtol=1e-2, atol=float(1e-3 * expected.abs().max()))


def test_an_attack_on_the_device_keeps_its_limit(study: Path, runs: dict[str, RunFolder]) -> None:
    model = AttackedModel(featx.load(runs["logreg"].path)).to(TEST_DEVICE)
    pixels = picture_pixels(model).to(TEST_DEVICE)
    codes = model.decide(model(pixels))
    images = AttackedImages(model, pixels, codes, "linf", 0.1, torch.Generator().manual_seed(0))
    perturbed_pixels = pgd(images, AttackSpec(method="pgd", eps=0.1, steps=10))
    assert perturbed_pixels.device.type == ("cuda" if IS_CUDA else "cpu")
    assert float((perturbed_pixels - pixels).abs().max()) <= 0.1 + 1e-6
    score_before, score_after = (model(x).gather(1, codes[:, None]).sum() for x in (pixels, perturbed_pixels))
    assert float(score_after) < float(score_before)
