"""A model split in two parts gives the outputs of the whole model, in their order."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from featx.embeddings.cuts import LAYERS, find_cuts, split_model
from featx.embeddings.runtimes import Execution, OpenVinoRunner, PortableNetwork, is_native
from featx.errors import DeviceError
from featx.networks.features import FeatureNetwork, Tap
from featx.specs.embedding import Preprocessing, ReducedPrecision

ROWS, SIDE = 4, 12
SIZE = Preprocessing(size_px=SIDE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
needs_bf16 = pytest.mark.skipif(not is_native("bf16"), reason="this CPU does not multiply bf16 by itself")
needs_fp16 = pytest.mark.skipif(not is_native("fp16"), reason="this CPU does not multiply fp16 by itself")


class Branched(nn.Module):
    """A convolution, two around which the input goes past, and two that meet another one of the same input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.inside = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
        self.between = nn.Conv2d(8, 6, 1)
        self.left = nn.Sequential(nn.Conv2d(6, 5, 1), nn.ReLU(), nn.Conv2d(5, 5, 1))
        self.right = nn.Conv2d(6, 5, 1)
        self.head = nn.Conv2d(5, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.inside(x))
        x = torch.relu(self.between(x))
        x = torch.relu(self.left(x) + self.right(x))
        out: Tensor = self.head(x)
        return out


def chain() -> nn.Module:
    widths = (3, 8, 8, 6, 4)
    layers = [nn.Sequential(nn.Conv2d(a, b, 3), nn.ReLU()) for a, b in pairwise(widths)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * (SIDE - 8) ** 2, 3))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], list[Tap]]] = {
    "chain": (chain, [Tap("5", "avg")]),
    "branched": (Branched, [Tap("head", "avg")]),
    "early last": (chain, [Tap("3", "avg"), Tap("0", "avg")]),
    "early first": (chain, [Tap("1", "max"), Tap("3", "gem"), Tap("5", "avg"), Tap("0", "avg")]),
    "inside a branch": (Branched, [Tap("inside.0", "avg"), Tap("head", "avgmax")]),
}
for_each_network = pytest.mark.parametrize("name", NETWORKS)


@cache
def portable(name: str) -> PortableNetwork:
    """Make a network of random values, the same ones each time."""
    build, taps = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return PortableNetwork(FeatureNetwork(build(), SIZE, taps), SIDE)


def model(name: str) -> Any:
    """Read a network as an OpenVINO model, a new one each time: to cut one changes it."""
    import openvino

    return openvino.Core().read_model(portable(name).as_onnx(ROWS))


def pictures(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (ROWS, SIDE, SIDE, 3), dtype=np.uint8)


def run(part: Any, values: np.ndarray) -> list[np.ndarray]:
    """Compute an OpenVINO model's outputs in fp32."""
    import openvino

    request = openvino.Core().compile_model(part, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    request.infer([values])
    return [np.array(tensor.data) for tensor in request.output_tensors]


def merge_outputs(front: list[np.ndarray], back: list[np.ndarray], front_numbers: list[int]) -> list[np.ndarray]:
    """Return the whole's outputs out of its parts'; the front's first one is what goes from part to part."""
    back_outputs = iter(back)
    front_outputs = dict(zip(front_numbers, front[1:], strict=True))
    return [
        front_outputs[number] if number in front_outputs else next(back_outputs)
        for number in range(len(front) - 1 + len(back))
    ]


def names_before(cut_model: Any, node: str) -> set[str]:
    """Return what a node depends on, itself included."""
    nodes = {node_object.get_friendly_name(): node_object for node_object in cut_model.get_ordered_ops()}
    names, todo = set(), [node]
    while todo:
        name = todo.pop()
        if name not in names:
            names.add(name)
            todo += [port.get_source_output().get_node().get_friendly_name() for port in nodes[name].inputs()]
    return names


@for_each_network
def test_both_parts_of_a_split_model_give_its_outputs(name: str) -> None:
    expected_outputs, pixels = run(model(name), pictures()), pictures()
    all_cuts = find_cuts(model(name))
    assert all_cuts
    for cut in all_cuts:
        front, back, front_numbers = split_model(model(name), model(name), cut)

        handed_on = run(front, pixels)
        outputs = merge_outputs(handed_on, run(back, handed_on[0]), front_numbers)

        assert [x.shape for x in outputs] == [x.shape for x in expected_outputs]
        for ours, theirs in zip(outputs, expected_outputs, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@for_each_network
def test_the_front_has_the_layers_before_the_cut(name: str) -> None:
    n_layers = [cut.n_layers for cut in find_cuts(model(name))]
    n_all = sum(node.get_type_name() in LAYERS for node in model(name).get_ordered_ops())

    assert n_layers == sorted(set(n_layers))
    assert all(0 < n < n_all for n in n_layers)
    for cut in find_cuts(model(name)):
        front, back, _ = split_model(model(name), model(name), cut)
        in_parts = [sum(node.get_type_name() in LAYERS for node in part.get_ordered_ops()) for part in (front, back)]
        assert in_parts == [cut.n_layers, n_all - cut.n_layers]


def test_a_chain_can_be_split_behind_each_layer_but_the_last() -> None:
    assert [cut.n_layers for cut in find_cuts(model("chain"))] == [1, 2, 3, 4]


def test_no_cut_lies_inside_a_branch() -> None:
    # layers 2 and 3 lie in the residual branch; 5, 6 and 7 in the two that meet
    assert [cut.n_layers for cut in find_cuts(model("branched"))] == [1, 3, 4, 7]


@for_each_network
def test_all_that_depends_on_the_front_goes_through_the_cut(name: str) -> None:
    whole_model = model(name)
    (start,) = (node.get_friendly_name() for node in whole_model.get_parameters())
    nodes = {node.get_friendly_name(): node for node in whole_model.get_ordered_ops()}
    for cut in find_cuts(whole_model):
        assert cut.node not in cut.later_nodes
        assert start not in cut.later_nodes
        for node_name in cut.later_nodes:
            sources = {node.get_source_output().get_node().get_friendly_name() for node in nodes[node_name].inputs()}
            bypassing_nodes = {
                node for node in sources - cut.later_nodes - {cut.node} if start in names_before(whole_model, node)
            }
            assert not bypassing_nodes, f"{node_name} takes {bypassing_nodes}, which do not go through {cut.node}"


def test_a_cut_lies_where_the_tensor_is_smallest() -> None:
    seams = [
        split_model(model("chain"), model("chain"), cut)[1].inputs[0].get_shape() for cut in find_cuts(model("chain"))
    ]

    widths, sides = (8, 8, 6, 4), (SIDE - 2, SIDE - 4, SIDE - 6, SIDE - 8)
    sizes = [ROWS * c * side * side for c, side in zip(widths, sides, strict=True)]
    assert [int(np.prod(list(seam))) for seam in seams] == sizes


@needs_bf16
@for_each_network
def test_a_split_runner_gives_all_outputs_in_order(name: str) -> None:
    expected_outputs = portable(name).build_runner(Execution("torch", "cpu"), ROWS)(pictures())
    for cut in find_cuts(model(name)):
        runner = OpenVinoRunner(portable(name).as_onnx(ROWS), ROWS, reduced(cut.n_layers))

        outputs = runner(pictures())

        assert runner.provenance["precision"] == f"bf16 by openvino on cpu, its first {cut.n_layers} layers fp32"
        assert [x.shape for x in outputs] == [x.shape for x in expected_outputs]
        for ours, theirs in zip(outputs, expected_outputs, strict=True):
            assert (ours.dtype, np.isfinite(ours).all()) == (np.float32, True)
            assert min_cosine(ours, theirs) >= 0.999


def reduced(first_layers: int, first_dtype: str = "fp32") -> ReducedPrecision:
    """Return bf16 by OpenVINO with its first layers in a higher precision."""
    settings = {"dtype": "bf16", "runtime": "openvino", "device": "cpu", "first_dtype": first_dtype}
    return ReducedPrecision.model_validate(settings | {"first_layers": first_layers})


def min_cosine(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x.astype(np.float64), y.astype(np.float64)
    return float(((x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)).min())


@needs_bf16
def test_only_outputs_of_the_front_are_exact() -> None:
    body = portable("early last")
    fp32_outputs = OpenVinoRunner(body.as_onnx(ROWS), ROWS, "fp32")(pictures())

    late_output, early_output = OpenVinoRunner(body.as_onnx(ROWS), ROWS, reduced(2))(pictures())

    np.testing.assert_allclose(early_output, fp32_outputs[1], rtol=1e-5, atol=1e-6)
    assert np.abs(late_output - fp32_outputs[0]).max() > 1e-5


@needs_bf16
@needs_fp16
def test_the_front_may_compute_in_fp16() -> None:
    body = portable("branched")
    fp32_outputs = OpenVinoRunner(body.as_onnx(ROWS), ROWS, "fp32")(pictures())

    runner = OpenVinoRunner(body.as_onnx(ROWS), ROWS, reduced(3, "fp16"))

    assert runner.provenance["precision"] == "bf16 by openvino on cpu, its first 3 layers fp16"
    assert min_cosine(runner(pictures())[0], fp32_outputs[0]) >= 0.999


@needs_bf16
def test_a_split_runner_can_be_called_by_several_threads() -> None:
    runner = OpenVinoRunner(portable("early first").as_onnx(ROWS), ROWS, reduced(2))
    serial_outputs = [runner(pictures(seed)) for seed in range(12)]

    with ThreadPoolExecutor(4) as threads:
        threaded_outputs = list(threads.map(runner, map(pictures, range(12))))

    for ours, theirs in zip(threaded_outputs, serial_outputs, strict=True):
        assert [x.tobytes() for x in ours] == [x.tobytes() for x in theirs]


@needs_bf16
@pytest.mark.parametrize("first_layers", [2, 5, 99])
def test_an_impossible_cut_is_an_error(first_layers: int) -> None:
    with pytest.raises(DeviceError, match=f"^the network cannot be split behind its first {first_layers} layers$"):
        OpenVinoRunner(portable("branched").as_onnx(ROWS), ROWS, reduced(first_layers))
