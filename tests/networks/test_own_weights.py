"""Weights of users: the trunk is matched by name and shape, and what was not loaded is stated."""

from pathlib import Path

import pytest
import torch

from featx.errors import DataError, WeightsError
from featx.networks.backbones import get_backbone
from featx.networks.features import build_backbone, resolve_network
from featx.specs.embedding import EmbeddingRequest

State = dict[str, torch.Tensor]


def trained(name: str = "timm:test_resnet") -> State:
    """Return the tensors of a network."""
    torch.manual_seed(3)
    return dict(get_backbone(name).build().state_dict())


def without_classifier(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def other_classifier(state: State) -> State:
    return without_classifier(state) | {"fc.weight": torch.ones(7, 3), "fc.bias": torch.ones(7)}


def request(file: Path, **fields: object) -> EmbeddingRequest:
    base = {"backbone": "timm:test_resnet", "weights": str(file), "precision": "fp32"}
    return EmbeddingRequest.model_validate(base | fields)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "backbone.net."])
@pytest.mark.parametrize("change", [dict, without_classifier, other_classifier])
def test_the_trunk_is_loaded_whatever_the_classifier_and_the_prefix(
    change: object, prefix: str, tmp_path: Path
) -> None:
    state = trained()
    assert callable(change)
    renamed_state = {f"{prefix}{name}": value for name, value in change(state).items()}
    torch.save({"state_dict": renamed_state | {"criterion.weight": torch.ones(2)}, "epoch": 1}, tmp_path / "own.ckpt")
    backbone = build_backbone(request(tmp_path / "own.ckpt"))
    loaded_state = backbone.body.state_dict()
    for name, value in without_classifier(state).items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(loaded_state[name], value, rtol=0, atol=0)
    note = backbone.loaded.note
    assert note.startswith("weights own.ckpt: ")
    assert "tensors of the trunk are loaded" in note
    assert (f"the prefix {prefix!r} was removed" in note) == bool(prefix)
    assert ("not loaded, of the network's classifier: fc.weight, fc.bias" in note) == (change is not dict)
    assert "criterion.weight" in note
    assert backbone.loaded.unloaded == (frozenset() if change is dict else {"fc.weight", "fc.bias"})


def test_layers_without_values_cannot_be_read(tmp_path: Path) -> None:
    torch.save(without_classifier(trained()), tmp_path / "own.pth")
    assert "fc.weight" in resolve_network([request(tmp_path / "own.pth")]).weights_note
    with pytest.raises(WeightsError, match=r"have no values for 'fc\.(weight|bias)' of layer 'fc'; name another layer"):
        resolve_network([request(tmp_path / "own.pth", tap="fc")])


def test_a_trunk_that_does_not_match_is_refused(tmp_path: Path) -> None:
    state = trained()
    first = next(iter(state))
    torch.save({name: value for name, value in state.items() if name != first}, tmp_path / "own.pth")
    with pytest.raises(WeightsError, match=rf"are of another network: \d+ of \d+ tensors .*without a match: {first}$"):
        build_backbone(request(tmp_path / "own.pth"))
    torch.save({"a.weight": torch.ones(3)}, tmp_path / "own.pth")
    with pytest.raises(WeightsError, match=r"are of another network: 0 of \d+ tensors of the trunk .* and \d+ more$"):
        build_backbone(request(tmp_path / "own.pth"))


def test_the_class_token_is_a_pooling_of_vision_transformers() -> None:
    vit = EmbeddingRequest(backbone="timm:test_vit", weights="none", size_px=32, precision="fp32", pool="cls")
    pixels = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    backbone = build_backbone(vit)
    with torch.inference_mode():
        (x,) = resolve_network([vit], backbone).network(pixels)
        (tokens,) = resolve_network([vit.model_copy(update={"pool": "flatten"})], backbone).network(pixels)
    torch.testing.assert_close(x, tokens.view(2, x.shape[1], -1)[..., 0], rtol=0, atol=0)
    with pytest.raises(DataError, match="pool = 'cls' takes the class token, timm:test_resnet has none; set pool ="):
        resolve_network([vit.model_copy(update={"backbone": "timm:test_resnet"})])
    with pytest.raises(DataError, match="pool = 'cls' takes the class token, layer 'patch_embed.proj' gives no tokens"):
        resolve_network([vit.model_copy(update={"tap": "patch_embed.proj"})])
