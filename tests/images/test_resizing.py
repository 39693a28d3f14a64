"""Preprocessing compared with the transforms of torchvision and timm, for all weights that they list."""

from collections import defaultdict
from functools import cache

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torchvision import models
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from featx.errors import UnknownNameError, WeightsError
from featx.images.resizing import make_preprocessor
from featx.networks.backbones import get_backbone, timm_backbone, torchvision_backbone
from featx.networks.features import normalise_pixels, preprocessing_for
from featx.specs.embedding import EmbeddingRequest, Interpolation, Preprocessing

# Wide, high and tiny, with odd sides, so that every rounding of sizes and positions occurs.
SIZES = ((331, 267), (243, 412), (75, 90))
HALF = (0.5, 0.5, 0.5)
ONE_LEVEL = 1.001 / 255


@cache
def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Return noise upon a gradient: a shift of half a pixel is seen everywhere."""
    rng = np.random.default_rng(width)
    ramp = np.linspace(0, 155, width)[None, :, None] + np.zeros((height, 1, 3))
    return Image.fromarray((ramp + rng.integers(0, 100, (height, width, 3))).astype(np.uint8)).convert(mode)


def as_network_sees(size: Preprocessing, image: Image.Image) -> torch.Tensor:
    """Return the (3, h, w) that the first layer of a network gets from featx."""
    pixels = np.broadcast_to(make_preprocessor(size)(image), (size.canvas_px, size.canvas_px, 3)).copy()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) * 255 for values in (size.mean, size.std))
    return normalise_pixels(torch.from_numpy(pixels)[None], mean, std)[0]


def error_in_pixels(size: Preprocessing, pixels: torch.Tensor, expected_pixels: torch.Tensor) -> float:
    """Return the largest difference of two inputs in units of pixels scaled to [0, 1]."""
    assert pixels.shape == expected_pixels.shape
    return float(((pixels - expected_pixels).abs() * torch.tensor(size.std).view(3, 1, 1)).max())


@cache
def timm_configurations() -> dict[str, list[str]]:
    """Return one name for each different transform among timm's pretrained weights, and all names that share it."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in timm.list_pretrained():
        config = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        groups[repr(sorted(config.items()))].append(name)
    return {names[0]: names for names in groups.values()}


def is_square(name: str) -> bool:
    """Whether a configuration takes squares."""
    _, height, width = timm.get_pretrained_cfg(name).input_size
    return height == width


def check_timm(name: str, sizes: tuple[tuple[int, int], ...] = SIZES) -> None:
    """Compare featx's pixels with those of timm's own transform."""
    size = timm_backbone(name).preprocessing
    timm_transform = create_transform(**resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict()))
    for shape in sizes:
        image = picture(*shape)
        assert error_in_pixels(size, as_network_sees(size, image), timm_transform(image)) <= ONE_LEVEL, (name, shape)


def geometry(name: str) -> tuple[object, ...]:
    """Return what decides where pixels come from, whatever their normalisation."""
    size = timm_backbone(name).preprocessing
    return size.size_px, size.resized_px, size.resize, size.interpolation


def test_every_timm_configuration_is_resolved_as_in_timm() -> None:
    names = [name for group in timm_configurations().values() for name in group]

    assert len(names) > 1000
    for name in filter(is_square, names):
        config = resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        size = timm_backbone(name).preprocessing
        assert (size.mean, size.std) == (tuple(config["mean"]), tuple(config["std"])), name
        assert (size.size_px, size.crop_share) == (config["input_size"][1], config["crop_pct"]), name
        assert size.interpolation == config["interpolation"], name


@pytest.mark.parametrize("mode", ["crop", "squash", "border"])
def test_pixels_of_each_kind_of_timm_configuration_equal_timms(mode: str) -> None:
    name_by_size = {}
    for name in filter(is_square, timm_configurations()):
        size = timm_backbone(name).preprocessing
        if size.resize == mode and size.size_px <= 768:
            name_by_size.setdefault((size.interpolation, round(size.crop_share, 2)), name)
    assert name_by_size
    for name in name_by_size.values():
        check_timm(name)


def test_a_crop_larger_than_the_picture_has_black_borders_as_in_timm() -> None:
    check_timm("volo_d4_448.sail_in1k")


@pytest.mark.slow
def test_pixels_of_every_timm_configuration_equal_timms() -> None:
    for name in filter(is_square, timm_configurations()):
        check_timm(name)


def torchvision_variants() -> list[str]:
    """Return all of torchvision's weights of classification networks as ``NAME.WEIGHTS``."""
    names = models.list_models(module=models)
    return [f"{name}.{weights.name}" for name in names for weights in models.get_model_weights(name)]


def network_input(name: str, x: torch.Tensor) -> torch.Tensor:
    """Return what the first layer of a torchvision network gets, its own ``transform_input`` included."""
    architecture = name.partition(".")[0]
    if architecture not in {"googlenet", "inception_v3"}:
        return x
    with torch.device("meta"):
        network = models.get_model(architecture, weights=None, transform_input=True, init_weights=False)
    return network._transform_input(x[None])[0]


def test_pixels_of_every_torchvision_variant_equal_torchvisions() -> None:
    names = torchvision_variants()
    assert len(names) > 80
    inputs: dict[object, torch.Tensor] = {}
    for name in names:
        architecture, _, variant = name.partition(".")
        transforms = models.get_model_weights(architecture)[variant].transforms()
        size = torchvision_backbone(name).preprocessing
        for shape in SIZES[:2]:
            image = picture(*shape)
            key = (repr(transforms), shape)
            if key not in inputs:
                inputs[key] = transforms(image)
            expected_pixels = network_input(name, inputs[key])
            assert error_in_pixels(size, as_network_sees(size, image), expected_pixels) <= ONE_LEVEL, (name, shape)


def test_a_name_without_a_variant_has_the_default_weights() -> None:
    for name in models.list_models(module=models):
        default = models.get_model_weights(name).DEFAULT.name
        assert torchvision_backbone(name).weights == torchvision_backbone(f"{name}.{default}").weights


@pytest.mark.parametrize("name", [name for name in torchvision_variants() if name.startswith("vit_")])
def test_a_vision_transformer_takes_the_size_of_its_weights(name: str) -> None:
    plan = torchvision_backbone(name)
    with torch.device("meta"):
        network = plan.build().eval()
        side = plan.preprocessing.size_px
        with torch.inference_mode():
            assert network(torch.zeros(1, 3, side, side)).shape == (1, 1000)
    assert (
        network.image_size
        == models.get_model_weights(name.partition(".")[0])[name.partition(".")[2]].meta["min_size"][0]
    )


@pytest.mark.parametrize("name", ["resnet50", "timm:vit_base_patch16_clip_224.openai", "timm:volo_d1_224.sail_in1k"])
def test_a_grey_picture_is_three_equal_channels(name: str) -> None:
    size = get_backbone(name).preprocessing
    grey = picture(331, 267, "L")

    expected = as_network_sees(size, grey.convert("RGB"))

    torch.testing.assert_close(as_network_sees(size, grey), expected, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(30, 700), (700, 30), (1, 500), (900, 2)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_only_the_visible_part_of_a_strip_is_computed(shape: tuple[int, int], interpolation: Interpolation) -> None:
    size = Preprocessing(size_px=32, crop_share=0.875, interpolation=interpolation, mean=HALF, std=HALF)
    image = picture(*shape)

    ours = make_preprocessor(size)(image).astype(float)

    resized = F.resize(image, [size.resized_px], InterpolationMode(interpolation))
    differences = np.abs(ours - np.asarray(F.center_crop(resized, [32])))
    assert np.quantile(differences, 0.9) <= 1
    assert differences.mean() < 1


def test_borders_of_a_grey_picture_have_the_mean_colour() -> None:
    size = Preprocessing(size_px=40, resize="border", mean=(0.2, 0.4, 0.6), std=(1, 1, 1))

    pixels = make_preprocessor(size)(picture(80, 40, "L"))

    assert pixels.shape == (40, 40, 3)
    assert pixels[0, 0].tolist() == pixels[-1, -1].tolist() == [51, 102, 153]
    assert (pixels[10:30, :, 0] == pixels[10:30, :, 2]).all()


def test_a_stated_resize_changes_only_resize_and_crop() -> None:
    preprocessing = get_backbone("resnet50").preprocessing

    squashed = preprocessing_for(EmbeddingRequest(backbone="resnet50", resize="squash"), preprocessing)
    cut = preprocessing_for(EmbeddingRequest(backbone="resnet50", resize="squash", crop_share=0.5), preprocessing)
    larger = preprocessing_for(EmbeddingRequest(backbone="resnet50", size_px=320), preprocessing)

    assert squashed == preprocessing.model_copy(update={"resize": "squash", "crop_share": 1.0})
    assert cut.crop_share == 0.5
    assert larger == preprocessing.model_copy(update={"size_px": 320})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet50.IMAGENET1K_V3", "has no weights 'IMAGENET1K_V3' of 'resnet50'; did you mean"),
        ("torchvision:quantized_resnet50", "'quantized_resnet50' is quantised, or no classification network"),
        ("torchvision:fcn_resnet50", "'fcn_resnet50' is quantised, or no classification network"),
        ("timm:resnet50.a1_in2k", "timm has no weights 'resnet50.a1_in2k'; did you mean 'resnet50.a1_in1k'"),
    ],
)
def test_unknown_weights_are_reported_with_a_suggestion(name: str, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        get_backbone(name)


def test_networks_without_square_inputs_are_refused() -> None:
    refused_names = [name for name in timm.list_pretrained() if not is_square(name)]
    assert len(refused_names) < 10
    for name in refused_names:
        with pytest.raises(WeightsError, match=r"take 3 × 1024 × 768 .* expected three channels and a square"):
            timm_backbone(name)
