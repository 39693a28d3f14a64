"""Classes that stand for numbers: each distinct value, each multiple of a step, or each bin."""

import numpy as np
from numpy.typing import NDArray

from featx.errors import DataError
from featx.specs.finetuning import LossSpec

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
# Limit on the number of classes that stand for numbers: each is an output of the network.
MAX_NUMBER_CLASSES = 1000


def classes_of_numbers(numbers: Floats, spec: LossSpec) -> tuple[Floats, Codes]:
    """Return the (k,) values of the classes in rising order, and the (n,) code of each number's class.

    The value of a bin is the mean of its numbers, so that the mean of the values by true class equals the mean of the
    numbers. Bins without a number are no classes.

    Parameters
    ----------
    numbers
        (n,) numbers of the train rows.
    spec
        Loss with ``round_to`` or ``bins``; without both, each distinct number is a class.

    Raises
    ------
    DataError
        There are too many classes, or only one.
    """
    if spec.bins is not None:
        _, codes = np.unique(_bin_numbers(numbers, spec.bins), return_inverse=True)
        values = np.bincount(codes, weights=numbers) / np.bincount(codes)
    else:
        # Half a step is rounded up, as ages are.
        rounded_numbers = numbers if spec.round_to is None else np.floor(numbers / spec.round_to + 0.5) * spec.round_to
        values, codes = np.unique(rounded_numbers, return_inverse=True)
    if len(values) > MAX_NUMBER_CLASSES:
        kind = "distinct number" if spec.round_to is None else f"multiple of {spec.round_to:g}"
        raise DataError(
            f"loss {spec.name!r} takes each {kind} as a class, found {len(values)}, expected at most "
            f"{MAX_NUMBER_CLASSES}; set loss = {{ name = {spec.name!r}, round_to = … }} or bins = 50"
        )
    if len(values) < 2:
        raise DataError(
            f"loss {spec.name!r} learns numbers as classes, all train rows are in one class; set a smaller 'round_to', "
            "or other 'bins'"
        )
    return values, codes.astype(np.int64)


def _bin_numbers(numbers: Floats, bins: int | tuple[float, ...]) -> NDArray[np.intp]:
    """Return the number of each number's bin; an edge belongs to the bin above it."""
    edges = np.linspace(numbers.min(), numbers.max(), bins + 1)[1:-1] if isinstance(bins, int) else np.array(bins)
    return np.digitize(numbers, edges)
