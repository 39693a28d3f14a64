"""Random trees of files as people have them: images, tables, archives, arrays, annotations, some of them broken."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.random import Generator
from PIL import Image

SUFFIXES = [".png", ".jpg", ".JPG", ".bmp", ".tif", ".gif"]
FOLDERS = [
    "",
    "",
    "train",
    "test",
    "val",
    "images",
    "cat",
    "dog",
    "a b",
    "é",
    "train/cat",
    "train/dog",
    "test/cat",
    "x/y/z",
]
OTHER_FILES = [
    "Thumbs.db",
    ".DS_Store",
    "._0.png",
    "desktop.ini",
    "notes",
    "readme.md",
    "@eaDir/0.png",
    "__MACOSX/0.png",
]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"]
SEPARATORS = [",", ";", "\t", "|", " "]
LABELS: list[Callable[[Generator, int], list[object]]] = [
    lambda rng, n: rng.choice(["cat", "dog", "Ödem"], n).tolist(),
    lambda rng, n: rng.integers(0, 3, n).tolist(),
    lambda rng, n: rng.random(n).round(3).tolist(),
    lambda rng, n: rng.choice(["A|B", "A", "B", "C|A", ""], n).tolist(),
    lambda rng, n: rng.choice(["001", "002", "NA", "None", ""], n).tolist(),
    lambda rng, n: rng.choice(["train", "val", "test"], n).tolist(),
    lambda rng, n: [f"p{i // 3}" for i in range(n)],
    lambda rng, n: [[0, int(i)] for i in range(n)],
    lambda rng, n: ["x"] * n,
]


def encoded_image(rng: Generator, suffix: str) -> bytes:
    """Return a small image, sometimes with 16 bits, transparency, or broken bytes."""
    size = (int(rng.integers(4, 9)), int(rng.integers(4, 9)))
    kind = rng.integers(0, 12)
    if kind == 0:
        return rng.bytes(20)
    if kind == 1:
        return b""
    if kind == 2 and suffix == ".png":
        image = Image.fromarray(rng.integers(0, 4096, size, dtype=np.uint16))
    else:
        mode = ["L", "RGB", "RGBA"][kind % 3] if suffix in {".png", ".tif"} else "RGB"
        image = Image.fromarray(rng.integers(0, 256, (*size, 4), dtype=np.uint8)).convert(mode)
    stream = io.BytesIO()
    image.save(stream, {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix.lower(), suffix[1:].upper()))
    return stream.getvalue()


def write_tree(folder: Path, seed: int) -> list[str]:
    """Write 5 to 60 files of random kinds into a folder, and return their names."""
    rng = np.random.default_rng(seed)
    images: list[str] = []
    for number in range(int(rng.integers(3, 40))):
        suffix = str(rng.choice(SUFFIXES))
        name = f"{rng.choice(FOLDERS)}/{number}{suffix}".lstrip("/")
        _write(folder / name, encoded_image(rng, suffix))
        images.append(name)
    for number in range(int(rng.integers(0, 4))):
        _write_table(folder, rng, images, number)
    for _ in range(int(rng.integers(0, 4))):
        _write(folder / str(rng.choice(OTHER_FILES)), rng.bytes(int(rng.integers(0, 30))))
    makers = [_write_archive, _write_arrays, _write_annotations, _write_broken]
    for make in makers:
        if rng.random() < 0.25:
            make(folder, rng, images)
    return images


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def _write_table(folder: Path, rng: Generator, images: list[str], number: int) -> None:
    n = int(rng.integers(1, len(images) + 1))
    names = [images[row] for row in rng.permutation(len(images))[:n]]
    style = rng.integers(0, 6)
    if style == 1:
        names = [name.rpartition(".")[0] for name in names]
    elif style == 2:
        names = [name.rpartition("/")[2] for name in names]
    elif style == 3:
        names = ["C:\\data\\" + name.replace("/", "\\") for name in names]
    elif style == 4:
        names = [f"missing/{name}" for name in names]
    columns = {f"y{i}": LABELS[rng.integers(len(LABELS))](rng, n) for i in range(int(rng.integers(0, 4)))}
    frame = pd.DataFrame({str(rng.choice(["file", "path", "id", "image"])): names, **columns})
    stem = f"{rng.choice(['', 'train/'])}{rng.choice(['labels', 'train', 'test', 'sample_submission', 'a'])}{number}"
    file = folder / stem
    file.parent.mkdir(exist_ok=True)
    suffix = rng.choice([".csv", ".csv", ".csv", ".tsv", ".txt", ".parquet", ".json", ".jsonl"])
    if suffix == ".parquet":
        frame.to_parquet(file.with_suffix(".parquet"))
    elif suffix == ".json":
        file.with_suffix(".json").write_text(json.dumps(frame.to_dict("records")))
    elif suffix == ".jsonl":
        frame.to_json(file.with_suffix(".jsonl"), orient="records", lines=True)
    else:
        text = frame.to_csv(sep=str(rng.choice(SEPARATORS)), index=bool(rng.integers(2)), header=bool(rng.integers(4)))
        file.with_suffix(str(suffix)).write_bytes(text.encode(str(rng.choice(ENCODINGS)), errors="replace"))


def _write_archive(folder: Path, rng: Generator, images: list[str]) -> None:
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        for name in images[: int(rng.integers(0, 6))]:
            archive.writestr(name.replace("/", "\\") if rng.integers(2) else name, (folder / name).read_bytes())


def _write_arrays(folder: Path, rng: Generator, images: list[str]) -> None:
    x = rng.integers(0, 256, (6, 8, 8, int(rng.choice([1, 3, 4]))), dtype=np.uint8)
    if rng.integers(2):
        np.savez(folder / "tiles.npz", x=x, y=np.arange(6) % 2)
    else:
        with h5py.File(folder / "tiles.h5", "w") as file:
            file["x"], file["y"] = x, np.arange(6).reshape(6, 1, 1, 1) % 2


def _write_annotations(folder: Path, rng: Generator, images: list[str]) -> None:
    for name in images:
        suffix = str(rng.choice([".txt", ".json", ".xml"]))
        content = {".txt": b"0 0.5 0.5 0.1 0.1", ".json": b'{"label": "cat"}', ".xml": b"<annotation/>"}[suffix]
        _write(folder / f"{name.rpartition('.')[0]}{suffix}", content)


def _write_broken(folder: Path, rng: Generator, images: list[str]) -> None:
    suffix = str(rng.choice([".csv", ".parquet", ".zip", ".npz", ".h5", ".json", ".mat", ".tar", ".xlsx", ".npy"]))
    _write(folder / f"broken{suffix}", rng.bytes(int(rng.integers(0, 200))))
    link = folder / "linked"
    if not link.exists():
        link.symlink_to(folder.parent, target_is_directory=True)
