"""Pretrained weights as files: found, fetched or asked for; never replaced by random ones."""

import hashlib
import os
import shutil
import urllib.request
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from featx.errors import WeightsError
from featx.files.atomic import file_state, sha256_of, whole_file

FETCH_TIMEOUT_S = 20
State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class WeightsFile:
    """One file of pretrained weights, at hand or not.

    Attributes
    ----------
    path
        Where it is, or where it should be.
    sha256
        How its SHA-256 begins (hex digits); empty where nobody published it.
    url
        Where to fetch it from; None where a Python package brings it.
    remedy
        What a user can do who does not have it.
    """

    path: Path
    sha256: str
    url: str | None
    remedy: str

    @property
    def at_hand(self) -> bool:
        """Whether it can be loaded without a download."""
        return self.path.is_file()

    def have(self) -> Path:
        """Return the file's path, after a download where it is needed and can be had.

        Raises
        ------
        WeightsError
            it cannot be had, or is another file; names it, its sha256 and the folder.
        """
        if not self.at_hand and self.url is not None and os.environ.get("FEATX_OFFLINE", "0") == "0":
            self._fetch(self.url)
        if not self.at_hand:
            raise WeightsError(self._wanted("not found"))
        self._check(self.path, "found another file there")
        return self.path

    def _check(self, path: Path, otherwise: str) -> None:
        if not (found := sha256_of_weights(path)).startswith(self.sha256):
            raise WeightsError(self._wanted(f"{otherwise} (its sha256 begins {found[:8]})"))

    def _fetch(self, url: str) -> None:
        with whole_file(self.path) as private:
            try:
                with urllib.request.urlopen(url, timeout=FETCH_TIMEOUT_S) as answer, private.open("wb") as file:
                    shutil.copyfileobj(answer, file)
            except OSError as error:
                raise WeightsError(self._wanted(f"not found, and {url} cannot be fetched ({error})")) from error
            self._check(private, f"{url} gave another file")

    def _wanted(self, found: str) -> str:
        digest = f"sha256 beginning {self.sha256}" if self.sha256 else "sha256 not published"
        return f"weights {self.path.name} ({digest}): {found}; expected in {self.path.parent}; {self.remedy}"


def find_weights(file: str, sha256: str, folders: Sequence[Path]) -> Path:
    """Return the file that a model's header names by its name and SHA-256, on this machine.

    Parameters
    ----------
    file
        Its name, or a path where it may lie.
    sha256
        64 hex digits of its content.
    folders
        Where else to look, beside the folders of ``$FEATX_WEIGHTS`` and the one in which torchvision keeps weights.

    Raises
    ------
    WeightsError
        no file of this name and content is there; names the folders.

    Notes
    -----
    Only files of this name are read.
    """
    path = Path(file)
    stated = [Path(one) for one in os.environ.get("FEATX_WEIGHTS", "").split(os.pathsep) if one]
    places = list(dict.fromkeys(one.absolute() for one in (path.parent, *stated, *folders, hub_folder())))
    files = [place / path.name for place in places if (place / path.name).is_file()]
    for candidate in files:
        if sha256_of_weights(candidate) == sha256:
            return candidate
    others = f" (another file of this name is {files[0]})" if files else ""
    raise WeightsError(
        f"weights {path.name} (sha256 {sha256}): not found{others}; looked in {', '.join(map(str, places))}; put the "
        "file into one of them, or its folder into $FEATX_WEIGHTS"
    )


def sha256_of_weights(path: Path) -> str:
    """64 hex digits of a weights file; it is read once a process while its size and time stay."""
    return _sha256_of(path, file_state(path))


@lru_cache(256)
def _sha256_of(path: Path, _state: tuple[str, int, int] | None) -> str:
    return sha256_of(path)


def read_state(path: Path) -> State:
    """Return the tensors of a safetensors file or of a state dict saved by torch (no code is run).

    Raises
    ------
    WeightsError
        it is neither.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken file does to the two loaders
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(f"weights {path} cannot be read ({reason}); expected a state dict or safetensors") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"weights {path} hold {type(state).__name__}; expected a state dict of tensors")
    return state


def load_state(network: nn.Module, state: State, origin: str) -> None:
    """Fill `network`: by name, or in order where names differ and all shapes and last name parts agree one to one.

    Raises
    ------
    WeightsError
        the tensors are not those of this network.
    """
    ours = _counted_tensors(network.state_dict())
    theirs = _counted_tensors(state)
    if set(ours) != set(theirs):
        if _outline(ours) != _outline(theirs):
            lacking = [name for name in ours if name not in theirs]
            raise WeightsError(
                f"weights {origin} are of another network: {len(theirs)} tensors, expected {len(ours)}"
                + (f", first one missing {lacking[0]!r}" if lacking else "")
            )
        theirs = dict(zip(ours, theirs.values(), strict=True))
    try:
        network.load_state_dict(OrderedDict(theirs), strict=False)  # the batch counters are left as they are
    except RuntimeError as error:
        raise WeightsError(f"weights {origin} are of another network: {str(error).splitlines()[-1].strip()}") from error


def _outline(tensors: Mapping[str, torch.Tensor]) -> list[tuple[str, torch.Size]]:
    """Return what must agree, in order: ``weight``, ``bias``, ``running_mean`` … and shapes."""
    return [(name.rpartition(".")[2], tensor.shape) for name, tensor in tensors.items()]


def _counted_tensors(state: State) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}


def sha256_of_state(network: nn.Module) -> str:
    """64 hex digits of a network's values: what identifies random weights."""
    content = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        content.update(name.encode())
        content.update(tensor.cpu().contiguous().numpy().tobytes())
    return content.hexdigest()


def hub_folder() -> Path:
    """Return where torchvision keeps its weights."""
    return Path(torch.hub.get_dir()) / "checkpoints"
