"""A network that was trained with class weights predicts the probabilities of the data."""

import numpy as np
import pytest
import torch

from featx.finetuning.checkpoints import NetworkOutputs
from featx.finetuning.losses import build_loss, weighted_mean
from featx.specs.finetuning import LayersSpec, LossSpec
from featx.specs.trained_network import NetworkSpec
from featx.tables.decision_rule import rule_from_weights
from featx.tables.sample_weights import class_weights
from featx.tables.truth import Truth


@pytest.mark.parametrize(
    ("name", "counts"), [("cross_entropy", (80, 15, 5)), ("ordinal", (80, 15, 5)), ("bce", (92, 8))]
)
def test_constant_outputs_give_the_shares_of_the_classes(name: str, counts: tuple[int, ...]) -> None:
    k, n = len(counts), sum(counts)
    codes = np.repeat(np.arange(k), counts)
    truth = Truth(np.arange(n).astype(str).astype(object), codes, tuple("abc"[:k]))
    weights_by_class = class_weights("finetune", "balanced", truth, np.ones(n))
    assert weights_by_class is not None
    weights = torch.from_numpy(weights_by_class[codes])
    loss = build_loss(LossSpec(name=name))
    outputs = torch.zeros(1, loss.count_outputs(k), dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([outputs], max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def step() -> torch.Tensor:
        solver.zero_grad()
        mean = weighted_mean(loss.row_losses(outputs.expand(n, -1), torch.from_numpy(codes)), weights)
        mean.backward()  # type: ignore[no-untyped-call]
        return mean

    solver.step(step)  # type: ignore[arg-type]
    spec = NetworkSpec.model_construct(
        layers=LayersSpec(), loss=LossSpec(name=name), class_weights=tuple(weights_by_class.tolist())
    )
    proba = NetworkOutputs(spec)(outputs.detach()).numpy()
    np.testing.assert_allclose(proba, np.array(counts)[None] / n, atol=1e-3)
    rule = rule_from_weights(weights_by_class)
    assert rule is not None
    np.testing.assert_allclose(proba * rule.weights / (proba * rule.weights).sum(), 1 / k, atol=5e-3)
