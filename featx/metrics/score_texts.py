"""Scores as text: four decimals, or four digits of scores in the unit of a target, which may be large or small."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from featx.metrics.definitions import SCORES, WEIGHTED_PREFIX
from featx.metrics.number_scores import TARGET_UNIT

# Digits of a score. The edges of intervals have one less.
N_DIGITS = 4
# Numbers that need more decimals or have more digits before the point are written with an exponent.
MAX_DECIMALS, MAX_WHOLE_DIGITS = 7, 6
# Ending of the names of scores on rows without copies in train.
SUFFIX_WITHOUT_LEAKS = "_without_leaks"
# Scores of intervals, which are no scores of predictions.
WIDTHS = frozenset({"interval_width"})
MISSING = "–"


@dataclass(frozen=True)
class ScoreFormat:
    """Formats of the values of a score in one table or sentence.

    Attributes
    ----------
    value
        Format of scores and differences.
    edge
        Shorter format, of the edges of intervals beside them.
    """

    value: str = f".{N_DIGITS}f"
    edge: str = f".{N_DIGITS - 1}f"

    @classmethod
    def of(cls, score: str, values: Iterable[float | None]) -> "ScoreFormat":
        """Return the formats of a score: four digits of the largest value if it has the unit of a target.

        Parameters
        ----------
        score
            Name of the score; scores of other units have four decimals.
        values
            The values that are shown together; None and nan are left out.

        Examples
        --------
        >>> ScoreFormat.of("accuracy", [0.5]).show(0.25), ScoreFormat.of("mae", [1.5e-6]).show(1.2e-6)
        ('0.2500', '1.200e-06')
        >>> [ScoreFormat.of("rmse", [value]).show(value) for value in (0.0123, 0.5, 12.3456, 54321.6)]
        ['0.01230', '0.5000', '12.35', '54322']
        """
        return cls.of_numbers(values) if has_target_unit(score) else cls()

    @classmethod
    def of_numbers(cls, values: Iterable[float | None]) -> "ScoreFormat":
        """Return the formats of numbers of any size: four digits of the largest one."""
        sizes = [abs(value) for value in values if value is not None and math.isfinite(value)]
        if not any(sizes):
            return cls()
        magnitude = math.floor(math.log10(max(sizes)))
        decimals = max(N_DIGITS - 1 - magnitude, 0)
        if decimals > MAX_DECIMALS or magnitude >= MAX_WHOLE_DIGITS:
            return cls(f".{N_DIGITS - 1}e", f".{N_DIGITS - 2}e")
        return cls(f".{decimals}f", f".{max(decimals - 1, 0)}f")

    def show(self, value: float | None, sign: str = "") -> str:
        """Return a score or a difference as text; a dash for None and nan.

        Parameters
        ----------
        sign
            ``+`` for the sign of positive values as well.
        """
        return _write(value, f"{sign}{self.value}")

    def interval(self, edges: Sequence[float | None] | None) -> str:
        """Return an interval as text; a dash if there is none."""
        if not edges or None in edges:
            return MISSING
        return " … ".join(_write(edge, self.edge) for edge in edges)


def has_target_unit(score: str) -> bool:
    """Return whether the values of a score have the unit of the numbers that are predicted.

    Examples
    --------
    >>> has_target_unit("rmse.valence"), has_target_unit("r2"), has_target_unit("accuracy")
    (True, False, False)
    """
    stem = score.partition(".")[0].removeprefix(WEIGHTED_PREFIX).removesuffix(SUFFIX_WITHOUT_LEAKS)
    return stem in WIDTHS or (stem in SCORES["numbers"] and SCORES["numbers"][stem].unit == TARGET_UNIT)


def _write(value: float | None, number_format: str) -> str:
    if value is None or math.isnan(value):
        return MISSING
    text = format(value, number_format)
    # A small negative number is no negative zero.
    return format(0.0, number_format) if float(text) == 0 else text
