"""What should be looked at in a run."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RunWarning:
    """One thing that was seen.

    Attributes
    ----------
    mark
        One or two words for a table.
    text
        A line: what was seen, and what to try.
    """

    mark: str
    text: str
