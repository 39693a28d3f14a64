"""Mutate files of every kind that featx reads, and check that each gives a result or an error of one line."""

import gzip
import io
import json
import random
import signal
import tarfile
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from PIL import Image

import featx
from featx.errors import FeatxError
from featx.files.seals import add_seal
from featx.images.decode import decode
from featx.images.init import init
from featx.images.readers import read_source
from featx.images.sources import read_content
from featx.specs.recipe import load_recipe
from featx.tables.encoding import encode_target
from tests.image_files import encode

# A longer use counts as a hang.
MAX_S = 60
N_IMAGES = 6
RECIPE = Path("recipe.toml")
INVALID_VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    2**70,
    1.5,
    1e300,
    "",
    "..",
    "../x",
    "\x1b[31m",
    "x" * 5000,
    [],
    {},
    [[]],
]
Files = Mapping[str, bytes]
Mutate = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes
    ----------
    files
        Path below the working directory → content; for each mutation one of them is changed.
    use
        Function that reads the files like a command.
    mutate
        Function that changes a file's content.
    """

    files: Files
    use: Callable[[], object]
    mutate: Mutate


@dataclass
class Outcomes:
    """Outcomes of mutations.

    Attributes
    ----------
    counts
        Number of mutations by outcome: ``read`` or ``one line``.
    failures
        Descriptions of mutations that gave a traceback, a hang or a message of several lines.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return content with a few bytes changed, removed or repeated."""
    mutant = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        position = rng.randrange(max(1, len(mutant)))
        match rng.randrange(4):
            case 0:
                mutant[position : position + 1] = bytes([rng.randrange(256)])
            case 1:
                del mutant[position : position + rng.randint(1, 40)]
            case 2:
                mutant[position:position] = mutant[position : position + rng.randint(1, 40)]
            case _:
                mutant[position : position + 1] = bytes([mutant[position] ^ (1 << rng.randrange(8))]) if mutant else b""
    return bytes(mutant)


def mutate_sealed(content: bytes, rng: random.Random) -> bytes:
    """Return a sealed JSON file with one invalid value and a valid seal."""
    fields = json.loads(content)
    place: Any = fields
    while True:
        key = rng.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if not (isinstance(place[key], dict | list) and place[key] and rng.random() < 0.8):
            break
        place = place[key]
    place[key] = rng.choice(INVALID_VALUES)
    return json.dumps(add_seal(fields)).encode()


def fuzz(kind: Kind, n: int, seed: int) -> Outcomes:
    """Use `n` mutations of a kind of input in the working directory."""
    rng, outcomes = random.Random(seed), Outcomes()
    for name, content in kind.files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    kind.use()
    for number in range(n):
        name = rng.choice(list(kind.files))
        _replace(name, kind.mutate(kind.files[name], rng))
        try:
            with _time_limit(MAX_S):
                kind.use()
            outcomes.counts["read"] += 1
        except (FeatxError, OSError, MemoryError) as error:
            outcomes.counts["one line"] += 1
            if len(str(error).splitlines()) > 1:
                outcomes.failures.append(f"{number}, {name}: several lines: {str(error)[:200]!r}")
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            outcomes.failures.append(
                f"{number}, {name}: {type(error).__name__} {error} in {place.filename}:{place.lineno}"
            )
        _replace(name, kind.files[name])
    return outcomes


def _replace(name: str, content: bytes) -> None:
    """Write a new file, because the HDF5 library caches files that are written to."""
    Path(name).unlink()
    Path(name).write_bytes(content)


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise RuntimeError(f"it took longer than {seconds} s")

    previous_handler = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous_handler)


def kinds(home: Path) -> dict[str, Kind]:
    """Return all kinds; `home` is the working directory, in which a study is made for the artifacts."""
    recipes = sorted((Path(__file__).parents[1] / "pipelines").glob("*.toml"))
    all_kinds = {
        "recipe": Kind(
            {f"recipes/{file.name}": file.read_bytes() for file in recipes},
            lambda: [load_recipe(f"recipes/{file.name}") for file in recipes],
            mutate_bytes,
        ),
        "image": Kind(_pictures(), _decode_all, mutate_bytes),
    }
    for name, content in _tables().items():
        all_kinds[name] = Kind(
            {f"tables/{name}": content}, lambda name=name: _use_labels(f"tables/{name}"), mutate_bytes
        )  # type: ignore[misc]
    for name, content in _archives().items():
        all_kinds[name] = Kind({name: content}, lambda name=name: _use_source(name), mutate_bytes)  # type: ignore[misc]
    for source, files in _arrays().items():
        all_kinds[source] = Kind(files, lambda source=source: _use_source(source), mutate_bytes)  # type: ignore[misc]
    return all_kinds | _artifacts(home)


def _images() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (N_IMAGES, 12, 10, 3), dtype=np.uint8)
    return {f"{'ab'[row % 2]}/{row}.png": encode(Image.fromarray(values)) for row, values in enumerate(pixels)}


def _pictures() -> dict[str, bytes]:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    formats = {"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "gif": "GIF", "webp": "WEBP", "bmp": "BMP"}
    return {f"pictures/0.{ending}": encode(image, name) for ending, name in formats.items()}


def _decode_all() -> None:
    for file in Path("pictures").iterdir():
        decode(read_content(str(file)))


def _tables() -> dict[str, bytes]:
    frame = pd.DataFrame({"path": list(_images()), "y": list("ab") * 3, "z": np.arange(6) / 3, "part": "train"})
    parquet = io.BytesIO()
    frame.to_parquet(parquet)
    return {
        "labels.csv": frame.to_csv(index=False).encode(),
        "labels.tsv": frame.to_csv(index=False, sep="\t").encode(),
        "labels.parquet": parquet.getvalue(),
    }


def _use_labels(table: str) -> None:
    for name, content in _images().items():
        if not (file := Path("images", name)).is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    init("images", labels=str(Path(table).absolute()), recipe=str(RECIPE), force=True)
    _read_recipe()


def _use_source(source: str) -> None:
    init(source, recipe=str(RECIPE), force=True)
    _read_recipe()


def _read_recipe() -> None:
    recipe = load_recipe(RECIPE)
    manifest = read_source(recipe.data, recipe.folder).manifest
    for name, target in recipe.targets.items():
        encode_target(manifest, name, target)
    for uri in manifest.uris[:3]:
        decode(read_content(uri))


def _archives() -> dict[str, bytes]:
    archives = {}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _images().items():
            archive.writestr(name, content)
    archives["images.zip"] = file.getvalue()
    for ending, mode in {"tar": "w", "tar.gz": "w:gz", "tar.xz": "w:xz"}.items():
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
            for name, content in _images().items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        archives[f"images.{ending}"] = file.getvalue()
    return archives


def _arrays() -> dict[str, Files]:
    """Return sources and the files of each."""
    images = np.random.default_rng(0).integers(0, 256, (N_IMAGES, 8, 8, 3), dtype=np.uint8)
    y = np.arange(N_IMAGES) % 2
    npz, x_npy, y_npy, h5 = io.BytesIO(), io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.savez_compressed(npz, x_train=images, y_train=y)
    np.save(x_npy, images)
    np.save(y_npy, y)
    with h5py.File(h5, "w") as file:
        file.create_dataset("x", data=images, compression="gzip")
        file.create_dataset("y", data=y)
    x_idx = bytes([0, 0, 8, 3, 0, 0, 0, N_IMAGES, 0, 0, 0, 8, 0, 0, 0, 8]) + images[..., 0].tobytes()
    y_idx = bytes([0, 0, 8, 1, 0, 0, 0, N_IMAGES]) + y.astype(np.uint8).tobytes()
    return {
        "data.npz": {"data.npz": npz.getvalue()},
        "npy": {"npy/x.npy": x_npy.getvalue(), "npy/y.npy": y_npy.getvalue()},
        "data.h5": {"data.h5": h5.getvalue()},
        "idx": {"idx/train-images-idx3-ubyte": x_idx, "idx/train-labels-idx1-ubyte": y_idx},
        "idx.gz": {
            "idx.gz/train-images-idx3-ubyte.gz": gzip.compress(x_idx),
            "idx.gz/train-labels-idx1-ubyte.gz": gzip.compress(y_idx),
        },
    }


def _artifacts(home: Path) -> dict[str, Kind]:
    """Make a head and an ensemble, and return kinds of their files."""
    for name, content in _images().items():
        for copy in range(8):
            file = home / "study" / name.replace(".png", f"-{copy}.png")
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.asarray(Image.open(io.BytesIO(content))).copy()
            pixels[0, :copy] = 255 * (name[0] == "b")
            Image.fromarray(pixels).save(file)
    embedding = '[[embedding]]\nbackbone = "toy"\nweights = "none"\n'
    (home / "study.toml").write_text(f'[data]\nsource = "study"\n[targets.class]\ncolumn = "class"\n{embedding}')
    featx.extract("study.toml")
    (head,) = featx.fit("study.toml", heads=["logreg"], trials=1)
    (second,) = featx.fit("study.toml", heads=["ridge"], trials=1)
    (ensemble,) = featx.ensemble("study.toml", methods=["soft"], members=[head.run, second.run])
    artifact_kinds = {}
    for kind, run in {"head": head.run, "ensemble": ensemble.run}.items():
        folder = Path(head.path).parent / run
        files = {str(file): file.read_bytes() for file in folder.iterdir() if file.suffix in (".json", ".joblib")}
        use = lambda folder=folder: featx.load(folder)  # noqa: E731
        artifact_kinds[kind] = Kind(files, use, mutate_bytes)
        header = str(folder / "header.json")
        artifact_kinds[f"{kind}, resealed"] = Kind({header: files[header]}, use, mutate_sealed)
    featx.evaluate("study.toml", final=True)
    sealed_files = {
        str(file): file.read_bytes()
        for file in Path(head.path).parent.rglob("*.json")
        if b'"seal"' in file.read_bytes()
    }
    return artifact_kinds | {"study, resealed": Kind(sealed_files, lambda: featx.evaluate("study.toml"), mutate_sealed)}
