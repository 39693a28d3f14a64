"""Features along their principal axes, where the curvature of a linear model's loss is nearly diagonal."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

Matrix = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class PrincipalAxes:
    """Features along their principal axes: what a coefficient of one does to those of the others is nearly nothing.

    Attributes
    ----------
    learn, held
        (n, r + 1) and (m, r + 1) of the features' precision; the last column is the intercept's.
    """

    learn: Matrix
    held: Matrix

    @classmethod
    def of(cls, learn: Matrix, held: Matrix) -> "PrincipalAxes":
        """Turn (n, d) and (m, d) features; axes along which `learn` does not vary are left out."""
        middle = learn.mean(0)
        learn, held = learn - middle, held - middle
        wide = learn.shape[1] > learn.shape[0]
        squares, basis = eigh(learn @ learn.T if wide else learn.T @ learn, overwrite_a=True)
        some = squares > squares[-1] * max(learn.shape) * np.finfo(squares.dtype).eps
        basis = learn.T @ (basis[:, some] / np.sqrt(squares[some])) if wide else basis[:, some]
        return cls(*(np.pad(x @ basis, ((0, 0), (0, 1)), constant_values=1) for x in (learn, held)))

    @property
    def nbytes(self) -> int:
        """Of both."""
        return self.learn.nbytes + self.held.nbytes
