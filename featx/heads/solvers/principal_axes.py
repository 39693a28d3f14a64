"""Features along their principal axes, where the curvature of a linear model's loss is nearly diagonal."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

Matrix = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class PrincipalAxes:
    """Train and held-out features along the principal axes of the train features.

    The coefficients of different axes hardly influence each other.

    Attributes
    ----------
    train, held_out
        (n, r + 1) and (m, r + 1) coordinates in the precision of the features; the last column is 1, for the intercept.
    """

    train: Matrix
    held_out: Matrix

    @classmethod
    def from_features(cls, train: Matrix, held_out: Matrix) -> "PrincipalAxes":
        """Rotate (n, d) and (m, d) features; axes along which `train` does not vary are dropped."""
        mean = train.mean(0)
        train, held_out = train - mean, held_out - mean
        is_wide = train.shape[1] > train.shape[0]
        eigenvalues, basis = eigh(train @ train.T if is_wide else train.T @ train, overwrite_a=True)
        has_variance = eigenvalues > eigenvalues[-1] * max(train.shape) * np.finfo(eigenvalues.dtype).eps
        basis = basis[:, has_variance]
        if is_wide:
            basis = train.T @ (basis / np.sqrt(eigenvalues[has_variance]))
        return cls(*(np.pad(x @ basis, ((0, 0), (0, 1)), constant_values=1) for x in (train, held_out)))

    @property
    def nbytes(self) -> int:
        """Bytes of both arrays."""
        return self.train.nbytes + self.held_out.nbytes
