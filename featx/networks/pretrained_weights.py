"""Files of pretrained weights, which are found or downloaded, and never replaced by random weights."""

import hashlib
import os
import pickle
import shutil
import urllib.request
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featx.errors import WeightsError
from featx.files.atomic import atomic_file, file_sha256, file_state

FETCH_TIMEOUT_S = 20
State = Mapping[str, torch.Tensor]
# Keys under which training scripts store a state dict inside a checkpoint.
STATE_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network")


@dataclass(frozen=True)
class WeightsFile:
    """A file of pretrained weights, which may have to be downloaded.

    Attributes
    ----------
    path
        Path of the file, or the path where it is expected.
    sha256
        First hex digits of its SHA-256; empty if no checksum is published.
    url
        URL of the file; None if a Python package contains it.
    next_step
        Instruction for users who do not have the file.
    """

    path: Path
    sha256: str
    url: str | None
    next_step: str

    @property
    def is_available(self) -> bool:
        """Whether the file can be loaded without a download."""
        return self.path.is_file()

    def ensure_available(self) -> Path:
        """Return the file's path, after a download if that is needed and allowed.

        Raises
        ------
        WeightsError
            If the file is not available, or has another checksum; the message names it, its sha256 and the folder.
        """
        if not self.is_available and self.url is not None and os.environ.get("FEATX_OFFLINE", "0") == "0":
            self._fetch(self.url)
        if not self.is_available:
            raise WeightsError(self._problem("not found"))
        self._check(self.path, "found another file there")
        return self.path

    def _check(self, path: Path, mismatch: str) -> None:
        """Check the file's SHA-256, or raise an error that begins with `mismatch`."""
        sha256 = sha256_of_weights(path)
        if not sha256.startswith(self.sha256):
            raise WeightsError(self._problem(f"{mismatch} (its sha256 begins {sha256[:8]})"))

    def _fetch(self, url: str) -> None:
        with atomic_file(self.path) as private:
            try:
                with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as response, private.open("wb") as file:
                    shutil.copyfileobj(response, file)
            except (OSError, HTTPException) as error:
                raise WeightsError(self._problem(f"not found, and {url} cannot be downloaded ({error})")) from error
            # A connection that ends early is no error of urllib.
            n_bytes, stated_bytes = private.stat().st_size, response.headers.get("Content-Length")
            if stated_bytes is not None and str(n_bytes) != stated_bytes.strip():
                raise WeightsError(
                    self._problem(
                        f"not found, and the download of {url} ended after {n_bytes} of {stated_bytes} bytes; run the "
                        "command again"
                    )
                )
            self._check(private, f"{url} returned another file")

    def _problem(self, problem: str) -> str:
        """Return an error message with the file, its checksum, its folder and the next step."""
        digest = f"sha256 beginning {self.sha256}" if self.sha256 else "sha256 not published"
        return f"weights {self.path.name} ({digest}): {problem}; expected in {self.path.parent}; {self.next_step}"


def find_weights(file: str, sha256: str, folders: Sequence[Path]) -> Path:
    """Return the file on this machine that has the name and SHA-256 from a model's header.

    Parameters
    ----------
    file
        Name of the file, or its path on the machine that wrote the header.
    sha256
        SHA-256 of its content, 64 hex digits.
    folders
        Folders to search beside those of ``$FEATX_WEIGHTS`` and torchvision's folder of weights.

    Raises
    ------
    WeightsError
        If there is no file of this name and content; the message names the folders.

    Notes
    -----
    Only files of this name are read.
    """
    path = Path(file)
    env_folders = [Path(folder) for folder in os.environ.get("FEATX_WEIGHTS", "").split(os.pathsep) if folder]
    all_folders = [path.parent, *env_folders, *folders, hub_folder()]
    searched_folders = list(dict.fromkeys(folder.absolute() for folder in all_folders))
    files = [folder / path.name for folder in searched_folders if (folder / path.name).is_file()]
    for candidate in files:
        if sha256_of_weights(candidate) == sha256:
            return candidate
    other_file = f" (another file of this name is {files[0]})" if files else ""
    raise WeightsError(
        f"weights {path.name} (sha256 {sha256}): not found{other_file}; looked in "
        f"{', '.join(map(str, searched_folders))}; put the file into one of them, or add its folder to $FEATX_WEIGHTS"
    )


def sha256_of_weights(path: Path) -> str:
    """Return the SHA-256 of a weights file, which is read once per process unless its size or time changes."""
    return _sha256_of(path, file_state(path))


@lru_cache(256)
def _sha256_of(path: Path, _state: tuple[str, int, int] | None) -> str:
    return file_sha256(path)


def read_state(path: Path) -> State:
    """Return the tensors of a safetensors file, or of a state dict or checkpoint saved by torch (no code is run).

    Raises
    ------
    WeightsError
        If the file is neither.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = _unwrapped_state(torch.load(path, map_location="cpu", weights_only=True))
    # The two loaders fail with any exception on a broken file.
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise WeightsError(
                f"weights {path} hold pickled objects, which run code when they are loaded; load them where you trust "
                "them, and save torch.save(network.state_dict(), 'weights.pth')"
            ) from error
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(
            f"weights {path} cannot be read ({reason}); expected a state dict or safetensors; if featx downloaded the "
            "file, remove it and run the command again"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"weights {path} hold {type(state).__name__}; expected a state dict of tensors")
    return state


def _unwrapped_state(content: Any) -> Any:
    """Return the state dict inside a checkpoint, or the content itself if it is none.

    Checkpoints of Lightning, timm and most training scripts hold it under ``state_dict``, ``model`` or a similar key,
    beside the number of epochs and the state of the optimiser.
    """
    if isinstance(content, Mapping):
        for key in STATE_KEYS:
            inner_state = content.get(key)
            if (
                isinstance(inner_state, Mapping)
                and inner_state
                and all(isinstance(tensor, torch.Tensor) for tensor in inner_state.values())
            ):
                return inner_state
    return content


def load_state(network: nn.Module, state: State, origin: str) -> None:
    """Load weights into `network` by name, or in order if names differ but all shapes and last parts of names agree.

    Raises
    ------
    WeightsError
        If the tensors do not fit this network.
    """
    own_tensors = without_batch_counters(network.state_dict())
    file_tensors = without_batch_counters(state)
    if set(own_tensors) != set(file_tensors):
        if _names_and_shapes(own_tensors) != _names_and_shapes(file_tensors):
            missing_names = [name for name in own_tensors if name not in file_tensors]
            raise WeightsError(
                f"weights {origin} are of another network: {len(file_tensors)} tensors, expected {len(own_tensors)}"
                + (f", first one missing {missing_names[0]!r}" if missing_names else "")
            )
        file_tensors = dict(zip(own_tensors, file_tensors.values(), strict=True))
    try:
        # The batch counters of BatchNorm are not loaded.
        network.load_state_dict(OrderedDict(file_tensors), strict=False)
    except RuntimeError as error:
        raise WeightsError(f"weights {origin} are of another network: {str(error).splitlines()[-1].strip()}") from error


def _names_and_shapes(tensors: Mapping[str, torch.Tensor]) -> list[tuple[str, torch.Size]]:
    """Return the last part of each name (``weight``, ``bias``, ``running_mean`` …) and the shape, in order."""
    return [(name.rpartition(".")[2], tensor.shape) for name, tensor in tensors.items()]


def same_tensors(network_tensors: State, tensors: State) -> bool:
    """Return whether two state dicts have the same names, or the same shapes and last parts of names in order."""
    return set(network_tensors) == set(tensors) or _names_and_shapes(network_tensors) == _names_and_shapes(tensors)


def without_batch_counters(state: State) -> dict[str, torch.Tensor]:
    """Return a state dict without the batch counters of BatchNorm, which are not loaded."""
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def sha256_of_state(network: nn.Module) -> str:
    """Return the SHA-256 of a network's values, which identifies random weights."""
    content = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        content.update(name.encode())
        content.update(tensor.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()


def hub_folder() -> Path:
    """Return the folder in which torchvision stores weights."""
    return Path(torch.hub.get_dir()) / "checkpoints"
