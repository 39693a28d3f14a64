"""Solar cells with planted copies in other parts of the split."""

import io
import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageEnhance

from tests.image_files import encode
from tests.recipes import LABEL_TABLE, toy_recipe

Change = Callable[[Image.Image], Image.Image]

RECIPE = toy_recipe(
    data=LABEL_TABLE,
    targets={"defective": {"column": "defect", "above": 0.5}},
    split={"column": "part"},
    embedding=[{"backbone": "efficientnet_lite0"}],
    head=None,
)


def encoded(image: Image.Image, quality: int) -> Image.Image:
    """Return an image after JPEG compression."""
    return Image.open(io.BytesIO(encode(image, "JPEG", quality=quality)))


CHANGES: Mapping[str, Change] = {
    "jpeg 75": lambda image: encoded(image, 75),
    "jpeg 50": lambda image: encoded(image, 50),
    "half size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "cropped 4 %": lambda image: image.crop((6, 6, image.width - 6, image.height - 6)),
    "turned 90°": lambda image: image.rotate(90, expand=True),
    "brighter 10 %": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "brighter 30 %": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
}


def cells() -> pd.DataFrame:
    """Return the table of the ELPV data set: path, defect, cell."""
    spec = find_spec("elpv_dataset")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent / "data"
    table = pd.read_csv(source / "labels.csv", sep=r"\s+", names=["path", "defect", "cell"])
    return table.assign(path=[str(source / path) for path in table["path"]])


def plant(home: Path, originals: pd.DataFrame, n_each: int, changes: Mapping[str, Change], seed: int) -> pd.DataFrame:
    """Write originals and copies of some of them in other parts to ``images/``, and a recipe.

    Parameters
    ----------
    home
        Folder of the images and the recipe.
    originals
        Columns: path, defect.
    n_each
        Number of originals with an exact copy, and of originals with each kind of change.
    changes
        Name of a change → function that changes an image.
    seed
        Seed of parts and originals.

    Returns
    -------
    pandas.DataFrame
        Index: id. Columns: original (its id), kind (``original``, ``exact`` or name of the change), part, defect.
    """
    rng = np.random.default_rng(seed)
    images = home / "images"
    images.mkdir()
    parts = rng.choice(["train", "val", "test"], len(originals), p=[0.6, 0.15, 0.25])
    rows = []
    for path, part, defect in zip(originals["path"], parts, originals["defect"], strict=True):
        shutil.copy(path, images)
        rows.append((Path(path).name, Path(path).name, "original", part, defect))
    order = rng.permutation(len(originals))
    for number, kind in enumerate(["exact", *changes]):
        for row in np.take(order, range(number * n_each, (number + 1) * n_each), mode="wrap"):
            source = Path(originals["path"].iloc[row])
            copy = f"{source.stem}-{number}.png"
            if kind == "exact":
                shutil.copy(source, images / copy)
            else:
                changes[kind](Image.open(source)).save(images / copy)
            part = rng.choice(sorted({"train", "val", "test"} - {parts[row]}))
            rows.append((copy, source.name, kind, part, originals["defect"].iloc[row]))
    table = pd.DataFrame(rows, columns=["path", "original", "kind", "part", "defect"])
    table.to_csv(images / "labels.csv", index=False)
    (home / "featx.toml").write_text(RECIPE)
    return table.set_index("path")


def found_copies(table: pd.DataFrame, pairs: pd.DataFrame) -> tuple[dict[str, float], float]:
    """Return the recall of planted copies of each kind, and the share of originals that are falsely flagged."""
    first, second = (table.loc[pairs[column], "original"].to_numpy() for column in ("id", "copy"))
    true_pairs = pairs[first == second]
    true = {frozenset(pair) for pair in zip(true_pairs["id"], true_pairs["copy"], strict=True)}
    copies = table[table["kind"] != "original"]
    is_found = pd.Series(
        [frozenset(pair) in true for pair in zip(copies.index, copies["original"], strict=True)], copies.index
    )
    flagged_originals = {*first[first != second], *second[first != second]}
    recall = is_found.groupby(copies["kind"]).mean()
    return {str(kind): float(share) for kind, share in recall.items()}, len(flagged_originals) / table[
        "original"
    ].nunique()
