"""A run as a function of pixels gives what the run predicts, for heads, networks and ensembles.

Modules: robustness.pixel_embedder.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import featx
from featx.errors import UnsuitedError
from featx.images.resizing import make_preprocessor
from featx.predictors.models import Model
from featx.robustness.attacked_model import AttackedModel
from featx.study.study import Study


def pixels_of(model: AttackedModel, paths: list[str], study: Study, run_model: Model) -> Tensor:
    """Return images as the networks of a run get them."""
    prepare = make_preprocessor(run_model.local_embeddings[0].spec.preprocessing)
    arrays = np.stack([prepare(Image.open(path).convert("RGB")) for path in paths])
    return torch.as_tensor(arrays / 255).permute(0, 3, 1, 2).float()


def test_every_run_predicts_from_pixels(study: Study) -> None:
    paths = [str(path) for path in sorted(Path("images").rglob("*.png"))][::3]
    n_checked, refusals = 0, []
    for run in study.runs("class"):
        run_model = featx.load(run.path)
        try:
            model = AttackedModel(run_model)
        except UnsuitedError as error:
            refusals.append(f"{run.name}: {error}")
            model = AttackedModel(run_model, needs_gradient=False)
        assert model.has_gradient == (not refusals or not refusals[-1].startswith(run.name))
        pixels = pixels_of(model, paths, study, run_model)
        expected = run_model.predict_images(paths)
        scores = model(pixels)
        np.testing.assert_allclose(scores.softmax(1).numpy(), expected.proba, rtol=0, atol=2e-5, err_msg=run.name)
        codes = [model.classes.index(name) for name in expected.labels]
        assert model.decide(scores).tolist() == codes
        n_checked += 1
        if not model.has_gradient:
            continue
        (gradient,) = torch.autograd.grad(model(pixels.requires_grad_())[:, 0].sum(), pixels)
        assert float(gradient.abs().max()) > 0
    assert n_checked >= 7
    assert all("has no gradient" in text for text in refusals)
    assert {text.partition("-")[0] for text in refusals} >= {"rf", "majority"}


def test_gradients_from_pixels_are_those_of_finite_differences(study: Study) -> None:
    run = next(run for run in study.runs("class") if run.name.startswith("svm"))
    model = AttackedModel(featx.load(run.path)).double()
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, 3, model.side_px, model.side_px, dtype=torch.float64, generator=generator).requires_grad_()
    direction = torch.randn(pixels.shape, dtype=torch.float64, generator=generator)
    (gradient,) = torch.autograd.grad(model(pixels)[:, 1].sum(), pixels)
    with torch.no_grad():
        upper, lower = (model(pixels + sign * 1e-6 * direction)[:, 1].sum() for sign in (1, -1))
    numeric = float((upper - lower) / 2e-6)
    assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=1e-3)
