"""Support vector machines whose kernels are computed by matrix products.

libsvm computes one kernel value at a time, reads every support vector for each predicted row, and so takes minutes
where embeddings have tens of thousands of features. Matrix products take seconds for the same values.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.svm import SVC, SVR
from sklearn.utils import gen_batches

from featx.tables.ids import Floats

# Size of a kernel matrix above which libsvm computes the kernel itself.
MAX_KERNEL_BYTES = 1 << 30
KERNELS = frozenset({"rbf", "linear"})
# Rows that are predicted together.
ROWS_PER_BLOCK = 512


class _MatrixKernel:
    """Mixin of scikit-learn's machines: libsvm gets the kernel matrix instead of the features.

    Pickled or joblib-dumped machines are those of scikit-learn, with the same support vectors and coefficients.
    """

    kernel: Any
    _gamma: float
    support_: NDArray[np.int32]
    support_vectors_: Floats
    shape_fit_: tuple[int, ...]

    def _dense_fit(  # noqa: PLR0913 (the signature is scikit-learn's)
        self, X: Floats, y: Any, sample_weight: Any, solver_type: int, kernel: str, random_seed: int
    ) -> None:
        fit = super()._dense_fit  # type: ignore[misc]
        if self.kernel not in KERNELS or X.shape[0] ** 2 * X.itemsize > MAX_KERNEL_BYTES:
            fit(X, y, sample_weight, solver_type, kernel, random_seed)
            return
        matrix = _kernel_matrix(X, X, self.kernel, self._gamma)
        fit(matrix, y, sample_weight, solver_type, "precomputed", random_seed)
        self.support_vectors_ = X[self.support_]

    def _dense_decision_function(self, X: Floats) -> Floats:
        decide = super()._dense_decision_function  # type: ignore[misc]
        if self.kernel not in KERNELS or ROWS_PER_BLOCK * self.shape_fit_[0] * 8 > MAX_KERNEL_BYTES:
            decisions: Floats = decide(X)
            return decisions
        vectors, kernel = self.support_vectors_, self.kernel
        blocks = []
        # The machine is a machine of a precomputed kernel for the time of this call, which no other thread shares.
        twin = type(self).__new__(type(self))
        twin.__dict__ |= self.__dict__ | {"kernel": "precomputed", "support_vectors_": np.empty((0, 0))}
        for rows in gen_batches(len(X), ROWS_PER_BLOCK):
            # Only the columns of support vectors are read.
            matrix = np.zeros((rows.stop - rows.start, self.shape_fit_[0]))
            matrix[:, self.support_] = _kernel_matrix(X[rows], vectors, kernel, self._gamma)
            blocks.append(super(_MatrixKernel, twin)._dense_decision_function(matrix))  # type: ignore[misc]
        return np.concatenate(blocks)

    def __reduce_ex__(self, protocol: Any) -> Any:
        plain: Any = next(cls for cls in type(self).__mro__ if cls in {SVC, SVR})
        machine = plain.__new__(plain)
        machine.__dict__ |= self.__dict__
        # The first protocol names the class of the result; later ones check that it is the class of this object.
        return machine.__reduce_ex__(0)


class MatrixKernelSVC(_MatrixKernel, SVC):  # type: ignore[misc]
    """scikit-learn's `SVC` with a dense kernel matrix."""


class MatrixKernelSVR(_MatrixKernel, SVR):  # type: ignore[misc]
    """scikit-learn's `SVR` with a dense kernel matrix."""


def _kernel_matrix(rows: Floats, vectors: Floats, kernel: str, gamma: float) -> Floats:
    """Return the (m, n) kernel values of m rows and n vectors."""
    matrix: Floats = rows @ vectors.T
    if kernel == "linear":
        return matrix
    matrix *= -2
    matrix += np.einsum("ij,ij->i", rows, rows)[:, None]
    matrix += np.einsum("ij,ij->i", vectors, vectors)
    np.maximum(matrix, 0, out=matrix)
    if rows is vectors:
        np.fill_diagonal(matrix, 0)
    matrix *= -gamma
    return np.exp(matrix, out=matrix)
