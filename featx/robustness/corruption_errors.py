"""Mean corruption errors relative to a reference run.

References
----------
.. [1] D. Hendrycks, T. Dietterich, Benchmarking neural network robustness to common corruptions and perturbations,
   ICLR 2019, section 4.1.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from featx.metrics.definitions import find_score

# Number of kinds that a message names.
MAX_NAMED_KINDS = 3
# Kind → errors at each severity.
ErrorsByKind = Mapping[str, Sequence[float]]


def error_of(score: str, value: float) -> float:
    """Return a score as an error: its distance from the best possible value.

    Examples
    --------
    >>> error_of("accuracy", 0.75), error_of("mae", 3.0)
    (0.25, 3.0)
    """
    definition = find_score(score)
    return definition.limits[1] - value if definition.greater_is_better else value - definition.limits[0]


@dataclass(frozen=True)
class CorruptionErrors:
    """Mean corruption errors of a run; 1 is the reference.

    Attributes
    ----------
    mean
        Mean over kinds of the sum of errors over severities, divided by the reference's.
    relative
        The same for the errors beyond those on the original images: whether the run loses more than the reference.
    problems
        Reasons why one of the two is None.
    """

    mean: float | None
    relative: float | None
    problems: tuple[str, ...] = ()


def mean_corruption_errors(
    errors: ErrorsByKind, original: float, reference: ErrorsByKind, reference_original: float, name: str
) -> CorruptionErrors:
    """Return the mean corruption errors [1]_ of a run.

    Parameters
    ----------
    errors, original
        Errors of the run under each kind, and on the original images.
    reference, reference_original
        Errors of the reference.
    name
        Name of the reference, for messages.
    """
    sums = {kind: float(np.sum(values)) for kind, values in errors.items()}
    reference_sums = {kind: float(np.sum(reference[kind])) for kind in errors}
    increases = {kind: sums[kind] - len(errors[kind]) * original for kind in errors}
    reference_increases = {kind: reference_sums[kind] - len(errors[kind]) * reference_original for kind in errors}
    problems = []
    if error_free_kinds := [kind for kind, total in reference_sums.items() if not total > 0]:
        problems.append(
            f"no mCE: the reference {name} makes no errors under {_listed(error_free_kinds)}; "
            "name another, or use more images"
        )
    if unharmed_kinds := [kind for kind, total in reference_increases.items() if not total > 0]:
        problems.append(
            f"no relative mCE: {_listed(unharmed_kinds)} costs the reference {name} nothing; "
            "name another, or use more images"
        )
    return CorruptionErrors(
        None if error_free_kinds else _mean_ratio(sums, reference_sums),
        None if unharmed_kinds else _mean_ratio(increases, reference_increases),
        tuple(problems),
    )


def _mean_ratio(sums: Mapping[str, float], reference_sums: Mapping[str, float]) -> float | None:
    ratio = float(np.mean([total / reference_sums[kind] for kind, total in sums.items()]))
    return ratio if math.isfinite(ratio) else None


def _listed(kinds: Sequence[str]) -> str:
    n_more = len(kinds) - MAX_NAMED_KINDS
    return ", ".join(kinds[:MAX_NAMED_KINDS]) + (f" and {n_more} more" if n_more > 0 else "")
