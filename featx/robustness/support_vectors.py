"""Support vector machines of scikit-learn as torch modules, with linear and RBF kernels and any number of classes."""

from itertools import combinations

import numpy as np
import torch
from sklearn.svm import SVC, SVR
from torch import Tensor, nn

from featx.errors import UnsuitedError
from featx.heads.pair_margins import pair_indicators


class KernelMachine(nn.Module):
    """Margins or numbers of a support vector machine, exactly as scikit-learn computes them.

    Parameters
    ----------
    machine
        Fitted machine with the kernel ``linear`` or ``rbf``.
    """

    vectors: Tensor
    coefficients: Tensor
    offsets: Tensor

    def __init__(self, machine: SVC | SVR) -> None:
        super().__init__()
        if machine.kernel not in {"linear", "rbf"}:
            raise UnsuitedError(f"found the kernel {machine.kernel!r}, expected 'linear' or 'rbf'")
        self.gamma = float(machine._gamma) if machine.kernel == "rbf" else None
        self.register_buffer("vectors", torch.as_tensor(np.asarray(machine.support_vectors_, dtype=np.float64)))
        self.register_buffer("coefficients", torch.as_tensor(_pair_coefficients(machine)))
        self.register_buffer("offsets", torch.as_tensor(np.asarray(machine.intercept_, dtype=np.float64)))

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, 1) margins or numbers, or (b, k (k - 1) / 2) margins of pairs of classes, for (b, d) features."""
        return self._kernel(x) @ self.coefficients + self.offsets

    def _kernel(self, x: Tensor) -> Tensor:
        if self.gamma is None:
            return x @ self.vectors.T
        squared_distances = (x**2).sum(1)[:, None] - 2 * x @ self.vectors.T + (self.vectors**2).sum(1)
        return (-self.gamma * squared_distances.clamp(min=0)).exp()


class PairScores(nn.Module):
    """Scores of more than two classes, as `featx.heads.pair_margins` computes them from the margins of pairs.

    Parameters
    ----------
    machine
        Fitted machine of more than two classes with the kernel ``linear`` or ``rbf``.
    """

    first_indicators: Tensor
    second_indicators: Tensor

    def __init__(self, machine: SVC) -> None:
        super().__init__()
        self.margins = KernelMachine(machine)
        first, second = pair_indicators(len(machine.classes_))
        self.register_buffer("first_indicators", torch.as_tensor(first.toarray()))
        self.register_buffer("second_indicators", torch.as_tensor(second.toarray()))

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, k) scores for (b, d) features."""
        margins: Tensor = self.margins(x)
        return -((-margins).relu() @ self.first_indicators + margins.relu() @ self.second_indicators)


def _pair_coefficients(machine: SVC | SVR) -> np.ndarray:
    """Return the (n_vectors, n_pairs) coefficients of the support vectors in each pair of classes."""
    dual = np.asarray(machine.dual_coef_, dtype=np.float64)
    n_classes = len(getattr(machine, "classes_", ()))
    if n_classes <= 2:
        return np.ascontiguousarray(dual.T)
    edges = np.concatenate([[0], np.cumsum(machine.n_support_)])
    rows = [slice(edges[code], edges[code + 1]) for code in range(n_classes)]
    coefficients = np.zeros((dual.shape[1], n_classes * (n_classes - 1) // 2))
    for pair, (first, second) in enumerate(combinations(range(n_classes), 2)):
        coefficients[rows[first], pair] = dual[second - 1, rows[first]]
        coefficients[rows[second], pair] = dual[first, rows[second]]
    return coefficients
