"""A network without batch normalisation computes the same, and what cannot be folded stays as it is."""

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet18

from featx.networks.batch_norm_folding import fold_batch_norm
from featx.networks.features import FeatureNetwork, Tap
from featx.robustness.pixel_embedder import _make_faster
from featx.specs.embedding import Preprocessing


def n_norms(body: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in body.modules())


def with_statistics(body: nn.Module) -> nn.Module:
    """Return a network in eval mode whose batch normalisation has means, variances and weights of its own."""
    generator = torch.Generator().manual_seed(0)
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            for values in (module.running_mean, module.running_var, module.weight.data):
                assert values is not None
                values.copy_(torch.rand(values.shape, generator=generator) + 0.5)
    return body.eval()


def build_lite0() -> nn.Module:
    network: nn.Module = timm.create_model("tf_efficientnet_lite0")
    return network


@pytest.mark.parametrize("build", [resnet18, mobilenet_v2, build_lite0])
def test_outputs_and_gradients_are_equal(build: Callable[[], nn.Module]) -> None:
    body = with_statistics(build())
    folded = fold_batch_norm(body, 32)
    assert n_norms(folded) == 0 < n_norms(body)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)).requires_grad_()
    outputs = [network(x) for network in (body, folded)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-4 * float(outputs[0].detach().abs().max()))
    gradients = [torch.autograd.grad(output.sum(), x)[0] for output in outputs]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-4 * float(gradients[0].abs().max()))


class Shared(nn.Module):
    """A convolution whose output is used beside the normalisation too, if `has_skip`."""

    def __init__(self, has_skip: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.has_skip = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), has_skip

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.conv(x)
        normalised: Tensor = self.norm(output)
        return normalised + output if self.has_skip else normalised


@pytest.mark.parametrize("has_skip", [True, False])
def test_a_network_that_would_change_is_not_replaced(has_skip: bool) -> None:
    body = with_statistics(Shared(has_skip))
    preprocessing = Preprocessing(size_px=8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    network = FeatureNetwork(body, preprocessing, [Tap("norm", "avg")]).eval()
    faster = _make_faster(network)
    # The layer that is read is the same in both; the output behind it is not read.
    assert n_norms(faster.body) == 0
    merged = FeatureNetwork(nn.Sequential(body), preprocessing, [Tap("0", "avg")]).eval()
    assert n_norms(_make_faster(merged).body) == (1 if has_skip else 0)


def test_convolutions_that_are_read_or_run_twice_keep_their_normalisation() -> None:
    body = with_statistics(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    assert n_norms(fold_batch_norm(body, 8, kept_layers={"0"})) == 1
    twice = with_statistics(nn.Sequential(body, body))
    assert n_norms(fold_batch_norm(twice, 8)) == 1
    assert (
        n_norms(
            fold_batch_norm(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)).eval(), 8)
        )
        == 1
    )
