"""`FeatureNetwork` against the plain network: normalise, run, pool by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from featx.errors import DataError, UnknownNameError
from featx.networks.backbones import get_backbone
from featx.networks.features import FeatureNetwork, Tap, resolve_network
from featx.networks.traced_layers import build_on_meta, last_layer, positions_last, trace_layers
from featx.specs.embedding import EmbeddingRequest, Pool, Preprocessing

PREPROCESSING = Preprocessing(size_px=16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
BY_HAND: dict[Pool, Callable[[Tensor], Tensor]] = {
    "avg": lambda x: x.mean((2, 3)),
    "max": lambda x: x.amax((2, 3)),
    "avgmax": lambda x: torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1),
    "gem": lambda x: (x.clamp(min=1e-6) ** 3).mean((2, 3)) ** (1 / 3),
    "flatten": lambda x: x.flatten(1),
}


class Tuples(nn.Module):
    """A layer that returns a pair."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Mixed(nn.Module):
    """Layers with outputs of all kinds, and one that is never reached."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.pair = Tuples()
        self.merged = nn.Flatten(0, 1)
        self.unused = nn.Identity()
        self.norm = nn.LayerNorm(5)
        self.tokens = nn.Flatten(1, 2)
        self.attention = nn.MultiheadAttention(5, 1, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.pair(self.conv(x))
        self.merged(x)
        tokens: Tensor = self.tokens(self.norm(x.permute(0, 2, 3, 1)))
        tokens = tokens + self.attention(tokens, tokens, tokens)[0]
        out: Tensor = self.head(tokens.mean(1))
        return out


def pixels(b: int, side: int = 16) -> Tensor:
    return torch.randint(0, 256, (b, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(b))


def normalised(images: Tensor, preprocessing: Preprocessing = PREPROCESSING) -> Tensor:
    scaled_images = images.permute(0, 3, 1, 2) / 255
    return (scaled_images - torch.tensor(preprocessing.mean).view(3, 1, 1)) / torch.tensor(preprocessing.std).view(
        3, 1, 1
    )


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return build().eval()


@torch.inference_mode()
def features(body: nn.Module, layer: str, pool: Pool = "avg", b: int = 3) -> Tensor:
    (x,) = FeatureNetwork(body, PREPROCESSING, [Tap(layer, pool)]).eval()(pixels(b))
    return x


@pytest.mark.parametrize("pool", BY_HAND)
@torch.inference_mode()
def test_features_equal_those_normalised_and_pooled_by_hand(pool: Pool) -> None:
    body = seeded(get_backbone("toy").build)

    x = features(body, "0.3", pool)

    expected = BY_HAND[pool](body[0][:4](normalised(pixels(3))))
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_a_layer_without_positions_is_taken_as_it_is() -> None:
    body = seeded(get_backbone("toy").build)

    torch.testing.assert_close(features(body, "2", "max"), body(normalised(pixels(3))), rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_several_taps_of_one_network_give_what_each_gives_alone() -> None:
    body = seeded(get_backbone("toy").build)
    taps = [Tap("0.3", "avg"), Tap("0.1", "max"), Tap("0.3", "gem"), Tap("2", "avg")]

    network = FeatureNetwork(body, PREPROCESSING, taps).eval()(pixels(4))

    for tap, x in zip(taps, network, strict=True):
        assert torch.equal(x, features(body, tap.layer, tap.pool, b=4))


@torch.inference_mode()
def test_a_layer_is_read_before_a_later_one_overwrites_it_in_place() -> None:
    conv = nn.Conv2d(3, 4, 3)
    body = nn.Sequential(conv, nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))

    x = features(body, "0", "flatten")

    assert (x < 0).any()
    torch.testing.assert_close(x, conv(normalised(pixels(3))).flatten(1), rtol=1e-5, atol=1e-6)


def test_an_unknown_layer_is_answered_with_the_closest_one() -> None:
    with pytest.raises(
        UnknownNameError, match=r"no layer is called '0\.33'; did you mean '0\.3'\? known: last, 0, 0\.0"
    ):
        FeatureNetwork(get_backbone("toy").build(), PREPROCESSING, [Tap("0.33", "avg")])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("pair", "layer 'pair' gives a tuple; expected a tensor"),
        ("attention", "layer 'attention' gives a tuple; expected a tensor"),
        ("merged", r"layer 'merged' gives shape \(15, 14, 14\); expected \(3, …\), one row per image"),
        ("unused", "layer 'unused' is not reached"),
    ],
)
def test_a_layer_without_one_row_per_image_is_reported(layer: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        features(seeded(Mixed), layer)


@pytest.mark.parametrize("layer", ["norm", "tokens"])
@pytest.mark.parametrize("pool", ["avg", "max", "gem", "avgmax"])
@torch.inference_mode()
def test_channels_last_and_tokens_are_pooled_over_positions(layer: str, pool: Pool) -> None:
    body = seeded(Mixed)
    assert isinstance(body, Mixed)

    x = features(body, layer, pool)

    grid = body.norm(body.conv(normalised(pixels(3))).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(x, BY_HAND[pool](grid), rtol=1e-4, atol=1e-5)


def test_positions_are_brought_last_whatever_the_layout() -> None:
    x = torch.arange(2 * 5 * 9.0).view(2, 5, 9)

    assert torch.equal(positions_last(x.view(2, 5, 3, 3)), x)
    assert torch.equal(positions_last(x.view(2, 5, 3, 3).permute(0, 2, 3, 1)), x)
    assert torch.equal(positions_last(x.transpose(1, 2)), x)
    assert positions_last(torch.ones(2, 7)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "tap", "d"), [("timm:test_vit", "norm", 64), ("timm:swin_tiny_patch4_window7_224", "norm", 768)]
)
def test_transformers_give_one_number_per_channel(name: str, tap: str, d: int) -> None:
    _, _, layers = build_on_meta(name)

    assert last_layer(layers) == tap
    assert [layer.n_features for layer in layers if layer.name == tap] == [d]


def test_a_network_without_positions_asks_for_a_layer() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))

    with pytest.raises(DataError, match="no layer with positions; name a layer with 'tap'"):
        last_layer(trace_layers(flat, 8))


def test_a_dry_run_leaves_no_hooks_behind() -> None:
    body = get_backbone("toy").build()

    trace_layers(body, 16)

    assert not any(module._forward_hooks for module in body.modules())


def test_a_resolved_network_has_its_own_layer_and_takes_overrides() -> None:
    request = EmbeddingRequest(backbone="toy", weights="none", pool="avgmax", size_px=20, mean=(0, 0, 0))

    resolved = resolve_network([request, request.model_copy(update={"tap": "0.0", "pool": "avg"})])

    assert [(spec.tap, spec.pool) for spec in resolved.specs] == [("0.3", "avgmax"), ("0.0", "avg")]
    assert resolved.n_features == (16, 6)
    assert resolved.weights_file is None
    preprocessing = resolved.specs[0].preprocessing
    assert (preprocessing.size_px, preprocessing.mean, preprocessing.std) == (20, (0, 0, 0), (0.5, 0.5, 0.5))
    assert not any(module.training for module in resolved.network.modules())
    assert not resolved.network.mean.any()


FIVE_CROPS = PREPROCESSING.model_copy(update={"views": "five-crops"})
FLIP = PREPROCESSING.model_copy(update={"views": "flip"})
FOUR_FLIPS = PREPROCESSING.model_copy(update={"views": "four-flips"})
VIEWS: dict[str, tuple[Preprocessing, Callable[[Tensor], list[Tensor]]]] = {
    "flip": (FLIP, lambda images: [images, images.flip(2)]),
    "four-flips": (FOUR_FLIPS, lambda images: [images, images.flip(2), images.flip(1), images.flip(1, 2)]),
    "five-crops": (
        FIVE_CROPS,  # 16 px out of 18
        lambda images: [images[:, top:][:, :16, left:][:, :, :16] for top, left in CORNERS_AND_CENTRE],
    ),
}
CORNERS_AND_CENTRE = [(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)]
BY_JOIN: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "mean": lambda views: torch.stack(views).mean(0),
    "stack": lambda views: torch.cat(views, 1),
}


@pytest.mark.parametrize("join", BY_JOIN)
@pytest.mark.parametrize("pool", BY_HAND)
@pytest.mark.parametrize("views", VIEWS)
@torch.inference_mode()
def test_views_equal_those_cut_by_hand_and_run_one_by_one(views: str, pool: Pool, join: Any) -> None:
    body = seeded(get_backbone("toy").build)
    preprocessing, cut_views = VIEWS[views]
    images = pixels(3, preprocessing.canvas_px)

    (x,) = FeatureNetwork(body, preprocessing, [Tap("0.3", pool, join)]).eval()(images)

    one_view = FeatureNetwork(body, PREPROCESSING, [Tap("0.3", pool)]).eval()
    expected = BY_JOIN[join]([one_view(view)[0] for view in cut_views(images)])
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_an_image_and_its_mirror_image_have_the_same_mean() -> None:
    network = FeatureNetwork(seeded(get_backbone("toy").build), FLIP, [Tap("0.3", "avg"), Tap("0.3", "avg", "stack")])
    images = pixels(3)

    (mean, stack), (mirrored_mean, mirrored_stack) = network.eval()(images), network(images.flip(2))

    torch.testing.assert_close(mean, mirrored_mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(stack.view(3, 2, -1).flip(1).flatten(1), mirrored_stack, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_an_image_and_its_turned_image_have_the_same_mean_of_four_flips() -> None:
    network = FeatureNetwork(seeded(get_backbone("toy").build), FOUR_FLIPS, [Tap("0.3", "avg")]).eval()
    images = pixels(3)
    for dims in ((1,), (2,), (1, 2)):
        torch.testing.assert_close(network(images)[0], network(images.flip(dims))[0], rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_views_of_one_image_are_not_mixed_with_anothers() -> None:
    network = FeatureNetwork(seeded(get_backbone("toy").build), FIVE_CROPS, [Tap("0.3", "avg", "stack")]).eval()
    images = pixels(4, FIVE_CROPS.canvas_px)

    (batch_rows,) = network(images)

    for row in range(4):
        torch.testing.assert_close(network(images[row : row + 1])[0][0], batch_rows[row], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("views", "size_px", "crop_share", "canvas_px", "canvas_share"),
    [
        ("one", 224, 0.875, 224, 0.875),
        ("flip", 224, 0.875, 224, 0.875),
        ("four-flips", 224, 0.875, 224, 0.875),
        ("five-crops", 224, 0.875, 256, 1.0),
        ("five-crops", 224, 1.0, 256, 1.0),
        ("five-crops", 224, 0.95, 256, 1.0),
        ("five-crops", 224, 0.5, 448, 1.0),
        ("five-crops", 16, 1.0, 18, 1.0),
    ],
)
def test_crops_are_cut_from_a_larger_square(
    views: Any, size_px: int, crop_share: float, canvas_px: int, canvas_share: float
) -> None:
    preprocessing = PREPROCESSING.model_copy(update={"views": views, "size_px": size_px, "crop_share": crop_share})

    assert (preprocessing.canvas_px, preprocessing.canvas_share) == (canvas_px, canvas_share)


@pytest.mark.parametrize(("views", "n_views"), [("one", 1), ("flip", 2), ("four-flips", 4), ("five-crops", 5)])
def test_stacked_views_have_as_many_times_the_features(views: Any, n_views: int) -> None:
    request = EmbeddingRequest(backbone="toy", weights="none", views=views)

    resolved = resolve_network([request, request.model_copy(update={"join": "stack"})])

    assert resolved.n_features == (8, 8 * n_views)
    assert [spec.join for spec in resolved.specs] == ["mean", "stack"]
    assert {spec.preprocessing.views for spec in resolved.specs} == {views}


def test_views_and_joins_change_the_fingerprint_and_one_view_does_not() -> None:
    request = EmbeddingRequest(backbone="toy", weights="none")
    specs = [
        resolve_network([EmbeddingRequest(backbone="toy", weights="none", views=views, join=join)]).specs[0]
        for views in ("one", "flip", "four-flips", "five-crops")
        for join in ("mean", "stack")
    ]

    assert len({spec.fingerprint() for spec in specs}) == 8
    assert specs[0] == resolve_network([request]).specs[0]
