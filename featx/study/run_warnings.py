"""Warnings about a run: conditions of its training that the user should check."""

from dataclasses import dataclass

# Flag of a run whose weights val has chosen, and of ensembles with such a member.
VAL_USED = "val used"
# Flag of a run without val rows on a network that may have learnt the train rows, and of ensembles with such a member.
TRAIN_USED = "train used"


@dataclass(frozen=True)
class RunWarning:
    """One warning about a run.

    Attributes
    ----------
    flag
        One or two words, shown in tables.
    text
        One line that describes the condition and the next step.
    """

    flag: str
    text: str
