"""A fine-tuned network as an artifact, and as a backbone that other networks and heads can stand on."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featx.artifacts.artifact import ANSWERS, check_golden, checked_body
from featx.artifacts.header import BODIES, GoldenInputs, read_header, run_folder, write_header
from featx.errors import ArtifactError
from featx.finetuning.layers import ACTIVATIONS, NewLayers
from featx.finetuning.losses import loss_named
from featx.finetuning.network import FinetunedNetwork
from featx.networks.backbones import Backbone
from featx.networks.features import Built, build, normalised
from featx.networks.pretrained_weights import WeightsFile
from featx.specs.embedding import EmbeddingRequest
from featx.specs.finetuning import NetworkSpec
from featx.specs.recipe import CHECKPOINT

GOLDEN_IMAGES = 2
GOLDEN_TOLERANCE = 1e-3  # of a probability, or of the size of a number: between machines convolutions differ


class NetworkOutputs(nn.Module):
    """Raw outputs to probabilities (b, k), or to numbers (b, t) as people give them."""

    offset: Tensor
    factor: Tensor
    values: Tensor
    class_weights: Tensor

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self._loss = spec.loss
        self._activation = spec.layers.activation
        for name in ("offset", "factor", "values", "class_weights"):
            self.register_buffer(name, torch.tensor(getattr(spec, name), dtype=torch.float64), persistent=False)

    def forward(self, outputs: Tensor) -> Tensor:
        """Return the answers in float32."""
        loss = loss_named(self._loss)
        if not loss.of_classes:
            return (ACTIVATIONS[self._activation](outputs) * self.factor + self.offset).float()
        found = loss.answers(outputs)
        if len(self.class_weights):
            divided = found.double() / self.class_weights
            found = (divided / divided.sum(1, keepdim=True)).float()
        return (found.double() @ self.values[:, None]).float() if len(self.values) else found


class _Pooled(nn.Module):
    """The pooling of the new layers as a layer of its own."""

    def __init__(self, layers: NewLayers) -> None:
        super().__init__()
        self._layers = [layers]  # in a list, so that it is not this one's part

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, d)."""
        return self._layers[0].pooled(x)


class CheckpointBody(nn.Module):
    """A fine-tuned network without its normalisation: layers are called as in the backbone that it began as."""

    def __init__(self, network: FinetunedNetwork, spec: NetworkSpec) -> None:
        super().__init__()
        self.order = network.trunk.names
        self.last = network.trunk.last
        for name, unit in zip(self.order, network.trunk.units, strict=True):
            _put(self, name, unit)
        self.pooled = _Pooled(network.layers)
        self.new_layers = network.layers
        self.add_module(ANSWERS, NetworkOutputs(spec))

    def forward(self, x: Tensor) -> Tensor:
        """Return the answers for normalised pixels."""
        for name in self.order:
            x = self.get_submodule(name)(x)
        x = self.new_layers(self.pooled(x))
        found: Tensor = self.get_submodule(ANSWERS)(x)
        return found


def _put(root: nn.Module, name: str, unit: nn.Module) -> None:
    """Make a module a part of another under a dotted name."""
    *folders, last = name.split(".")
    for folder in folders:
        if not hasattr(root, folder):
            root.add_module(folder, nn.Module())
        root = root.get_submodule(folder)
    root.add_module(last, unit)


def checkpoint_backbone(path: str) -> Backbone:
    """Describe the network of a run as a backbone.

    Parameters
    ----------
    path
        The run's folder, or how its name begins.

    Raises
    ------
    ArtifactError
        there is no fine-tuned network.
    """
    folder, header = read_header(run_folder(path))
    if header.network is None:
        raise ArtifactError(
            f"{folder} holds a {header.kind}, expected a fine-tuned network (a run of 'featx finetune')"
        )
    spec = header.network
    remedy = "make the run again with 'featx finetune --force'"
    file = WeightsFile(folder / BODIES["network"], header.body_sha256, None, remedy)
    return Backbone(
        f"{CHECKPOINT}{path}",
        lambda: CheckpointBody(_built(spec), spec),
        file,
        spec.preprocessing,
        last=lambda body: str(body.last),
    )


def _built(spec: NetworkSpec) -> FinetunedNetwork:
    """Build a network; its values are still random."""
    return FinetunedNetwork(spec.request.model_copy(update={"weights": "none"}), spec.layers, spec.n_outputs)


def write_network(folder: Path, network: FinetunedNetwork, spec: NetworkSpec, header: dict[str, Any]) -> None:
    """Write ``model.safetensors`` and its header into `folder`."""
    from safetensors.torch import save_file

    body = CheckpointBody(network, spec)
    save_file({name: value.cpu().contiguous() for name, value in body.state_dict().items()}, folder / BODIES["network"])
    outputs = golden_answers(body, spec)
    golden = GoldenInputs(inputs="", outputs=tuple(tuple(map(float, row)) for row in outputs))
    write_header(folder, kind="network", golden=golden, network=spec, n_features=0, embeddings=(), **header)


@torch.inference_mode()
def golden_answers(body: nn.Module, spec: NetworkSpec) -> NDArray[np.float32]:
    """Return a network's answers for pictures that are the same everywhere."""
    side = spec.preprocessing.size_px
    ramp = np.linspace(0, 255, side)
    grey = np.stack([np.add.outer(ramp, ramp) / 2, np.abs(np.subtract.outer(ramp, ramp))][:GOLDEN_IMAGES])
    pixels = torch.from_numpy(grey[..., None].repeat(3, -1).astype(np.uint8))
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) * 255 for one in (spec.preprocessing.mean, spec.preprocessing.std))
    device = next(body.parameters()).device
    found: Tensor = body.eval()(normalised(pixels, mean, std).to(device))
    return found.cpu().numpy()


def checked_network(folder: Path, request: EmbeddingRequest) -> Built:
    """Build a run's network, and check that it is what its header says and answers as it did when it was made.

    Parameters
    ----------
    folder
        The run's.
    request
        Names it as a backbone.

    Returns
    -------
    Built
        The network with its weights, for whoever is to run it.

    Raises
    ------
    ArtifactError
        it is not, or does not.
    """
    folder, header = read_header(folder)
    checked_body(folder, header)
    assert header.network is not None  # as the header's validator says
    built = build(request)
    answers = golden_answers(built.body, header.network)
    check_golden(folder / header.body, header, answers, GOLDEN_TOLERANCE * max(1.0, float(np.abs(answers).max())))
    return built
