"""A termination (SIGTERM) of a command as an orderly exit."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

TERMINATED = 128 + signal.SIGTERM


@contextmanager
def orderly_termination() -> Iterator[None]:
    """Treat a termination during the block as Ctrl-C, except that the exit code is 143.

    So unfinished files are removed and workers end. A second termination ends the process at once.
    """
    process, is_terminated = os.getpid(), False

    def interrupt(number: int, _frame: FrameType | None) -> None:
        nonlocal is_terminated
        signal.signal(number, signal.SIG_DFL)
        # A forked process has the handler too.
        if os.getpid() != process:
            signal.raise_signal(number)
        is_terminated = True
        raise KeyboardInterrupt

    previous_handler = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except SystemExit as stop:
        if is_terminated and stop.code:
            sys.exit(TERMINATED)
        raise
    finally:
        signal.signal(signal.SIGTERM, previous_handler or signal.SIG_DFL)
