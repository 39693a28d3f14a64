"""Nearest neighbours of any class."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.exploration.neighbours import Neighbours, Vectors, find_class_neighbours


def find_neighbours(vectors: Vectors, k: int, units: NDArray[Any] | None = None) -> Neighbours:
    """Return the k nearest neighbours of each image among the images of other units."""
    return find_class_neighbours(vectors, np.zeros(len(vectors), dtype=np.intp), k, units).own_class
