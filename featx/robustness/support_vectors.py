"""Support vector machines of scikit-learn as torch modules, with linear and RBF kernels and any number of classes."""

from itertools import combinations

import numpy as np
import torch
from sklearn.svm import SVC, SVR
from torch import Tensor, nn

from featx.errors import UnsuitedError


class KernelMachine(nn.Module):
    """Decision values of a support vector machine, exactly as scikit-learn computes them.

    With more than two classes, a decision value is the number of pairwise votes for a class plus a term below one third
    that orders ties. The gradient of the votes is zero, so that only the term has one.

    Parameters
    ----------
    machine
        Fitted machine with the kernel ``linear`` or ``rbf``, and for classes the decision shape ``ovr``.
    """

    vectors: Tensor
    coefficients: Tensor
    offsets: Tensor

    def __init__(self, machine: SVC | SVR) -> None:
        super().__init__()
        if machine.kernel not in {"linear", "rbf"}:
            raise UnsuitedError(f"found the kernel {machine.kernel!r}, expected 'linear' or 'rbf'")
        self.n_classes = len(getattr(machine, "classes_", ()))
        self.gamma = float(machine._gamma) if machine.kernel == "rbf" else None
        self.register_buffer("vectors", torch.as_tensor(np.asarray(machine.support_vectors_, dtype=np.float64)))
        self.register_buffer("coefficients", torch.as_tensor(_pair_coefficients(machine)))
        self.register_buffer("offsets", torch.as_tensor(np.asarray(machine.intercept_, dtype=np.float64)))

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, 1) decision values of two classes or numbers, or (b, k) of more classes, for (b, d) features."""
        decisions = self._kernel(x) @ self.coefficients + self.offsets
        return decisions if self.n_classes <= 2 else self._by_class(decisions)

    def _kernel(self, x: Tensor) -> Tensor:
        if self.gamma is None:
            return x @ self.vectors.T
        squared = (x**2).sum(1)[:, None] - 2 * x @ self.vectors.T + (self.vectors**2).sum(1)
        return (-self.gamma * squared.clamp(min=0)).exp()

    def _by_class(self, decisions: Tensor) -> Tensor:
        """Return (b, k) decision values of classes from (b, k (k - 1) / 2) ones of pairs."""
        votes = decisions.new_zeros(len(decisions), self.n_classes)
        columns = list(torch.zeros_like(votes).unbind(dim=1))
        for pair, (first, second) in enumerate(combinations(range(self.n_classes), 2)):
            decision = decisions[:, pair]
            votes[:, first] += (decision >= 0).to(votes.dtype)
            votes[:, second] += (decision < 0).to(votes.dtype)
            columns[first], columns[second] = columns[first] + decision, columns[second] - decision
        total = torch.stack(columns, dim=1)
        return votes + total / (3 * (total.abs() + 1))


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
