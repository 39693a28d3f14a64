"""Miniatures of the five studies' data: the layout of each, with a few of scikit-learn's handwritten digits."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

ATTRIBUTES = ["5_o_Clock_Shadow", "Bald", "Eyeglasses", "Smiling", "Young"]
EMOTIONS = ["angry", "happy", "sad"]
EXPRESSIONS = ["neutral", "slightlyhappy", "happy", "other"]
ETHNICITIES = ["caucasian", "asian", "afroamerican"]


def draw_digits(n: int, digits: Sequence[int], size_px: int) -> tuple[list[Image.Image], NDArray[np.int64]]:
    """Return n grey images of some digits, as many of each, and their digits."""
    scans = load_digits()
    rows = np.concatenate([np.flatnonzero(scans.target == digit)[: -(-n // len(digits))] for digit in digits])
    rows = np.random.default_rng(0).permutation(rows)[:n]
    pixels = (scans.images[rows] / 16 * 255).astype(np.uint8)
    return [Image.fromarray(scan).resize((size_px, size_px), Image.Resampling.BILINEAR) for scan in pixels], (
        scans.target[rows].astype(np.int64)
    )


def write_celeba_gender(folder: Path, n: int = 80) -> None:
    """Write JPEGs in one folder and a table of attributes coded -1 and 1; ``Male`` is whether a digit is above 4."""
    images, digits = draw_digits(n, range(10), 64)
    (folder / "images").mkdir(parents=True)
    names = [f"{number:06}.jpg" for number in range(1, n + 1)]
    for name, image in zip(names, images, strict=True):
        image.convert("RGB").save(folder / "images" / name)
    signs = np.random.default_rng(1).choice([-1, 1], (n, len(ATTRIBUTES)))
    table = pd.DataFrame(signs, columns=ATTRIBUTES).assign(Male=np.where(digits > 4, 1, -1))
    table.insert(0, "image_id", names)
    table.to_csv(folder / "list_attr_celeba.csv", index=False)


def write_affect(folder: Path, n: int = 96) -> None:
    """Write JPEGs, and a small npy file for each image's emotion, valence and arousal."""
    images, digits = draw_digits(n, range(8), 128)
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    noise = np.random.default_rng(1).normal(0, 0.05, (n, 2))
    for number, (image, digit) in enumerate(zip(images, digits, strict=True)):
        image.convert("RGB").save(folder / "images" / f"{number}.jpg")
        valence, arousal = np.clip([digit / 4 - 1, 1 - digit / 4] + noise[number], -1, 1)
        for suffix, value in (("exp", str(digit)), ("val", f"{valence:.4f}"), ("aro", f"{arousal:.4f}")):
            np.save(folder / "annotations" / f"{number}_{suffix}.npy", np.array(value))


def write_age_bias(folder: Path, n: int = 80) -> None:
    """Write JPEGs and a table with an age, which rises with the digit, and columns of groups."""
    images, digits = draw_digits(n, range(10), 64)
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(1)
    names = [f"{number:06}.jpg" for number in range(n)]
    for name, image in zip(names, images, strict=True):
        image.convert("RGB").save(folder / "images" / name)
    columns = {
        "file_name": names,
        "age": 8 * digits + rng.integers(1, 9, n),
        "gender": rng.choice(["male", "female"], n),
        "expression": rng.choice(EXPRESSIONS, n),
        "ethnicity": rng.choice(ETHNICITIES, n, p=[0.8, 0.05, 0.15]),
    }
    pd.DataFrame(columns).to_csv(folder / "labels.csv", index=False)


def write_happy_sad(folder: Path, n: int = 120) -> None:
    """Write grey JPEGs of 48 px in ``train/<class>`` and ``test/<class>``, unequal in number."""
    images, digits = draw_digits(n, range(6), 48)
    for number, (image, digit) in enumerate(zip(images, digits, strict=True)):
        part = "test" if number % 5 == 0 else "train"
        place = folder / part / EMOTIONS[digit % 3]
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"{number:05}.jpg")


def write_earth(folder: Path, n_train: int = 108, n_val: int = 54) -> None:
    """Write one HDF5 file with colour tiles of 64 px and codes of nine classes, in two parts."""
    images, digits = draw_digits(n_train + n_val, range(9), 64)
    tints = np.random.default_rng(1).uniform(0.5, 1, (len(images), 1, 1, 3))
    tiles = (np.stack([np.asarray(image.convert("RGB")) for image in images]) * tints).astype(np.uint8)
    folder.mkdir(parents=True)
    with h5py.File(folder / "earth_data.h5", "w") as file:
        for part, rows in (("train", slice(n_train)), ("val", slice(n_train, None))):
            file[f"x_{part}"], file[f"y_{part}"] = tiles[rows], digits[rows]


WRITERS = {
    "celeba_gender": write_celeba_gender,
    "affect": write_affect,
    "age_bias": write_age_bias,
    "happy_sad": write_happy_sad,
    "earth": write_earth,
}


def lay_out(home: Path, study: str) -> Path:
    """Copy a study's recipe to ``pipelines/`` and write its miniature to ``data/``; return the recipe's path."""
    source = Path(__file__).parents[1] / "pipelines" / f"{study}.toml"
    recipe = home / "pipelines" / source.name
    recipe.parent.mkdir()
    recipe.write_bytes(source.read_bytes())
    WRITERS[study](home / "data" / study)
    return recipe
