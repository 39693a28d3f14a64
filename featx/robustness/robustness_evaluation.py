"""Robustness of the runs of a target as it is printed and reported: accuracies with intervals and tests."""

from collections.abc import Sequence
from dataclasses import dataclass

from featx.specs.attacking import Norm
from featx.tables.ids import Kind

# Name of all attacks together, of which the strongest counts for each image.
WORST_CASE = "worst case"
# Largest distance of a number of levels from a whole number that is rounding.
MAX_ROUNDING_ERROR = 1e-6


def limit_text(norm: str, eps: float) -> str:
    """Return a limit as text, as a fraction of 255 where it is one.

    Examples
    --------
    >>> limit_text("linf", 8 / 255), limit_text("l2", 0.5)
    ('8/255', '0.5')
    """
    levels = 255 * eps
    is_whole = norm == "linf" and abs(levels - round(levels)) < MAX_ROUNDING_ERROR and levels < 255
    return f"{round(levels)}/255" if is_whole else f"{eps:.3g}"


@dataclass(frozen=True)
class AttackedRunSummary:
    """One attacked run.

    Attributes
    ----------
    run, label
        Name and label of the run.
    clean, low, high
        Accuracy on the unperturbed images, and its 95 % interval; nan for numbers.
    has_gradient
        Whether attacks used exact gradients of the run.
    n_checks
        Number of sanity checks that were made.
    failed_checks
        Checks that failed, as text; the figures of the run are then not to be trusted.
    """

    run: str
    label: str
    clean: float
    low: float
    high: float
    has_gradient: bool
    n_checks: int = 0
    failed_checks: Sequence[str] = ()


@dataclass(frozen=True)
class RobustAccuracy:
    """Accuracy of one run that one attack, or the strongest of all, leaves.

    Attributes
    ----------
    run, label
        Name and label of the run.
    method, norm, eps
        The attack; the method is ``worst case`` for all attacks together. None for a method without limit.
    accuracy, low, high
        Share of the images that are predicted correctly before and after, the worst of all images that count for this
        run, and its 95 % interval.
    median_norm
        Median norm of the successful perturbations; None if there are none.
    p, p_holm
        p-value of no difference to the most robust run under the same attack, before and after Holm's correction; None
        for that run.
    strongest_method, strongest_source
        Method, and run on which the images were made, of the attack that alone leaves the lowest accuracy.
    sources
        Names of the runs on which the images that count were made: the run itself, and for runs without gradient all
        others.
    """

    run: str
    label: str
    method: str
    norm: Norm
    eps: float | None
    accuracy: float
    low: float
    high: float
    median_norm: float | None
    p: float | None
    p_holm: float | None
    strongest_method: str
    strongest_source: str
    sources: Sequence[str]


@dataclass(frozen=True)
class LargestChange:
    """Largest change of a predicted number within the limit of an attack.

    Attributes
    ----------
    run, label, method, norm, eps
        As in `RobustAccuracy`.
    mean, low, high
        Mean over the images of the largest absolute change, and its 95 % interval.
    median, largest
        Median and largest of these changes.
    """

    run: str
    label: str
    method: str
    norm: Norm
    eps: float | None
    mean: float
    low: float
    high: float
    median: float
    largest: float


@dataclass(frozen=True)
class TransferAccuracy:
    """Accuracy of one run on images that were made on another one.

    Attributes
    ----------
    method, norm, eps
        The attack.
    source, run
        Names of the run on which the images were made, and of the run that predicts them.
    accuracy
        Share of the images that are predicted correctly before and after.
    """

    method: str
    norm: Norm
    eps: float | None
    source: str
    run: str
    accuracy: float


@dataclass(frozen=True)
class RobustnessEvaluation:
    """Robustness of the runs of one target.

    Attributes
    ----------
    target, kind
        Name and kind of the target.
    part, n_images, n_rows
        Part of the split, number of attacked images, and number of rows of the part, of which they are a stratified
        sample.
    height_px, width_px
        Size of the attacked pictures.
    n_units, by_group
        Number of images, or number of groups of images if intervals are of whole groups; and whether they are.
    runs
        The runs, the most robust one first.
    attacks
        Accuracy of each run under each attack; empty for numbers.
    worst_cases
        Accuracy of each run under all attacks together, for each norm and limit within which it was attacked; empty for
        numbers.
    changes
        Largest changes of each run under each attack; empty unless the target is a number.
    transfer
        Accuracy of each run on the images that were made on each other run.
    notes
        Notes about results that are left out, and about runs that were checked or attacked less than others.
    """

    target: str
    kind: Kind
    part: str
    n_images: int
    n_rows: int
    height_px: int
    width_px: int
    n_units: int
    by_group: bool
    runs: Sequence[AttackedRunSummary]
    attacks: Sequence[RobustAccuracy]
    worst_cases: Sequence[RobustAccuracy]
    changes: Sequence[LargestChange]
    transfer: Sequence[TransferAccuracy]
    notes: Sequence[str] = ()

    def results_under(self, method: str, norm: Norm, eps: float | None) -> dict[str, RobustAccuracy]:
        """Return the accuracies of all runs under one attack, by run."""
        key = (method, norm, eps)
        return {row.run: row for row in self.attacks if (row.method, row.norm, row.eps) == key}

    def worst(self, norm: Norm, eps: float) -> dict[str, RobustAccuracy]:
        """Return the accuracies of all runs under all attacks within a limit, by run."""
        return {row.run: row for row in self.worst_cases if (row.norm, row.eps) == (norm, eps)}

    def describe_strongest(self, row: RobustAccuracy | None) -> str:
        """Return the strongest attack on a run, with the run that the images were made on if it is another one.

        It is a dash for a run that was not attacked.
        """
        if row is None:
            return "–"
        if row.strongest_source == row.run:
            return row.strongest_method
        label = next(run.label for run in self.runs if run.run == row.strongest_source)
        return f"{row.strongest_method} on {label}"

    @property
    def n_checks(self) -> int:
        """Number of sanity checks that were made."""
        return sum(run.n_checks for run in self.runs)

    @property
    def n_passed_checks(self) -> int:
        """Number of sanity checks that were passed."""
        return self.n_checks - sum(len(run.failed_checks) for run in self.runs)

    @property
    def labels_without_gradient(self) -> list[str]:
        """Labels of the runs that were attacked by transfer and by search."""
        return [run.label for run in self.runs if not run.has_gradient]

    @property
    def limits(self) -> dict[Norm, list[float]]:
        """Limits of each norm in rising order."""
        norms: dict[Norm, set[float]] = {}
        pairs = [(row.norm, row.eps) for row in self.worst_cases] + [(row.norm, row.eps) for row in self.changes]
        for norm, eps in pairs:
            if eps is not None:
                norms.setdefault(norm, set()).add(eps)
        return {norm: sorted(limits) for norm, limits in norms.items()}
