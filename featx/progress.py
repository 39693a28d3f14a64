"""The callback by which long work reports its progress."""

from typing import Protocol

# The name of the stage under which a message is reported, without a number of steps.
NOTE_STAGE = "note"


class ProgressCallback(Protocol):
    """A function that receives the progress of a stage."""

    def __call__(self, stage: str, n_done: int, total: int, /, note: str = "") -> None:
        """Receive that `n_done` of `total` steps of `stage` are finished, and the latest message `note`."""


def no_progress(stage: str, n_done: int, total: int, /, note: str = "") -> None:
    """Ignore the progress: the default callback."""
