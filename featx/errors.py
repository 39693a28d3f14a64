"""Every error that featx raises on purpose.

::

    FeatxError
    ├── RecipeError(ValueError)       a recipe or spec is not well formed; lists every problem found
    ├── UnknownNameError(KeyError)    a registry has no such name
    ├── DataError(ValueError)         images or labels are not what was expected
    │   ├── ReadError(OSError)        an image or a table cannot be read
    │   ├── AlignmentError            ids or classes of two tables differ
    │   ├── UnsuitedError             a head or a vote cannot answer this kind of target
    │   └── TooManyFailuresError      done, but more images failed than were allowed: exit code 3
    ├── StoreError                    something about the cache or the run folders
    │   ├── IncompleteError           what is asked for has not been made yet
    │   ├── CorruptError              what is stored does not match its checksum or header
    │   └── UnreachableError          an object store refuses, or does not answer
    ├── ArtifactError                 header missing, of another format, or its golden inputs moved
    ├── WeightsError(OSError)         pretrained weights not found
    ├── DeviceError(RuntimeError)     the device asked for is not there
    ├── ClusterError(RuntimeError)    workers do not answer, or cannot do the work
    └── MissingExtraError(ImportError)  an optional package is not installed

A message says what was found, what was expected, and the next step. The command line prints it as one
line and exits with 1; in Python each error is also the builtin type that a caller would guess.
"""

from collections.abc import Sequence

from featx.text.masking import masked


class FeatxError(Exception):
    """Base of all errors that featx raises on purpose; URLs in its message tell no secrets."""

    def __str__(self) -> str:
        return masked(super().__str__())


class RecipeError(FeatxError, ValueError):
    """A recipe or spec is not well formed.

    Parameters
    ----------
    source
        The file, or what stands for it.
    problems
        All that is wrong, each with the path of its key.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__(f"{source}: " + "; ".join(self.problems))

    def __reduce__(self) -> tuple[type["RecipeError"], tuple[str, tuple[str, ...]]]:
        return type(self), (self.source, self.problems)


class UnknownNameError(FeatxError, KeyError):
    """A registry has no such name."""

    def __str__(self) -> str:  # KeyError would print the message quoted
        return masked(str(self.args[0]))


class DataError(FeatxError, ValueError):
    """Images or labels are not what was expected."""


class ReadError(OSError, DataError):
    """An image or a table cannot be read."""

    __str__ = FeatxError.__str__  # OSError comes first because Dask's workers pickle errors as their first base does


class AlignmentError(DataError):
    """Ids or classes of two tables differ."""


class UnsuitedError(DataError):
    """A head or a vote cannot answer this kind of target, or not with weights."""


class TooManyFailuresError(DataError):
    """All is done, but more images failed than were allowed."""


class StoreError(FeatxError):
    """Something about the cache or the run folders."""


class IncompleteError(StoreError):
    """What is asked for has not been made yet."""


class CorruptError(StoreError):
    """What is stored does not match its checksum or header."""


class UnreachableError(StoreError):
    """An object store refuses what is asked of it, does not answer, or has no such bucket."""


class ArtifactError(FeatxError):
    """A model's header is missing, of another format, or its golden inputs moved."""


class WeightsError(FeatxError, OSError):
    """Pretrained weights are not found or not those expected."""


class DeviceError(FeatxError, RuntimeError):
    """The device asked for is not there."""


class ClusterError(FeatxError, RuntimeError):
    """A scheduler or its workers do not answer, or cannot do the work."""


class MissingExtraError(FeatxError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""
