"""Goals of attacks, one class for each kind of target: another class, another label, or another number."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featx.errors import UnsuitedError
from featx.robustness.attacked_model import AttackedModel
from featx.robustness.attacks.attacked_images import Compare
from featx.tables.truth import AnyTruth, Numbers, Truth
from featx.text.four_digits import four_digits

# Score of an unchanged number in units of its standard deviation: no change exceeds it, so that attacks never stop.
MAX_CHANGE = 30.0
Clean = Tensor  # (n, k) scores of a run for the unperturbed images


class AttackGoal(ABC):
    """Goal of attacks on the images of some rows.

    Parameters
    ----------
    truth
        True values of the n rows.

    Attributes
    ----------
    directions
        Numbers that `compare` takes one after the other, each with an attack of its own; the largest effect counts.
    """

    directions: Sequence[int] = (1,)

    def __init__(self, truth: AnyTruth) -> None:
        self.truth = truth
        self._values = torch.as_tensor(truth.values)

    def codes(self, rows: Tensor) -> Tensor:
        """Return the (b,) positions of the right alternatives of some rows."""
        return torch.zeros(len(rows), dtype=torch.long)

    @abstractmethod
    def n_alternatives(self) -> int:
        """Return the number of alternatives, of which one is right."""

    @abstractmethod
    def compare(self, model: AttackedModel, clean_scores: Clean, rows: Tensor, direction: int) -> Compare:
        """Return the function from scores to those of alternatives; an attack succeeds if the right one is exceeded.

        Parameters
        ----------
        model
            The attacked run.
        clean_scores
            Its scores for all unperturbed images.
        rows
            Rows of the images of a batch.
        direction
            One of `directions`.
        """

    @abstractmethod
    def outputs(self, scores: Tensor) -> NDArray[np.float64]:
        """Return (b, k) probabilities or numbers."""

    @abstractmethod
    def prediction_texts(self, model: AttackedModel, scores: Tensor) -> NDArray[np.object_]:
        """Return (b,) predictions as text."""

    @abstractmethod
    def is_right(self, model: AttackedModel, scores: Tensor, rows: Tensor) -> NDArray[np.bool_]:
        """Return (b,) whether the predictions are right."""


class ClassGoal(AttackGoal):
    """Goal to change the class."""

    def codes(self, rows: Tensor) -> Tensor:
        """Return the codes of the true classes."""
        codes: Tensor = self._values[rows]
        return codes

    def n_alternatives(self) -> int:
        """Return the number of classes."""
        return len(self.truth.names)

    def compare(self, model: AttackedModel, clean_scores: Clean, rows: Tensor, direction: int) -> Compare:
        """Return the scores with the weights of the decision rule."""
        return lambda scores, positions: model.margins(scores)

    def outputs(self, scores: Tensor) -> NDArray[np.float64]:
        """Return the probabilities of the classes."""
        return np.asarray(scores.softmax(dim=1).cpu())

    def prediction_texts(self, model: AttackedModel, scores: Tensor) -> NDArray[np.object_]:
        """Return the names of the classes."""
        return np.asarray(np.array(self.truth.names, dtype=object)[model.decide(scores).cpu().numpy()])

    def is_right(self, model: AttackedModel, scores: Tensor, rows: Tensor) -> NDArray[np.bool_]:
        """Return whether the classes are the true ones."""
        return np.asarray((model.decide(scores) == self._values[rows]).cpu())


class LabelGoal(AttackGoal):
    """Goal to change any of several labels; a prediction is right if all of its labels are."""

    def n_alternatives(self) -> int:
        """Return the number of labels, each of which can be wrong, and one for none of them."""
        return len(self.truth.names) + 1

    def compare(self, model: AttackedModel, clean_scores: Clean, rows: Tensor, direction: int) -> Compare:
        """Return 0 for the right prediction, and for each label the log-odds of a wrong one."""
        signs = 1 - 2 * self._values[rows].double()

        def compare(scores: Tensor, positions: Tensor) -> Tensor:
            wrong_log_odds = signs[positions.cpu()].to(scores) * scores
            return torch.cat([torch.zeros_like(wrong_log_odds[:, :1]), wrong_log_odds], dim=1)

        return compare

    def outputs(self, scores: Tensor) -> NDArray[np.float64]:
        """Return the probabilities of the labels."""
        return np.asarray(scores.sigmoid().cpu())

    def prediction_texts(self, model: AttackedModel, scores: Tensor) -> NDArray[np.object_]:
        """Return the names of the labels that an image has, as text."""
        names = [[name for name, score in zip(self.truth.names, row, strict=True) if score >= 0] for row in scores]
        return np.array([" + ".join(row) or "none" for row in names], dtype=object)

    def is_right(self, model: AttackedModel, scores: Tensor, rows: Tensor) -> NDArray[np.bool_]:
        """Return whether all labels are the true ones."""
        return np.asarray(((scores.cpu() >= 0) == self._values[rows].bool()).all(dim=1))


class NumberGoal(AttackGoal):
    """Goal to change a number as far as possible, up and down.

    Raises
    ------
    UnsuitedError
        there are several numbers.
    """

    directions = (1, -1)

    def __init__(self, truth: AnyTruth) -> None:
        super().__init__(truth)
        if len(truth.names) > 1:
            raise UnsuitedError(
                f"the target has {len(truth.names)} numbers; an attack changes one number as far as it can: make a "
                "target of each"
            )
        self._scale = float(np.std(truth.values)) or 1.0

    def n_alternatives(self) -> int:
        """Return 2: a change that no attack reaches, and the change."""
        return 2

    def compare(self, model: AttackedModel, clean_scores: Clean, rows: Tensor, direction: int) -> Compare:
        """Return `MAX_CHANGE` and the change in a direction, in units of the standard deviation of the true values."""

        def compare(scores: Tensor, positions: Tensor) -> Tensor:
            change = direction * (scores - clean_scores[rows[positions.cpu()]].to(scores)) / self._scale
            return torch.cat([torch.full_like(change, MAX_CHANGE), change], dim=1)

        return compare

    def outputs(self, scores: Tensor) -> NDArray[np.float64]:
        """Return the numbers."""
        return np.asarray(scores.cpu(), dtype=np.float64)

    def prediction_texts(self, model: AttackedModel, scores: Tensor) -> NDArray[np.object_]:
        """Return the numbers as text."""
        return np.array(list(map(four_digits, scores[:, 0].tolist())), dtype=object)

    def is_right(self, model: AttackedModel, scores: Tensor, rows: Tensor) -> NDArray[np.bool_]:
        """Return False: a number is not right or wrong."""
        return np.zeros(len(rows), dtype=bool)


def make_goal(truth: Any) -> AttackGoal:
    """Return the goal of attacks on a target."""
    if isinstance(truth, Truth):
        return ClassGoal(truth)
    return NumberGoal(truth) if type(truth) is Numbers else LabelGoal(truth)
