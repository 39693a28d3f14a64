"""Progress as lines of text on standard error, for logs: one now and then, with rate and remaining time."""

import sys
import time

from featx.progress import NOTE_STAGE
from featx.text.durations import duration_text
from featx.text.sanitising import sanitise_text

# Seconds between two lines, and before the first.
LINE_EVERY_S = 30.0


class ProgressLines:
    """Prints the progress of stages that take long, at most one line in `LINE_EVERY_S`, and all messages at once."""

    def __init__(self) -> None:
        self._printed_at = time.monotonic()
        self._stage, self._begun_at, self._n_before = "", 0.0, 0

    def progress(self, stage: str, n_done: int, total: int, /, note: str = "") -> None:
        """Receive the progress of a stage (a `featx.progress.ProgressCallback`)."""
        if stage == NOTE_STAGE:
            _print(note)
            return
        now_s = time.monotonic()
        if stage != self._stage:
            self._stage, self._begun_at, self._n_before = stage, now_s, n_done
        if now_s - self._printed_at >= LINE_EVERY_S:
            self._printed_at = now_s
            _print(f"{stage} {n_done}/{total}{self._pace_text(n_done, total, now_s)}")

    def _pace_text(self, n_done: int, total: int, now_s: float) -> str:
        """Return the rate of a stage and its remaining time; empty until a step of it was seen to finish."""
        n_steps, seconds = n_done - self._n_before, now_s - self._begun_at
        if n_steps <= 0 or seconds <= 0:
            return ""
        rate = n_steps / seconds
        rate_text = f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s/step"
        return f", {rate_text}, about {duration_text((total - n_done) / rate)} left"


def _print(text: str) -> None:
    sys.stderr.write(f"{sanitise_text(text)}\n")
    sys.stderr.flush()
