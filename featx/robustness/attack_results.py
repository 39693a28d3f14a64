"""Results of attacks: tables by id for each attacked run, and robust accuracies with intervals."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from featx.metrics.share_intervals import wilson_interval
from featx.robustness.attacked_rows import AttackedRows
from featx.specs.attacking import AttackSpec

# Columns with the answers of the runs begin with this.
ANSWER = "answer:"


@dataclass(frozen=True)
class PerturbedImages:
    """Images that one attack made on one run, and what every run answers to them.

    Attributes
    ----------
    source
        Name of the run that was attacked.
    frame
        One row per image: ``id``, ``true``, ``linf`` and ``l2`` (norms of the perturbation, for pixels in [0, 1]) and
        one column of answers for each run.
    seconds
        Duration of the attack.
    """

    source: str
    frame: pd.DataFrame
    seconds: float

    def answers(self, run: str) -> NDArray[np.str_]:
        """Return the (n,) classes that a run answers."""
        return self.frame[f"{ANSWER}{run}"].to_numpy(str)

    def is_wrong(self, run: str) -> NDArray[np.bool_]:
        """Return whether a run answers each perturbed image wrongly."""
        return np.asarray(self.answers(run) != self.frame["true"].to_numpy(str))


@dataclass(frozen=True)
class RunUnderAttack:
    """Robustness of one run against one attack.

    Attributes
    ----------
    run, label
        Name and label of the run.
    clean
        Accuracy on the unperturbed images.
    robust
        Share of the images that are answered correctly before and after the attack: the worst case of all perturbed
        images that count for this run.
    interval
        Wilson's 95 % interval of `robust`.
    sources
        Names of the runs whose perturbed images count: the run itself, and, for runs without gradient, all others.
    median_norm
        Median norm of the perturbations that deceive; None if none does.
    doubts
        Sanity checks that failed, as text; the figure is then not to be trusted.
    """

    run: str
    label: str
    clean: float
    robust: float
    interval: tuple[float, float]
    sources: tuple[str, ...]
    median_norm: float | None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class AttackResults:
    """Results of one attack on all runs of a target.

    Attributes
    ----------
    spec
        The attack.
    rows
        The attacked images.
    wrong_before
        Name of a run → whether it answers each unperturbed image wrongly.
    perturbed
        Name of the attacked run → its perturbed images.
    runs
        Robustness of each run, the most robust first.
    """

    spec: AttackSpec
    rows: AttackedRows
    wrong_before: Mapping[str, NDArray[np.bool_]]
    perturbed: Mapping[str, PerturbedImages]
    runs: tuple[RunUnderAttack, ...]

    def transfer(self) -> pd.DataFrame:
        """Return the accuracy of each run (column) on the images made on each run (row)."""
        names = [run.run for run in self.runs]
        return pd.DataFrame(
            {
                target: {
                    source: 1 - float((images.is_wrong(target) | self.wrong_before[target]).mean())
                    for source, images in self.perturbed.items()
                }
                for target in names
            }
        )


def summarise(  # noqa: PLR0913 (each is one fact)
    spec: AttackSpec,
    name: str,
    label: str,
    wrong_before: NDArray[np.bool_],
    counted: Mapping[str, PerturbedImages],
    doubts: tuple[str, ...] = (),
) -> RunUnderAttack:
    """Return the robustness of a run from the perturbed images that count for it."""
    wrong = np.stack([images.is_wrong(name) for images in counted.values()])
    norms = np.stack([images.frame[spec.norm].to_numpy(float) for images in counted.values()])
    survives = ~(wrong.any(axis=0) | wrong_before)
    deceived = wrong.any(axis=0) & ~wrong_before
    smallest = np.where(wrong, norms, np.inf).min(axis=0)[deceived]
    robust = float(survives.mean())
    return RunUnderAttack(
        name,
        label,
        1 - float(wrong_before.mean()),
        robust,
        wilson_interval(robust, len(survives)),
        tuple(counted),
        float(np.median(smallest)) if len(smallest) else None,
        doubts,
    )
