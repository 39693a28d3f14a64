"""Logistic regressions of many labels at once: the features are read once for all of them.

Newton's method, whose steps are found by preconditioned conjugate gradients and halved where they overshoot [1]_.

References
----------
.. [1] J. Nocedal, S. Wright, Numerical optimization, 2nd edition, Springer 2006, chapters 3, 5 and 7.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from featx.heads.solvers.principal_axes import Matrix, PrincipalAxes
from featx.tables.ids import Floats

MAX_NEWTON_STEPS = 30
# Conjugate gradient iterations in one Newton step.
MAX_CG_ITERATIONS = 15
MAX_HALVINGS = 20
# Share of the residual at which conjugate gradients stop; the next Newton step continues from there.
CG_TOLERANCE = 0.05
# Nats per row that a better solution would gain.
LOSS_TOLERANCE = 1e-6
MIN_DIVISOR = np.finfo(np.float32).tiny


def logistic_probabilities(
    axes: PrincipalAxes, y: NDArray[np.int64], weights: Floats | None, values: Sequence[float]
) -> Iterator[Floats]:
    """Yield (m, t) probabilities of held-out rows with each C, in ascending order.

    Parameters
    ----------
    y
        (n, t) labels in {0, 1}.
    weights
        (n,) sample weights; None if all are 1.
    """
    row_weights = np.ones((len(y), 1), np.float32) if weights is None else weights.astype(np.float32)[:, None]
    coefs = np.zeros((axes.train.shape[1], y.shape[1]), np.float32)
    for value in values:
        losses = _LogisticLosses(axes.train, y.astype(np.float32), np.float32(value) * row_weights)
        coefs = losses.minimise(coefs)
        yield expit((axes.held_out @ coefs).astype(np.float64))


class _LogisticLosses:
    """The losses of t labels, each plus half the sum of all squared coefficients but the intercept.

    Parameters
    ----------
    x
        (n, r + 1) features and the intercept's column.
    y
        (n, t) labels.
    weights
        (n, 1) sample weights times C.
    """

    def __init__(self, x: Matrix, y: Matrix, weights: Matrix) -> None:
        self._x, self._y, self._weights = x, y, weights
        self._penalty = np.ones((x.shape[1], 1), np.float32)
        self._penalty[-1] = 0
        self._squares = np.einsum("ij,ij->j", x, x)[:, None]

    def minimise(self, coefs: Matrix) -> Matrix:
        """Return the (r + 1, t) coefficients with the smallest losses, starting from others that may be close."""
        logits: Matrix = self._x @ coefs
        tolerance = 2 * LOSS_TOLERANCE * self._weights.sum()
        for _ in range(MAX_NEWTON_STEPS):
            proba = expit(logits)
            gradient = self._x.T @ (self._weights * (proba - self._y)) + self._penalty * coefs
            step = self._newton_step(gradient, self._weights * proba * (1 - proba))
            if (-(gradient * step).sum(0) < tolerance).all():
                break
            coefs, logits = self._take_step(coefs, logits, step)
        return coefs

    def _newton_step(self, gradient: Matrix, curvature: Matrix) -> Matrix:
        """Return approximately -H⁻¹ · gradient, with the (r + 1, r + 1) Hessian H of each label."""
        diagonal = np.maximum(curvature.mean(0) * self._squares + self._penalty, MIN_DIVISOR)
        step, residual = np.zeros_like(gradient), -gradient
        direction = residual / diagonal
        norm = initial_norm = (residual * direction).sum(0)
        for _ in range(MAX_CG_ITERATIONS):
            product = self._x.T @ (curvature * (self._x @ direction)) + self._penalty * direction
            length = norm / np.maximum((direction * product).sum(0), MIN_DIVISOR)
            step, residual = step + length * direction, residual - length * product
            preconditioned_residual = residual / diagonal
            previous_norm, norm = norm, (residual * preconditioned_residual).sum(0)
            if (norm <= CG_TOLERANCE**2 * initial_norm).all():
                break
            direction = preconditioned_residual + norm / np.maximum(previous_norm, MIN_DIVISOR) * direction
        return step

    def _take_step(self, coefs: Matrix, logits: Matrix, step: Matrix) -> tuple[Matrix, Matrix]:
        """Return coefficients and logits after a step, halved for each label until its loss does not increase."""
        logit_step, scale = self._x @ step, np.ones(step.shape[1], np.float32)
        loss_before = self._loss(coefs, logits)
        for _ in range(MAX_HALVINGS):
            overshoots = self._loss(coefs + scale * step, logits + scale * logit_step) > loss_before
            if not overshoots.any():
                break
            scale[overshoots] /= 2
        return coefs + scale * step, logits + scale * logit_step

    def _loss(self, coefs: Matrix, logits: Matrix) -> Floats:
        row_losses = self._weights * (np.logaddexp(0, logits) - self._y * logits)
        penalty = (self._penalty * coefs**2).sum(0, dtype=np.float64) / 2
        return np.asarray(row_losses.sum(0, dtype=np.float64) + penalty)
