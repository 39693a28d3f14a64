"""Balance of classes by undersampling: images of the larger classes are left out at random."""

from typing import Any, Literal

import numpy as np
import pandas as pd

from featx.errors import DataError


def surplus_rules(
    classes: "pd.Series[Any]", name: str, size: Literal["undersample"] | int, rng: np.random.Generator, part: str = ""
) -> dict[str, str]:
    """Return the rule by id of the images that are left out, so that all classes have equally many.

    Parameters
    ----------
    classes
        Class of each image, by id.
    name
        Name of the target.
    size
        Number of images of all classes together; ``undersample`` for as many of each as the smallest class has.
    rng
        Generator of the random choice.
    part
        Part of the split that is balanced, for messages; empty for all images.

    Raises
    ------
    DataError
        The number cannot be divided by the number of classes, or a class has too few images.
    """
    counts = classes.value_counts()
    if not len(counts):
        return {}
    key = f"targets.{name}.balance" + (f".{part}" if part else "")
    n_per_class = int(counts.min())
    if size != "undersample":
        if size % len(counts):
            raise DataError(
                f"{key}: {size} images cannot be divided equally among {len(counts)} classes; expected a "
                f"multiple of {len(counts)}"
            )
        if n_per_class * len(counts) < size:
            raise DataError(
                f"{key}: {size} images are {size // len(counts)} of each class, found {n_per_class} of class "
                f"{str(counts.idxmin())!r}; expected {n_per_class * len(counts)} or fewer"
            )
        n_per_class = size // len(counts)
    rules: dict[str, str] = {}
    for value, rows in classes.groupby(classes):
        surplus = rng.permutation(rows.index.to_numpy(object))[n_per_class:]
        rules |= dict.fromkeys(surplus, f"is surplus in class {value!r}, dropped by {key}")
    return rules
