"""Heads as torch modules predict as in scikit-learn, and their gradients are those of finite differences.

Modules: robustness.differentiable_heads, robustness.support_vectors.
"""

import numpy as np
import pytest
import torch
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor, nn

from featx.artifacts.outputs import predict_outputs
from featx.errors import UnsuitedError
from featx.heads.fitting import fit_out_of_fold
from featx.heads.folds import TrainRows
from featx.heads.head_definition import Head, HeadTask
from featx.registry import HEADS
from featx.robustness.differentiable_heads import make_differentiable
from featx.specs.head import Calibration, HeadSpec
from featx.tables.ids import Kind
from tests.exports.test_onnx_heads import CALIBRATIONS, N_TRAIN, NEW, TARGETS, X, fit

WITHOUT_GRADIENT = {"rf", "xgboost", "knn"}
NAMES = sorted(set(HEADS.names()) - WITHOUT_GRADIENT)
CASES = [(name, target, "usual") for name in NAMES for target in TARGETS]
CASES += [(name, target, method) for name in ("logreg", "svm") for target in TARGETS for method in CALIBRATIONS]


def outputs(scores: Tensor, kind: Kind) -> Tensor:
    """Return what the head predicts from the scores of its module."""
    return scores.softmax(dim=1) if kind == "classes" else scores.sigmoid() if kind == "labels" else scores


@pytest.mark.parametrize(("name", "target", "method"), CASES)
def test_a_module_predicts_as_the_head(name: str, target: str, method: str) -> None:
    kind, model = fit(name, target, method)
    module = make_differentiable(model, kind)
    module_outputs = outputs(module(torch.as_tensor(NEW).double()), kind).numpy()
    np.testing.assert_allclose(module_outputs, predict_outputs(model, NEW.astype(np.float64), kind), rtol=0, atol=1e-6)


@pytest.mark.parametrize("scaling", ["none", "standard", "l2", "standard_l2", "pca", "pca_l2"])
def test_every_scaling_is_part_of_the_module(scaling: str) -> None:
    kind, model = fit("logreg", "four", "none", {"scaling": scaling, "components": 16})
    module_outputs = outputs(make_differentiable(model, kind)(torch.as_tensor(NEW).double()), kind)
    np.testing.assert_allclose(
        module_outputs.numpy(), predict_outputs(model, NEW.astype(np.float64), kind), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_kernel_machines_have_the_numbers_of_scikit_learn(kernel: str) -> None:
    _, model = fit("svm", "number", "none", {"kernel": kernel})
    x = NEW.astype(np.float64)
    numbers = make_differentiable(model, "numbers")(torch.as_tensor(x)).numpy()
    np.testing.assert_allclose(numbers[:, 0], model.predict(x), rtol=0, atol=1e-8)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_machines_of_pairs_have_the_probabilities_of_scikit_learn(kernel: str) -> None:
    _, model = fit("svm", "four", "temperature", {"kernel": kernel})
    x = NEW.astype(np.float64)
    module_outputs = outputs(make_differentiable(model, "classes")(torch.as_tensor(x)), "classes").numpy()
    np.testing.assert_allclose(module_outputs, model.predict_proba(x), rtol=0, atol=1e-8)  # type: ignore[attr-defined]


def test_votes_of_pairs_are_refused() -> None:
    votes = Pipeline([("scale", StandardScaler()), ("clf", SVC())]).fit(X[:N_TRAIN], TARGETS["four"].y[:N_TRAIN])
    with pytest.raises(UnsuitedError, match="its votes of pairs of classes have no gradient; run 'featx fit --force'"):
        make_differentiable(votes, "classes")


@pytest.mark.parametrize("name", ["logreg", "svm", "mlp"])
@pytest.mark.parametrize("method", ["auto", "temperature"])
def test_class_weights_are_divided_out(name: str, method: Calibration) -> None:
    targets = TARGETS["four"].take(np.arange(N_TRAIN))
    rows = TrainRows(X[:N_TRAIN], targets, class_weights=np.linspace(0.5, 2, targets.n_outputs))
    head: Head = HEADS.get(name)(HeadTask(*rows.x.shape, targets.n_outputs, 0))
    if method == "temperature" and (head.needs_calibration or not head.accepts_weights):
        pytest.skip("a temperature cannot remove class weights from decision values")
    params = dict(head.start) | ({head.path.name: head.path.values[1]} if head.path and head.path.name else {})
    model, _ = fit_out_of_fold(head, params, rows, HeadSpec(name=name, folds=2, calibration=method))
    module_outputs = outputs(make_differentiable(model, "classes")(torch.as_tensor(NEW).double()), "classes")
    np.testing.assert_allclose(
        module_outputs.numpy(), predict_outputs(model, NEW.astype(np.float64), "classes"), rtol=0, atol=1e-6
    )


def relative_gradient_error(module: nn.Module, x: Tensor, step: float = 1e-6) -> float:
    """Return the error of the gradient along random directions, relative to the largest derivative along one."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(8, x.shape[1], dtype=torch.float64, generator=generator)
    x = x.requires_grad_()
    weights = torch.linspace(1, 2, module(x).shape[1], dtype=torch.float64)
    (gradient,) = torch.autograd.grad((module(x) * weights).sum(), x)
    errors, sizes = [], []
    for direction in directions:
        with torch.no_grad():
            upper, lower = ((module(x + sign * step * direction) * weights).sum(1) for sign in (1, -1))
        numeric = (upper - lower) / (2 * step)
        errors.append((gradient @ direction - numeric).abs().max())
        sizes.append(numeric.abs().max())
    return float(max(errors) / max(sizes))


@pytest.mark.parametrize(("name", "target", "method"), [case for case in CASES if case[2] != "isotonic"])
def test_gradients_are_those_of_finite_differences(name: str, target: str, method: str) -> None:
    kind, model = fit(name, target, method)
    x = torch.as_tensor(NEW[:20]).double() + 0.01
    assert relative_gradient_error(make_differentiable(model, kind), x) < 1e-6


@pytest.mark.parametrize("name", sorted(WITHOUT_GRADIENT))
def test_heads_without_gradients_are_refused(name: str) -> None:
    kind, model = fit(name, "two", "usual")
    with pytest.raises(UnsuitedError, match="has no gradient; white-box attacks need"):
        make_differentiable(model, kind)
