"""Conversion of weights in other formats and names to the state dicts of torchvision's and timm's networks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

State = dict[str, Tensor]
# Positions of the 13 convolutions in torchvision's vgg16().features, in the order in which they run.
VGG16_CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
N_VIT_BLOCKS = 12
# Matrix products with weights in one block of a vision transformer of Hugging Face's transformers, in their order.
VIT_PRODUCTS = ("query", "key", "value", "out", "fc1", "fc2")
# timm's name of each tensor of a block, and its name in the library that wrote the file.
VIT_TENSORS = {
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "attn.proj.bias": "attention.output.dense.bias",
    "ls1.gamma": "layer_scale1.lambda1",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
    "mlp.fc1.bias": "mlp.fc1.bias",
    "mlp.fc2.bias": "mlp.fc2.bias",
    "ls2.gamma": "layer_scale2.lambda1",
}


def vgg16_from_onnx(file: Path) -> State:
    """Return the 13 convolutions of torchvision's VGG16 from Keras' network, which takes BGR pixels.

    The input channels of the first convolution are reversed, so that the network takes RGB. Its pixels are in 0 … 255
    less the mean colour (123.68, 116.779, 103.939), without a standard deviation.
    """
    graph = onnx.load(str(file)).graph
    tensors = _initialisers(graph)
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    state: State = {}
    for position, node in zip(VGG16_CONVOLUTIONS, convolutions, strict=True):
        _, weight, bias = node.input
        state[f"features.{position}.weight"] = _tensor(tensors[weight])
        state[f"features.{position}.bias"] = _tensor(tensors[bias])
    state["features.0.weight"] = state["features.0.weight"].flip(1).contiguous()
    return state


def vit_small_from_onnx(file: Path) -> State:
    """Return timm's ``vit_small_patch14_dinov2`` from the backbone of a network by Hugging Face's transformers."""
    graph = onnx.load(str(file)).graph
    tensors = _initialisers(graph)
    # Matrix products with a weight as second input have names of their own; those of attention have no weight.
    products = [_tensor(tensors[node.input[1]]).T for node in graph.node if _multiplies_by_weight(node, tensors)]
    position_parts = [tensors[name] for name in _names_of_shapes(tensors, (1, 1, 384), (1, 1369, 384))]
    state = {
        "cls_token": _tensor(tensors["backbone.embeddings.cls_token"]),
        "pos_embed": _tensor(np.concatenate(position_parts, axis=1)),
        "patch_embed.proj.weight": _tensor(tensors["backbone.embeddings.patch_embeddings.projection.weight"]),
        "patch_embed.proj.bias": _tensor(tensors["backbone.embeddings.patch_embeddings.projection.bias"]),
        "norm.weight": _tensor(tensors["backbone.layernorm.weight"]),
        "norm.bias": _tensor(tensors["backbone.layernorm.bias"]),
    }
    blocks = [products[start : start + len(VIT_PRODUCTS)] for start in range(0, len(products), len(VIT_PRODUCTS))]
    for number, block in zip(range(N_VIT_BLOCKS), blocks, strict=True):
        prefix = f"backbone.encoder.layer.{number}"
        matrices = dict(zip(VIT_PRODUCTS, block, strict=True))
        biases = [_tensor(tensors[f"{prefix}.attention.attention.{name}.bias"]) for name in VIT_PRODUCTS[:3]]
        block_tensors = {name: _tensor(tensors[f"{prefix}.{source}"]) for name, source in VIT_TENSORS.items()}
        block_tensors["attn.qkv.weight"] = torch.cat([matrices[name] for name in VIT_PRODUCTS[:3]])
        block_tensors["attn.qkv.bias"] = torch.cat(biases)
        block_tensors["attn.proj.weight"] = matrices["out"].contiguous()
        block_tensors["mlp.fc1.weight"], block_tensors["mlp.fc2.weight"] = (
            matrices["fc1"].contiguous(),
            matrices["fc2"].contiguous(),
        )
        state |= {f"blocks.{number}.{name}": tensor for name, tensor in block_tensors.items()}
    return state


def resnet50_from_state(file: Path) -> State:
    """Return torchvision's ResNet-50 without its classifier from a state dict with the prefix ``module.pre.``."""
    state: State = torch.load(file, map_location="cpu", weights_only=True)
    prefix = "module.pre."
    network_tensors = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    return {name: tensor.contiguous() for name, tensor in network_tensors.items() if not name.startswith("fc.")}


def mobilenet_v2_from_state(file: Path) -> State:
    """Return torchvision's MobileNetV2 without its classifier from tensors in the same order with other names."""
    from torchvision.models import mobilenet_v2

    names = [name for name in mobilenet_v2(weights=None).state_dict() if not name.startswith("classifier.")]
    state: State = torch.load(file, map_location="cpu", weights_only=True)
    return {name: tensor.contiguous() for name, tensor in zip(names, state.values(), strict=True)}


def _initialisers(graph: onnx.GraphProto) -> dict[str, NDArray[np.float32]]:
    return {item.name: numpy_helper.to_array(item) for item in graph.initializer}


def _multiplies_by_weight(node: onnx.NodeProto, tensors: dict[str, NDArray[np.float32]]) -> bool:
    return node.op_type == "MatMul" and node.input[1] in tensors


def _names_of_shapes(tensors: dict[str, NDArray[np.float32]], *shapes: Sequence[int]) -> list[str]:
    """Return the name of the only tensor of each shape that has a name of the exporter's own (``onnx::``)."""
    names = []
    for shape in shapes:
        (name,) = [name for name, x in tensors.items() if name.startswith("onnx::") and x.shape == tuple(shape)]
        names.append(name)
    return names


def _tensor(values: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float32))
