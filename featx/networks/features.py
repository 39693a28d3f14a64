"""Networks that take pixels and give vectors: normalisation, taps and pooling inside one module."""

import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from featx.errors import DataError, FeatxError, UnknownNameError, WeightsError
from featx.files.atomic import file_state
from featx.networks.backbones import Backbone, backbone
from featx.networks.dry_runs import WithoutRandomInit, run_for_shapes
from featx.networks.pretrained_weights import load_state, read_state, sha256_of_state, sha256_of_weights
from featx.registry import suggestion
from featx.specs.embedding import EmbeddingRequest, EmbeddingSpec, Pool, Preprocessing

POOLED = ("AdaptiveAvgPool", "SelectAdaptivePool", "AdaptiveMaxPool", "Flatten")
GEM_P = 3.0  # Radenović et al., Fine-tuning CNN image retrieval with no human annotation, TPAMI 2019, section 3.2


def _gem(x: Tensor) -> Tensor:
    # The root in double: torch's vector and scalar code differ in the last bit, and a row's place says which one runs.
    return x.clamp(min=1e-6).pow(GEM_P).mean(-1).double().pow(1 / GEM_P).float()


class Tap(NamedTuple):
    """What is read off a network: a layer, how its positions are pooled, and what becomes of the views' vectors."""

    layer: str
    pool: Pool
    join: Literal["mean", "stack"] = "mean"


POOLS: dict[Pool, Callable[[Tensor], Tensor]] = {
    "avg": lambda x: x.mean(-1),
    "max": lambda x: x.amax(-1),
    "avgmax": lambda x: torch.cat([x.mean(-1), x.amax(-1)], dim=1),
    "gem": _gem,
    "flatten": lambda x: x.flatten(1),
}


def positions_last(x: Tensor) -> Tensor:
    """Bring a layer's output to (b, c, positions), or leave it where it is (b, c) already.

    (b, c, h, w) and, for networks that keep channels last, (b, h, w, c) are told apart by h = w, which holds for
    square input; (b, tokens, c) is turned round.
    """
    if x.ndim == 4:
        channels_at_the_end = x.shape[1] == x.shape[2] != x.shape[3]
        return (x.permute(0, 3, 1, 2) if channels_at_the_end else x).flatten(2)
    return x.transpose(1, 2) if x.ndim == 3 else x


def normalised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return (b, 3, h, w) of the type of `mean` from (b, h, w, 3) uint8; mean and std are of 0 … 255."""
    return (pixels.permute(0, 3, 1, 2).to(mean.dtype) - mean) / std


class FeatureNetwork(nn.Module):
    """uint8 pixels in, one vector for each tap out.

    Parameters
    ----------
    body
        The network, classifier included.
    preprocessing
        Gives mean, std and views.
    taps
        What is read off.

    Attributes
    ----------
    lock
        To be held while it runs: it keeps what its layers give until all are through. Networks with one body share it.

    Raises
    ------
    UnknownNameError
        a layer does not exist; names the closest.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        body: nn.Module,
        preprocessing: Preprocessing,
        taps: Sequence[Tap],
        lock: "threading.Lock | None" = None,
    ) -> None:
        super().__init__()
        self.body = body
        self.taps = tuple(taps)
        self.lock = lock or threading.Lock()
        self.preprocessing = preprocessing
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, 3, 1, 1) * 255)
        self._seen: dict[str, Tensor] = {}
        layers = dict(body.named_modules())
        for name in {tap.layer for tap in taps}:
            if name not in layers:
                raise UnknownNameError(f"no layer is called {name!r}; {suggestion(name, list(layers)[1:], limit=12)}")
            handle = layers[name].register_forward_hook(_keep(name, self._seen))
            # The body may outlive this network and get another one.
            weakref.finalize(self, handle.remove)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return one float32 (b, d) for each tap.

        Parameters
        ----------
        pixels
            (b, canvas_px, canvas_px, 3) uint8.

        Raises
        ------
        DataError
            a layer's output has no row for each image, or was not reached.
        """
        self._seen.clear()
        views = _views(normalised(pixels, self.mean, self.std), self.preprocessing)
        self.body(torch.cat(views).contiguous(memory_format=torch.channels_last))
        return [self._joined(tap, len(pixels), len(views)) for tap in self.taps]

    def _joined(self, tap: Tap, b: int, n_views: int) -> Tensor:
        x = self._pooled(tap.layer, tap.pool, b * n_views)
        if n_views == 1:
            return x
        each = x.view(n_views, b, -1)
        return each.mean(0) if tap.join == "mean" else each.transpose(0, 1).flatten(1)

    def _pooled(self, layer: str, pool: Pool, b: int) -> Tensor:
        output = self._seen.get(layer)
        if output is None:
            raise DataError(f"layer {layer!r} is not reached when the network runs; name another one")
        if output.ndim < 2 or output.ndim > 4 or output.shape[0] != b:
            raise DataError(f"layer {layer!r} gives shape {tuple(output.shape)}; expected ({b}, …), one row an image")
        x = positions_last(output)
        return (x if x.ndim == 2 else POOLS[pool](x)).float()


def _keep(name: str, outputs: dict[str, Tensor]) -> Callable[[nn.Module, object, object], None]:
    """Return a hook that keeps a layer's output; it must not refer to the network, which it would keep alive."""

    def hook(_module: nn.Module, _inputs: object, output: object) -> None:
        if not isinstance(output, Tensor):
            raise DataError(f"layer {name!r} gives a {type(output).__name__}; expected a tensor with one row an image")
        outputs[name] = output.clone()  # later layers may work in place

    return hook


def _views(x: Tensor, preprocessing: Preprocessing) -> list[Tensor]:
    """Cut what the network is to see out of (b, 3, canvas_px, canvas_px), each (b, 3, size_px, size_px)."""
    if preprocessing.views == "one":
        return [x]
    if preprocessing.views == "flip":
        return [x, x.flip(-1)]
    side, last = preprocessing.size_px, preprocessing.canvas_px - preprocessing.size_px
    corners = [(0, 0), (0, last), (last, 0), (last, last), (last // 2, last // 2)]
    return [x[..., top : top + side, left : left + side] for top, left in corners]


@dataclass(frozen=True)
class Layer:
    """One named layer as a dry run found it."""

    name: str
    kind: str
    shape: tuple[int, ...]
    n_parameters: int

    @property
    def has_positions(self) -> bool:
        """Whether there is something to pool."""
        if self.kind.startswith(POOLED):
            return False
        return (len(self.shape) == 4 and self.shape[2] > 1) or (len(self.shape) == 3 and self.shape[1] > 1)

    @property
    def n_features(self) -> int:
        """Its d once positions are averaged."""
        return positions_last(torch.empty(self.shape, device="meta")).shape[1]


def layers_of(body: nn.Module, size_px: int) -> list[Layer]:
    """Run an empty image through and list the layers in the order in which they finish, shapes for b = 1.

    No values are computed where the network does not need them.
    """
    found: list[Layer] = []

    def progress(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                n_parameters = sum(p.numel() for p in module.parameters())
                found.append(Layer(name, type(module).__name__, tuple(output.shape), n_parameters))

        return hook

    hooks = [module.register_forward_hook(progress(name)) for name, module in body.named_modules() if name]
    try:
        run_for_shapes(body, torch.empty(1, 3, size_px, size_px, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def outline(name: str) -> tuple[Backbone, nn.Module, list[Layer]]:
    """Build a backbone without values (on torch's ``meta`` device) and list its layers."""
    plan = backbone(name)
    try:
        with torch.device("meta"):
            body = plan.build().eval()
    except NotImplementedError:  # it computes with values as it is built
        body = plan.build().eval().to("meta")
    with torch.device("meta"):
        return plan, body, layers_of(body, plan.preprocessing.size_px)


def last_layer(layers: Sequence[Layer]) -> str:
    """Return the last layer with positions, the one before the classifier's own pooling."""
    spatial = [layer.name for layer in layers if layer.has_positions]
    if not spatial:
        raise DataError("the network has no layer with positions; name a layer with 'tap'")
    return spatial[-1]


@dataclass(frozen=True)
class Resolved:
    """A network ready to run, and what its numbers are called.

    Attributes
    ----------
    network
        In eval mode, on the CPU.
    specs
        One for each tap of `network`.
    n_features
        d of each.
    weights_file
        `featx.files.atomic.file_state` of the weights; None for random ones.
    """

    network: FeatureNetwork
    specs: tuple[EmbeddingSpec, ...]
    n_features: tuple[int, ...]
    weights_file: tuple[str, int, int] | None


class Built(NamedTuple):
    """A backbone with its weights, in eval mode on the CPU.

    Attributes
    ----------
    file
        Of the weights; None for random ones.
    last
        Its last layer with positions.
    lock
        To be held by whoever runs the body through a `FeatureNetwork`.
    """

    body: nn.Module
    preprocessing: Preprocessing
    file: Path | None
    last: str
    lock: threading.Lock


def preprocessing_for(request: EmbeddingRequest, own: Preprocessing) -> Preprocessing:
    """Return the weights' own preprocessing with what a request states instead."""
    stated = {name: getattr(request, name) for name in Preprocessing.model_fields}
    stated = {name: value for name, value in stated.items() if value is not None}
    if stated.get("resize") in {"squash", "border"}:
        stated.setdefault("crop_share", 1.0)
    return own.model_copy(update=stated)


def build(request: EmbeddingRequest) -> Built:
    """Build the backbone that a request names, random weights from seed 0, and load its weights.

    Raises
    ------
    UnknownNameError, WeightsError
        a name is not known, or weights cannot be had.
    """
    plan = backbone(request.backbone)
    preprocessing = preprocessing_for(request, plan.preprocessing)
    file = weights_path(plan, request.weights)
    with torch.random.fork_rng(devices=[]), nullcontext() if file is None else WithoutRandomInit():
        torch.default_generator.manual_seed(0)  # not torch.manual_seed: it reseeds GPUs as well
        body = plan.build().eval()
    if file is not None:
        load_state(body, read_state(file), str(file))
    return Built(body, preprocessing, file, _last_layer_of(plan, body, preprocessing), threading.Lock())


def stated_last_layer(plan: Backbone, body: nn.Module) -> str | None:
    """Return the layer that a backbone states as its last one; None where a dry run is to find it."""
    return plan.last(body) if callable(plan.last) else plan.last


def _last_layer_of(plan: Backbone, body: nn.Module, preprocessing: Preprocessing) -> str:
    try:
        return stated_last_layer(plan, body) or last_layer(layers_of(body, preprocessing.size_px))
    except FeatxError:
        raise
    except Exception as error:  # whatever a network does with a size that it does not take
        raise _misfit(plan.name, preprocessing, error) from error


def _misfit(name: str, preprocessing: Preprocessing, error: Exception) -> DataError:
    side, reason = preprocessing.size_px, (str(error) or type(error).__name__).splitlines()[0]
    return DataError(
        f"{name} does not take images of {side} × {side} px ({reason}); leave 'size_px' out for the size of its "
        "weights, or name another network"
    )


def resolve(requests: Sequence[EmbeddingRequest], built: Built | None = None) -> Resolved:
    """Return the one network that fills `requests`, which differ in tap, pool and join only; precision is fp32 so far.

    Parameters
    ----------
    requests
        What is to be read off it.
    built
        The backbone with its weights, where it has been built already; built here by default.

    Raises
    ------
    UnknownNameError, WeightsError, DataError
        a name is not known, weights cannot be had, or a layer gives nothing to use.
    """
    first = requests[0]
    body, preprocessing, file, last, lock = built or build(first)
    taps = [Tap(last if one.tap == "last" else one.tap, one.pool, one.join) for one in requests]
    network = FeatureNetwork(body, preprocessing, taps, lock).eval().to(memory_format=torch.channels_last)
    side = preprocessing.canvas_px
    try:
        with lock:
            outputs = run_for_shapes(network, torch.empty(2, side, side, 3, dtype=torch.uint8, device="meta"))
    except FeatxError:
        raise
    except Exception as error:  # as in _last_layer_of
        raise _misfit(first.backbone, preprocessing, error) from error
    sha256 = sha256_of_state(body) if file is None else sha256_of_weights(file)
    specs = tuple(
        EmbeddingSpec(
            backbone=first.backbone,
            weights_sha256=sha256,
            tap=tap.layer,
            pool=tap.pool,
            preprocessing=preprocessing,
            decoding=first.decoding,
            dtype=request.dtype,
            join=tap.join,
        )
        for tap, request in zip(taps, requests, strict=True)
    )
    state = None if file is None else file_state(file)
    return Resolved(network, specs, tuple(output.shape[1] for output in outputs), state)


def weights_path(plan: Backbone, weights: str) -> Path | None:
    """Return the file that a recipe's ``weights`` means; None for random ones.

    Raises
    ------
    WeightsError
        it cannot be had.
    """
    if weights == "none":
        return None
    if weights == "default":
        return plan.weights.have()
    if not Path(weights).is_file():
        raise WeightsError(f"weights {weights!r}: no such file; expected a state dict or safetensors of {plan.name}")
    return Path(weights)
