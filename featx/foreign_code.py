"""Calls of code that is not featx's own: functions of a recipe, and entries of other packages."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from featx.errors import DataError

# Modules whose functions end a program for the code that calls them.
EXITING_MODULES = ("_sitebuiltins", "importlib")


@contextmanager
def foreign_code(problem: str, expected: str) -> Iterator[None]:
    """Run code that is not featx's own in a block: what it prints goes to standard error, since results go to output.

    Parameters
    ----------
    problem
        Code and what it means if it fails, for messages.
    expected
        What was expected instead, and the next step.

    Raises
    ------
    DataError
        The code fails with any exception but `KeyboardInterrupt`, `SystemExit` included.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        raise
    # The code may fail with any exception.
    except BaseException as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{problem} ({type(error).__name__}: {reason}); {expected}") from error


@contextmanager
def refusing_exits() -> Iterator[None]:
    """Turn an attempt to end the program in a block into an error that names the function that made it.

    Raises
    ------
    DataError
        The block raises an exception that is neither an `Exception` nor a `KeyboardInterrupt`, as `SystemExit`.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise DataError(
            f"{_calling_function(error)} ended the program with {type(error).__name__} ({error}), expected an "
            "exception; raise a ValueError there, whose text becomes the message"
        ) from error


def _calling_function(error: BaseException) -> str:
    """Return the function, file and line that raised an exception, those of Python's own exit functions left out."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(module in frame.filename for module in EXITING_MODULES)
    ]
    return f"{frames[-1].name} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
