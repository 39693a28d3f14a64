"""Consistency of predictions under shifts by one pixel.

References
----------
.. [1] R. Zhang, Making convolutional networks shift-invariant again, ICML 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featx.metrics.score_kinds import Outputs
from featx.tables.target_values import TargetValues

# The first directions are those along the axes.
N_AXIS_SHIFTS = 4


@dataclass(frozen=True)
class ShiftConsistency:
    """Consistency of the predictions of a run when the content moves by one pixel.

    Attributes
    ----------
    share_4, share_8
        Share of images whose decision is the same as for the original under the shifts along the axes, and under those
        along the diagonals too; None for numbers.
    largest_change
        Mean over images of the largest absolute change of a number; None for classes and labels.
    """

    share_4: float | None
    share_8: float | None
    largest_change: float | None


def measure_consistency(
    targets: TargetValues, original: Outputs, shifted_outputs: Sequence[Outputs]
) -> ShiftConsistency:
    """Return the consistency of a run.

    Parameters
    ----------
    targets
        True values of the n images, with the decision rule of the run.
    original
        Outputs (n, k) for the original images.
    shifted_outputs
        Outputs for the shifted images: along the axes, then along the diagonals.
    """
    if targets.kind == "numbers":
        changes = np.max([np.abs(outputs - original).max(axis=1) for outputs in shifted_outputs], axis=0)
        return ShiftConsistency(None, None, float(changes.mean()))
    decisions = targets.decisions(original)
    stays = [
        (targets.decisions(outputs) == decisions).reshape(len(decisions), -1).all(axis=1) for outputs in shifted_outputs
    ]
    share_4, share_8 = (float(np.all(stays[:n], axis=0).mean()) for n in (N_AXIS_SHIFTS, len(stays)))
    return ShiftConsistency(share_4, share_8, None)
