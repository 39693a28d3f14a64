"""Ways to vote: m tables of predictions in, one out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.tables import Predictions

TIE_SHARE = 1e-3  # of one vote: what the members' mean probability weighs, so that it only breaks ties
Combine = Callable[[Sequence[Predictions], Sequence[float] | None], Predictions]


@dataclass(frozen=True)
class Vote:
    """A way to vote.

    Attributes
    ----------
    combine
        The function.
    weighs
        Whether members weigh by their score on the rows that choose.
    """

    combine: Combine
    weighs: bool


def _aligned(members: Sequence[Predictions]) -> list[Predictions]:
    first = members[0]
    return [member.take(first.ids).ordered(first.classes) for member in members]


def _voted(first: Predictions, proba: NDArray[np.float64]) -> Predictions:
    return Predictions(first.ids, proba / proba.sum(axis=1, keepdims=True), first.classes, first.part, first.fold)


def soft_vote(members: Sequence[Predictions], weights: Sequence[float] | None = None) -> Predictions:
    """Average the members' class probabilities, image by image.

    Parameters
    ----------
    members
        m tables over the same k classes; rows are matched by id, classes by name.
    weights
        m non-negative numbers, not all 0; equal by default.

    Returns
    -------
    Predictions
        proba (n, k); ids, classes, parts and folds in the order of the first member.

    Raises
    ------
    AlignmentError
        an id of the first member is missing from another, or the classes differ.

    Examples
    --------
    >>> a = Predictions.of_part("val", ["x", "y"], [[1, 0], [0.5, 0.5]], ["no", "yes"])
    >>> b = Predictions.of_part("val", ["y", "x"], [[0, 1], [0.5, 0.5]], ["no", "yes"])
    >>> soft_vote([a, b]).proba.tolist()
    [[0.75, 0.25], [0.25, 0.75]]
    """
    tables = _aligned(members)
    return _voted(tables[0], np.average([table.proba for table in tables], axis=0, weights=weights))


def majority_vote(members: Sequence[Predictions], weights: Sequence[float] | None = None) -> Predictions:
    """Count the members' labels, image by image.

    A tie goes to the class with the larger mean probability among all members. Parameters and errors are those of
    `soft_vote`; weights that differ by less than a thousandth of a vote count as equal.

    Returns
    -------
    Predictions
        proba (n, k): the shares of the votes, less than a thousandth of a vote apart from them (the tie-break).

    Examples
    --------
    >>> yes = Predictions.of_part("val", ["x"], [[0.4, 0.6]], ["no", "yes"])
    >>> no = Predictions.of_part("val", ["x"], [[0.9, 0.1]], ["no", "yes"])
    >>> majority_vote([yes, yes, no]).proba.round(2).tolist(), majority_vote([yes, no]).codes.tolist()
    ([[0.33, 0.67]], [0])
    """
    tables = _aligned(members)
    one_hot = np.eye(len(tables[0].classes))
    votes = np.average([one_hot[table.codes] for table in tables], axis=0, weights=weights)
    tie_break = np.mean([table.proba for table in tables], axis=0)
    return _voted(tables[0], votes + TIE_SHARE / len(tables) * tie_break)


majority = Vote(majority_vote, weighs=False)
soft = Vote(soft_vote, weighs=False)
weighted = Vote(soft_vote, weighs=True)
