"""The digits of scikit-learn as PNG files, for tests of shortcuts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from sklearn.datasets import load_digits

from featx.exploration.explored_images import ExploredImages
from featx.exploration.image_loading import load_images, open_source
from featx.exploration.measurement import measure_images
from featx.progress import no_progress

# Changes the pixels of one digit and returns them with a text for the metadata of its file.
Change = Callable[[NDArray[np.uint8], int], tuple[NDArray[np.uint8], str]]


def unchanged(pixels: NDArray[np.uint8], digit: int) -> tuple[NDArray[np.uint8], str]:
    return pixels, ""


def write_digits(home: Path, n: int | None = None, change: Change = unchanged) -> ExploredImages:
    """Write digits in one folder for each class, and return them measured; no part is sealed."""
    digits = load_digits()
    for number, (image, digit) in enumerate(zip(digits.images[:n], digits.target[:n], strict=True)):
        folder = home / "images" / str(digit)
        folder.mkdir(parents=True, exist_ok=True)
        pixels, text = change((image * 15.9).astype(np.uint8), int(digit))
        metadata = PngImagePlugin.PngInfo()
        if text:
            metadata.add_text("comment", text)
        Image.fromarray(pixels).save(folder / f"{number:04}.png", pnginfo=metadata)
    recipe = home / "featx.toml"
    recipe.write_text(
        '[data]\nsource = "images"\n[targets.class]\ncolumn = "class"\n[split]\ntest = 0\nval = 0.2\n'
        '[[embedding]]\nbackbone = "toy"\n'
    )
    return measure_images(load_images(open_source(None, recipe), None, no_progress), no_progress)


def take(images: ExploredImages, rows: NDArray[np.intp]) -> ExploredImages:
    """Return some of the images."""
    ids = images.ids[rows]
    return replace(
        images,
        ids=ids,
        uris=images.uris[rows],
        digests=images.digests[rows],
        parts=images.parts[rows],
        truths={name: truth.take(ids[pd.Index(ids).isin(truth.ids)]) for name, truth in images.truths.items()},
        properties=images.properties.iloc[rows],
    )
