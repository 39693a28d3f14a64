"""Networks that turn pixels into feature vectors: normalisation, taps and pooling in one module."""

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from featx.errors import DataError, FeatxError, UnknownNameError, WeightsError
from featx.files.atomic import file_state
from featx.networks.backbones import Backbone, get_backbone
from featx.networks.dry_runs import WithoutRandomInit, run_for_shapes
from featx.networks.input_sizes import set_input_size
from featx.networks.own_weights import LoadedWeights, has_class_token, load_own_state
from featx.networks.pretrained_weights import load_state, read_state, sha256_of_state, sha256_of_weights
from featx.networks.traced_layers import last_layer, positions_last, stated_last_layer, trace_layers
from featx.registry import suggest_names
from featx.specs.embedding import EmbeddingRequest, EmbeddingSpec, Pool, Preprocessing

# Random weights come from torch's generator, which all threads share. The lock is reentrant, because building a network
# may build another one.
SEED_LOCK = threading.RLock()
if hasattr(os, "register_at_fork"):
    # torch's threads do not survive a fork: the new process would wait for them forever.
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))
GEM_P = 3.0  # Radenović et al., Fine-tuning CNN image retrieval with no human annotation, TPAMI 2019, section 3.2


def _gem(x: Tensor) -> Tensor:
    # The root is computed in double precision, because torch's vector and scalar code differ in the last bit, and the
    # position of a row in its batch decides which of them runs.
    return x.clamp(min=1e-6).pow(GEM_P).mean(-1).double().pow(1 / GEM_P).float()


class Tap(NamedTuple):
    """A layer whose output is read, the pooling of its positions, and the joining of the vectors of views.

    Attributes
    ----------
    layer
        Name of the layer.
    pool
        Pooling over positions.
    join
        ``mean`` averages the vectors of the views of an image, ``stack`` concatenates them.
    """

    layer: str
    pool: Pool
    join: Literal["mean", "stack"] = "mean"


POOLS: dict[Pool, Callable[[Tensor], Tensor]] = {
    "avg": lambda x: x.mean(-1),
    "max": lambda x: x.amax(-1),
    "avgmax": lambda x: torch.cat([x.mean(-1), x.amax(-1)], dim=1),
    "gem": _gem,
    "flatten": lambda x: x.flatten(1),
    # The class token of a vision transformer is its first.
    "cls": lambda x: x[..., 0],
}


def normalise_pixels(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return normalised (b, 3, h, w) pixels for (b, h, w, 3) uint8, in the type of `mean`; mean, std are in 0 … 255."""
    return (pixels.permute(0, 3, 1, 2).to(mean.dtype) - mean) / std


class FeatureNetwork(nn.Module):
    """A network that turns uint8 pixels into one vector for each tap.

    Parameters
    ----------
    body
        The network, classifier included.
    preprocessing
        Preprocessing with mean, std and views.
    taps
        Layers to read and their pooling.
    lock
        Lock of the body; a new one by default.

    Attributes
    ----------
    lock
        Lock to acquire before a run, because outputs of layers are stored until the run ends. Networks that share a
        body share its lock.

    Raises
    ------
    UnknownNameError
        If a layer does not exist; the message names the closest.
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
        self._outputs: dict[str, Tensor] = {}
        layers = dict(body.named_modules())
        for name in {tap.layer for tap in taps}:
            if name not in layers:
                raise UnknownNameError(
                    f"no layer is called {name!r}; {suggest_names(name, ['last', *list(layers)[1:]], limit=12)}"
                )
            handle = layers[name].register_forward_hook(_output_hook(name, self._outputs))
            # The body may outlive this network and become part of another one.
            weakref.finalize(self, handle.remove)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return a float32 (b, d) tensor for each tap.

        Parameters
        ----------
        pixels
            (b, canvas_px, canvas_px, 3) uint8 pixels.

        Raises
        ------
        DataError
            If a layer's output does not have one row per image, or the layer did not run.
        """
        self._outputs.clear()
        views = _views(normalise_pixels(pixels, self.mean, self.std), self.preprocessing)
        self.body(torch.cat(views).contiguous(memory_format=torch.channels_last))
        vectors = [self._joined(tap, len(pixels), len(views)) for tap in self.taps]
        self._outputs.clear()
        return vectors

    def _joined(self, tap: Tap, b: int, n_views: int) -> Tensor:
        x = self._pooled(tap.layer, tap.pool, b * n_views)
        if n_views == 1:
            return x
        view_features = x.view(n_views, b, -1)
        return view_features.mean(0) if tap.join == "mean" else view_features.transpose(0, 1).flatten(1)

    def _pooled(self, layer: str, pool: Pool, b: int) -> Tensor:
        output = self._outputs.get(layer)
        if output is None:
            raise DataError(f"layer {layer!r} is not reached when the network runs; name another layer")
        if output.ndim < 2 or output.ndim > 4 or output.shape[0] != b:
            raise DataError(f"layer {layer!r} gives shape {tuple(output.shape)}; expected ({b}, …), one row per image")
        if pool == "cls" and output.ndim != 3:
            raise DataError(f"pool = 'cls' takes the class token, layer {layer!r} gives no tokens; set pool = 'avg'")
        x = positions_last(output)
        return (x if x.ndim == 2 else POOLS[pool](x)).float()


def _output_hook(name: str, outputs: dict[str, Tensor]) -> Callable[[nn.Module, object, object], None]:
    """Return a hook that stores a layer's output; it must not refer to the network, which it would keep alive."""

    def hook(_module: nn.Module, _inputs: object, output: object) -> None:
        if not isinstance(output, Tensor):
            raise DataError(f"layer {name!r} gives a {type(output).__name__}; expected a tensor with one row per image")
        # Later layers may overwrite the output in place.
        outputs[name] = output.clone()

    return hook


def _views(x: Tensor, preprocessing: Preprocessing) -> list[Tensor]:
    """Return the (b, 3, size_px, size_px) views of (b, 3, canvas_px, canvas_px) pixels."""
    if preprocessing.views == "one":
        return [x]
    if preprocessing.views == "flip":
        return [x, x.flip(-1)]
    if preprocessing.views == "four-flips":
        return [x, x.flip(-1), x.flip(-2), x.flip(-1, -2)]
    side, far_edge = preprocessing.size_px, preprocessing.canvas_px - preprocessing.size_px
    corners = [(0, 0), (0, far_edge), (far_edge, 0), (far_edge, far_edge), (far_edge // 2, far_edge // 2)]
    return [x[..., top : top + side, left : left + side] for top, left in corners]


@dataclass(frozen=True)
class ResolvedNetwork:
    """A network ready to run, and the specs of the embeddings that it computes.

    Attributes
    ----------
    network
        The network in eval mode, on the CPU.
    specs
        Spec of the embedding of each tap.
    n_features
        Number d of features of each tap.
    weights_file
        `featx.files.atomic.file_state` of the weights; None for random weights.
    weights_note
        What was and what was not loaded from a file of the user's own; empty if all of it was.
    """

    network: FeatureNetwork
    specs: tuple[EmbeddingSpec, ...]
    n_features: tuple[int, ...]
    weights_file: tuple[str, int, int] | None
    weights_note: str = ""


class BuiltBackbone(NamedTuple):
    """A backbone with its weights, in eval mode on the CPU.

    Attributes
    ----------
    body
        The network, classifier included.
    preprocessing
        Preprocessing of its images.
    file
        File of the weights; None for random weights.
    last
        Name of its last layer with positions.
    lock
        Lock to acquire before the body runs in a `FeatureNetwork`.
    loaded
        What was loaded from a file of the user's own.
    """

    body: nn.Module
    preprocessing: Preprocessing
    file: Path | None
    last: str
    lock: threading.Lock
    loaded: LoadedWeights = LoadedWeights()


def preprocessing_for(request: EmbeddingRequest, weights_preprocessing: Preprocessing) -> Preprocessing:
    """Return the preprocessing of the weights, with the fields that a request sets instead."""
    stated_fields = {name: getattr(request, name) for name in Preprocessing.model_fields}
    stated_fields = {name: value for name, value in stated_fields.items() if value is not None}
    if stated_fields.get("resize") in {"squash", "border"}:
        stated_fields.setdefault("crop_share", 1.0)
    return weights_preprocessing.model_copy(update=stated_fields)


def build_backbone(request: EmbeddingRequest, seed: int = 0) -> BuiltBackbone:
    """Return the backbone that a request names with its weights.

    Parameters
    ----------
    request
        The backbone, its weights and its preprocessing.
    seed
        Seed of random weights.

    Raises
    ------
    UnknownNameError, WeightsError
        If a name is unknown, or weights are not available.
    """
    plan = get_backbone(request.backbone)
    preprocessing = preprocessing_for(request, plan.preprocessing)
    file = weights_path(plan, request.weights)
    with SEED_LOCK, torch.random.fork_rng(devices=[]), nullcontext() if file is None else WithoutRandomInit():
        # torch.manual_seed would reseed GPUs as well.
        torch.default_generator.manual_seed(seed)
        body = plan.build().eval()
    loaded_weights = LoadedWeights()
    if file is not None and request.has_own_weights:
        last = _last_layer_of(plan, body, plan.preprocessing)
        loaded_weights = load_own_state(body, read_state(file), file, last, plan.preprocessing.size_px)
    elif file is not None:
        load_state(body, read_state(file), str(file))
    if preprocessing.size_px != plan.preprocessing.size_px:
        try:
            set_input_size(body, preprocessing.size_px)
        # A network fails with any exception if it does not take the size.
        except Exception as error:
            raise _size_error(plan.name, preprocessing, error) from error
    return BuiltBackbone(
        body, preprocessing, file, _last_layer_of(plan, body, preprocessing), threading.Lock(), loaded_weights
    )


def _last_layer_of(plan: Backbone, body: nn.Module, preprocessing: Preprocessing) -> str:
    try:
        return stated_last_layer(plan, body) or last_layer(trace_layers(body, preprocessing.size_px))
    except FeatxError:
        raise
    # A network fails with any exception if it does not take the size.
    except Exception as error:
        raise _size_error(plan.name, preprocessing, error) from error


def _size_error(name: str, preprocessing: Preprocessing, error: Exception) -> DataError:
    side, reason = preprocessing.size_px, (str(error) or type(error).__name__).splitlines()[0]
    return DataError(
        f"{name} does not take images of {side} × {side} px ({reason}); remove 'size_px' to use the size of its "
        "weights, or name another network"
    )


def resolve_network(requests: Sequence[EmbeddingRequest], backbone: BuiltBackbone | None = None) -> ResolvedNetwork:
    """Return the network that computes all of `requests`, with specs for the precision fp32.

    Parameters
    ----------
    requests
        Embeddings to compute, which differ in tap, pool and join only.
    backbone
        The backbone with its weights; by default it is built here.

    Raises
    ------
    UnknownNameError, WeightsError, DataError
        If a name is unknown, weights are not available, or the output of a layer cannot be used.
    """
    first_request = requests[0]
    body, preprocessing, file, last, lock, loaded_weights = backbone or build_backbone(first_request)
    taps = [Tap(last if request.tap == "last" else request.tap, request.pool, request.join) for request in requests]
    for tap in taps:
        if empty_names := [name for name in loaded_weights.unloaded if name.startswith(f"{tap.layer}.")]:
            raise WeightsError(
                f"weights {file} have no values for {empty_names[0]!r} of layer {tap.layer!r}; name another layer"
            )
        if tap.pool == "cls" and not has_class_token(body):
            raise DataError(f"pool = 'cls' takes the class token, {first_request.backbone} has none; set pool = 'avg'")
    # Threads share the body. While one computes the shapes of outputs, its tensors are on the device "meta".
    with lock:
        network = FeatureNetwork(body, preprocessing, taps, lock).eval().to(memory_format=torch.channels_last)
        outputs = _compute_meta_outputs(network, first_request.backbone)
        sha256 = sha256_of_state(body) if file is None else sha256_of_weights(file)
    specs = tuple(
        EmbeddingSpec(
            backbone=first_request.backbone,
            weights_sha256=sha256,
            tap=tap.layer,
            pool=tap.pool,
            preprocessing=preprocessing,
            decoding=first_request.decoding,
            dtype=request.dtype,
            join=tap.join,
        )
        for tap, request in zip(taps, requests, strict=True)
    )
    state = None if file is None else file_state(file)
    return ResolvedNetwork(network, specs, tuple(output.shape[1] for output in outputs), state, loaded_weights.note)


def _compute_meta_outputs(network: FeatureNetwork, name: str) -> list[Tensor]:
    """Return outputs with the shapes for two images, and without values."""
    side = network.preprocessing.canvas_px
    try:
        outputs: list[Tensor] = run_for_shapes(network, torch.empty(2, side, side, 3, dtype=torch.uint8, device="meta"))
    except FeatxError:
        raise
    # A network fails with any exception if it does not take the size.
    except Exception as error:
        raise _size_error(name, network.preprocessing, error) from error
    return outputs


def weights_path(plan: Backbone, weights: str) -> Path | None:
    """Return the file that a recipe's ``weights`` means; None for random weights.

    Raises
    ------
    WeightsError
        If the file is not available.
    """
    if weights == "none":
        return None
    if weights == "default":
        return plan.weights.ensure_available()
    if not Path(weights).is_file():
        raise WeightsError(f"weights {weights!r}: no such file; expected a state dict or safetensors of {plan.name}")
    return Path(weights)
