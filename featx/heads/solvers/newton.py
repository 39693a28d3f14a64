"""Logistic regressions of many labels side by side: the features are read once for all of them.

Newton's method, whose steps are found by preconditioned conjugate gradients and halved where they go too far [1]_.

References
----------
.. [1] J. Nocedal, S. Wright, Numerical optimization, 2nd edition, Springer 2006, chapters 3, 5 and 7.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from featx.heads.solvers.principal_axes import Matrix, PrincipalAxes

MOST_STEPS = 30
MOST_TURNS = 15  # of conjugate gradients in one step
MOST_HALVINGS = 20
ENOUGH = 0.05  # of a step's residual is left: the next step goes on from there
CLOSE = 1e-6  # nats a row that better coefficients would gain
LEAST = np.finfo(np.float32).tiny  # divisor


def probabilities(
    axes: PrincipalAxes, y: NDArray[np.int64], weights: NDArray[np.float64] | None, values: Sequence[float]
) -> Iterator[NDArray[np.float64]]:
    """Yield (m, t) probabilities of held-out rows with each C, from the smallest on.

    Parameters
    ----------
    y
        (n, t) 0 or 1.
    weights
        (n,) of rows; 1 by default.
    """
    each = np.ones((len(y), 1), np.float32) if weights is None else weights.astype(np.float32)[:, None]
    coefs = np.zeros((axes.learn.shape[1], y.shape[1]), np.float32)
    for value in values:
        coefs = _Regressions(axes.learn, y.astype(np.float32), np.float32(value) * each).solved(coefs)
        yield expit((axes.held @ coefs).astype(np.float64))


class _Regressions:
    """The losses of t labels, half the squares of all coefficients but the intercepts' added.

    Parameters
    ----------
    x, y
        (n, r + 1) and (n, t).
    weights
        (n, 1) of rows, C times.
    """

    def __init__(self, x: Matrix, y: Matrix, weights: Matrix) -> None:
        self._x, self._y, self._weights = x, y, weights
        self._penalty = np.ones((x.shape[1], 1), np.float32)
        self._penalty[-1] = 0
        self._squares = np.einsum("ij,ij->j", x, x)[:, None]

    def solved(self, coefs: Matrix) -> Matrix:
        """Return (r + 1, t) coefficients, from some that may be near."""
        logits: Matrix = self._x @ coefs
        close = 2 * CLOSE * self._weights.sum()
        for _ in range(MOST_STEPS):
            proba = expit(logits)
            slope = self._x.T @ (self._weights * (proba - self._y)) + self._penalty * coefs
            step = self._step(slope, self._weights * proba * (1 - proba))
            if (-(slope * step).sum(0) < close).all():
                break
            coefs, logits = self._gone(coefs, logits, step)
        return coefs

    def _step(self, slope: Matrix, curve: Matrix) -> Matrix:
        """Return about -H⁻¹ · slope, H being (r + 1, r + 1) for each label."""
        diagonal = np.maximum(curve.mean(0) * self._squares + self._penalty, LEAST)
        step, left = np.zeros_like(slope), -slope
        way = left / diagonal
        size = first = (left * way).sum(0)
        for _ in range(MOST_TURNS):
            image = self._x.T @ (curve * (self._x @ way)) + self._penalty * way
            length = size / np.maximum((way * image).sum(0), LEAST)
            step, left = step + length * way, left - length * image
            near = left / diagonal
            before, size = size, (left * near).sum(0)
            if (size <= ENOUGH**2 * first).all():
                break
            way = near + size / np.maximum(before, LEAST) * way
        return step

    def _gone(self, coefs: Matrix, logits: Matrix, step: Matrix) -> tuple[Matrix, Matrix]:
        """Return coefficients and logits after a step, of each label as far as its loss becomes less."""
        moved, size, before = self._x @ step, np.ones(step.shape[1], np.float32), self._loss(coefs, logits)
        for _ in range(MOST_HALVINGS):
            far = self._loss(coefs + size * step, logits + size * moved) > before
            if not far.any():
                break
            size[far] /= 2
        return coefs + size * step, logits + size * moved

    def _loss(self, coefs: Matrix, logits: Matrix) -> NDArray[np.float64]:
        found = self._weights * (np.logaddexp(0, logits) - self._y * logits)
        return np.asarray(found.sum(0, dtype=np.float64) + (self._penalty * coefs**2).sum(0, dtype=np.float64) / 2)
