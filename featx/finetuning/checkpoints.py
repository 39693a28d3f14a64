"""Fine-tuned networks as artifacts, and as backbones that other networks and heads can use."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featx.artifacts.artifact import OUTPUT_TAP, check_golden, verify_body
from featx.artifacts.header import BODY_FILES, GoldenInputs, find_network, find_run_folder, read_header, write_header
from featx.errors import ArtifactError
from featx.finetuning.layers import ACTIVATIONS, NewLayers
from featx.finetuning.losses import build_loss
from featx.finetuning.network import FinetunedNetwork
from featx.networks.backbones import Backbone
from featx.networks.features import BuiltBackbone, build_backbone, normalise_pixels
from featx.networks.pretrained_weights import WeightsFile
from featx.specs.embedding import CHECKPOINT_PREFIX, EmbeddingRequest
from featx.specs.trained_network import NetworkSpec

N_GOLDEN_IMAGES = 2
# Tolerance of a probability, or relative to the size of a number: results of convolutions differ between machines.
GOLDEN_TOLERANCE = 1e-3


class NetworkOutputs(nn.Module):
    """A layer that turns raw outputs into (b, k) probabilities, or into (b, t) numbers in their own units."""

    offset: Tensor
    factor: Tensor
    values: Tensor
    class_weights: Tensor

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self._loss = spec.loss
        self._activation = spec.layers.activation
        # Numbers have an offset, unless they are learnt as classes by a loss of classes.
        self._learns_classes = not spec.offset
        for name in ("offset", "factor", "values", "class_weights"):
            self.register_buffer(name, torch.tensor(getattr(spec, name), dtype=torch.float64), persistent=False)

    def forward(self, outputs: Tensor) -> Tensor:
        """Return the predictions in float32."""
        loss = build_loss(self._loss, self._learns_classes)
        if not loss.is_classification:
            return (ACTIVATIONS[self._activation](outputs) * self.factor + self.offset).float()
        proba = loss.predict(outputs)
        if len(self.class_weights):
            # Training with class weights multiplies the probabilities by them.
            unweighted_proba = proba.double() / self.class_weights
            proba = (unweighted_proba / unweighted_proba.sum(1, keepdim=True)).float()
        return (proba.double() @ self.values[:, None]).float() if len(self.values) else proba


class _Pooled(nn.Module):
    """The pooling of the new layers as a separate layer."""

    def __init__(self, layers: NewLayers) -> None:
        super().__init__()
        # A list hides the new layers from the modules of this layer.
        self._layers = [layers]

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, d) pooled features."""
        return self._layers[0].pooled(x)


class CheckpointBody(nn.Module):
    """A fine-tuned network without its normalisation; layers have the names that they have in its backbone."""

    def __init__(self, network: FinetunedNetwork, spec: NetworkSpec) -> None:
        super().__init__()
        self.order = network.trunk.names
        self.last = network.trunk.last
        for name, unit in zip(self.order, network.trunk.units, strict=True):
            _add_submodule(self, name, unit)
        self.pooled = _Pooled(network.layers)
        self.new_layers = network.layers
        self.add_module(OUTPUT_TAP, NetworkOutputs(spec))

    def forward(self, x: Tensor) -> Tensor:
        """Return the predictions for normalised pixels."""
        for name in self.order:
            x = self.get_submodule(name)(x)
        x = self.new_layers(self.pooled(x))
        predictions: Tensor = self.get_submodule(OUTPUT_TAP)(x)
        return predictions


def _add_submodule(root: nn.Module, name: str, unit: nn.Module) -> None:
    """Add a module to another one under a dotted name."""
    *parents, unit_name = name.split(".")
    for parent in parents:
        if not hasattr(root, parent):
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    root.add_module(unit_name, unit)


def checkpoint_backbone(path: str) -> Backbone:
    """Return the backbone that is the network of a run.

    Parameters
    ----------
    path
        Folder of the run, or the beginning of its path.

    Raises
    ------
    ArtifactError
        If the folder holds no fine-tuned network.
    """
    folder, header = read_header(find_run_folder(path))
    if header.network is None:
        raise ArtifactError(
            f"{folder} holds a {header.kind}, expected a fine-tuned network (a run of 'featx finetune')"
        )
    request = header.network.request
    request = request.model_copy(update={"backbone": find_network(request.backbone, folder)})
    spec = header.network.model_copy(update={"request": request})
    next_step = "run 'featx finetune --force' to train it again"
    file = WeightsFile(folder / BODY_FILES["network"], header.body_sha256, None, next_step)
    return Backbone(
        f"{CHECKPOINT_PREFIX}{path}",
        lambda: CheckpointBody(_untrained_network(spec), spec),
        file,
        spec.preprocessing,
        last=lambda body: str(body.last),
    )


def _untrained_network(spec: NetworkSpec) -> FinetunedNetwork:
    """Return a network with random weights."""
    return FinetunedNetwork(spec.request.model_copy(update={"weights": "none"}), spec.layers, spec.n_outputs)


def write_network(folder: Path, network: FinetunedNetwork, spec: NetworkSpec, header: dict[str, Any]) -> None:
    """Write ``model.safetensors`` and its header into `folder`.

    Parameters
    ----------
    folder
        Folder of the run.
    network
        The network, on the CPU.
    spec
        The spec from which the network can be built again.
    header
        Further fields of the header.
    """
    from safetensors.torch import save_file

    body = CheckpointBody(network, spec)
    save_file(
        {name: value.cpu().contiguous() for name, value in body.state_dict().items()}, folder / BODY_FILES["network"]
    )
    outputs = _golden_outputs(body, spec)
    golden = GoldenInputs(inputs="", outputs=tuple(tuple(map(float, row)) for row in outputs))
    write_header(folder, kind="network", golden=golden, network=spec, n_features=0, embeddings=(), **header)


@torch.inference_mode()
def _golden_outputs(body: nn.Module, spec: NetworkSpec) -> NDArray[np.float32]:
    """Return a network's predictions for generated images, which are the same on all machines."""
    side = spec.preprocessing.size_px
    ramp = np.linspace(0, 255, side)
    grey = np.stack([np.add.outer(ramp, ramp) / 2, np.abs(np.subtract.outer(ramp, ramp))][:N_GOLDEN_IMAGES])
    pixels = torch.from_numpy(grey[..., None].repeat(3, -1).astype(np.uint8))
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1) * 255 for values in (spec.preprocessing.mean, spec.preprocessing.std)
    )
    device = next(body.parameters()).device
    predictions: Tensor = body.eval()(normalise_pixels(pixels, mean, std).to(device))
    return predictions.cpu().numpy()


def load_checked_network(folder: Path, request: EmbeddingRequest) -> BuiltBackbone:
    """Build a run's network, and check that it matches its header and predicts the same as when it was written.

    Parameters
    ----------
    folder
        Folder of the run.
    request
        Request that names the run as a backbone.

    Returns
    -------
    Built
        The network with its weights, ready to run.

    Raises
    ------
    ArtifactError
        If the file does not match the header, or the predictions differ.
    """
    folder, header = read_header(folder)
    verify_body(folder, header)
    # The validator of the header guarantees this.
    assert header.network is not None
    backbone = build_backbone(request)
    outputs = _golden_outputs(backbone.body, header.network)
    check_golden(folder / header.body, header, outputs, GOLDEN_TOLERANCE * max(1.0, float(np.abs(outputs).max())))
    return backbone
