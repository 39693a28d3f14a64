"""Networks from pixels in [0, 1] to embeddings with gradients, shared by all runs that use them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from featx.artifacts.artifact import OUTPUT_TAP
from featx.embeddings.groups import NetworkGroup, network_groups
from featx.networks.batch_norm_folding import fold_batch_norm
from featx.networks.features import FeatureNetwork, Tap
from featx.predictors.models import Model
from featx.robustness.differentiable_resizing import resize_pixels
from featx.specs.embedding import ResolvedEmbedding

# Layer of a fine-tuned network whose outputs are not yet probabilities.
RAW_OUTPUTS = "new_layers"
# Largest difference of features that comes from the order of sums, relative to the features.
ROUNDING = 1e-4
# Fingerprint of an embedding in fp32 → (b, d) features.
Features = Mapping[str, Tensor]


class PixelEmbedder(nn.Module):
    """One network with all embeddings that are read from it; its weights are fixed.

    Of a fine-tuned network, the raw outputs are returned beside its predictions (`raw_name`).

    Parameters
    ----------
    group
        The network and its embeddings.
    resizes
        Whether it gets whole pictures, which it resizes and crops itself.

    Attributes
    ----------
    names
        Fingerprints of the embeddings in fp32.
    side_px
        Side of the square images that the network takes.
    """

    def __init__(self, group: NetworkGroup, resizes: bool = False) -> None:
        super().__init__()
        self.resizes = resizes
        network = group.resolved.network
        self.names = [spec.fingerprint() for spec in group.resolved.specs]
        self.side_px = network.preprocessing.canvas_px
        pairs = list(zip(self.names, network.taps, strict=True))
        raw = [(raw_name(name), Tap(RAW_OUTPUTS, tap.pool)) for name, tap in pairs if tap.layer == OUTPUT_TAP]
        self._outputs, taps = zip(*pairs, *raw, strict=True)
        with network.lock:
            self.network = _make_faster(FeatureNetwork(network.body, network.preprocessing, taps, network.lock).eval())
        self.eval().requires_grad_(False)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return the features of (b, 3, side_px, side_px) pixels in [0, 1], or of whole pictures, by name."""
        if self.resizes:
            pixels = resize_pixels(pixels, self.network.preprocessing)
        with self.network.lock:
            outputs = self.network((255 * pixels).permute(0, 2, 3, 1))
        return dict(zip(self._outputs, outputs, strict=True))


@torch.no_grad()
def _make_faster(network: FeatureNetwork) -> FeatureNetwork:
    """Return a network without batch normalisation if its features are those of the given one up to rounding.

    The caller holds the network's lock.
    """
    layers = {tap.layer for tap in network.taps}
    body = fold_batch_norm(network.body, network.preprocessing.size_px, layers)
    folded_network = (
        FeatureNetwork(body, network.preprocessing, network.taps).eval().to(memory_format=torch.channels_last)
    )
    side_px = network.preprocessing.canvas_px
    pixels = 255 * torch.rand(2, side_px, side_px, 3, generator=torch.Generator().manual_seed(0))
    pairs = list(zip(network(pixels), folded_network(pixels), strict=True))
    is_equal = all(torch.allclose(x, y, rtol=ROUNDING, atol=ROUNDING * float(x.abs().max())) for x, y in pairs)
    return folded_network if is_equal else network


def raw_name(fingerprint: str) -> str:
    """Return the name of a fine-tuned network's outputs before they become probabilities."""
    return f"{fingerprint} raw"


def fp32_fingerprint(embedding: ResolvedEmbedding) -> str:
    """Return the fingerprint of an embedding in fp32, in which attacks compute it."""
    return embedding.spec.model_copy(update={"precision": "fp32"}).fingerprint()


def make_embedders(models: Sequence[Model], resizes: bool = False) -> list[PixelEmbedder]:
    """Return the networks of loaded runs, each once; `resizes` as in `PixelEmbedder`."""
    embeddings = dict.fromkeys(embedding for model in models for embedding in model.local_embeddings)
    networks = {key: network for model in models for key, network in model.networks.items()}
    requests = list(dict.fromkeys(embedding.request for embedding in embeddings))
    return [PixelEmbedder(group, resizes) for group in network_groups(requests, networks)]
