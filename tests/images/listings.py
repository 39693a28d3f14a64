"""Sources of small pictures, and what their readers list or refuse."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.errors import DataError
from featx.images.init import recognise
from featx.images.readers import Listing, read_source

NOISE = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
NAMES = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(3)]


def png(number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(NOISE[number]).save(stream, "PNG")
    return stream.getvalue()


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def pictures() -> dict[str, bytes]:
    return {name: png(number) for number, name in enumerate(NAMES)}


def drawn(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(number % 6))


def listed(source: Path, labels: Path | None = None, **data: object) -> Listing:
    """Return the listing of a source, read as it is recognised."""
    spec = recognise(str(source), None if labels is None else str(labels))
    return read_source(spec.model_copy(update=data), Path())


def refused(source: Path) -> str:
    """Return the error message of a source, which is one line."""
    with pytest.raises(DataError, match=r"\A[^\n]+\Z") as error_info:
        listed(source)
    return str(error_info.value)
