"""A small study of digits with planted wrong labels and an outlier, whose embeddings are extracted."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import featx
from tests.recipes import toy_heads, toy_recipe

CLASSES = (0, 1, 4)
N_EACH = 45
# Digits 1 in the folder of 0, and one image of noise in the folder of 4.
WRONG = ("0/wrong-0.png", "0/wrong-1.png", "0/wrong-2.png")
NOISE = "4/noise.png"


def make_digit_study(folder: Path) -> Path:
    """Write the images and the recipe of a study, extract its embeddings, and return the path of the recipe."""
    x, labels = load_digits(return_X_y=True)
    for label in CLASSES:
        for number, pixels in enumerate(x[labels == label][:N_EACH]):
            _write(folder / "images" / str(label) / f"{number:03d}.png", pixels.reshape(8, 8) * 15.9)
    for name, pixels in zip(WRONG, x[labels == 1][-3:], strict=True):
        _write(folder / "images" / name, pixels.reshape(8, 8) * 15.9)
    _write(folder / "images" / NOISE, np.random.default_rng(0).integers(0, 256, (8, 8)))
    recipe = folder / "featx.toml"
    split = {"test": 0.0, "val": 0.3}
    # The toy network averages over an image; its first layer does not, so that it tells digits apart.
    embedding = [{"backbone": "toy", "weights": "none", "tap": ["0.1"], "pool": "flatten"}]
    recipe.write_text(toy_recipe(split=split, embedding=embedding, head=toy_heads("logreg")))
    featx.extract(recipe)
    return recipe


def _write(path: Path, levels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels.astype(np.uint8)).resize((16, 16), Image.Resampling.BICUBIC).save(path)
