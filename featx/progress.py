"""How long work tells that it advances, without knowing who listens."""

from typing import Protocol


class ProgressCallback(Protocol):
    """Anything that can be told how far a stage is."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Take note that `done` of `total` steps of `stage` are finished; `note` is the latest news."""


def no_progress(stage: str, done: int, total: int, note: str = "") -> None:
    """Listen to nothing: the default."""
