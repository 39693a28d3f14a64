"""The errors that featx raises on purpose.

::

    FeatxError
    ├── RecipeError(ValueError)       a recipe or spec is not well formed; lists every problem found
    ├── UnknownNameError(KeyError)    a registry has no such name
    ├── DataError(ValueError)         images or labels are not what was expected
    │   ├── ReadError(OSError)        an image or a table cannot be read
    │   ├── AlignmentError            ids or classes of two tables differ
    │   ├── UnsuitedError             a head or an ensemble cannot predict this kind
    │   ├── OutOfTimeError            a search scored nothing before its deadline
    │   └── TooManyFailuresError      finished, but more images failed than allowed: exit code 3
    ├── StoreError                    a problem of the cache or the run folders
    │   ├── IncompleteError           the requested result does not exist yet
    │   ├── CorruptError              a file does not match its checksum or header
    │   └── UnreachableError          an object store refuses, or does not answer
    ├── ArtifactError                 header missing, of another format, or golden outputs differ
    ├── WeightsError(OSError)         pretrained weights not found
    ├── DeviceError(RuntimeError)     the requested device is not available
    ├── ClusterError(RuntimeError)    workers do not answer, or cannot do the work
    └── MissingExtraError(ImportError)  an optional package is not installed

A message says what was found, what was expected, and the next step. The command line prints it as one
line and exits with 1; in Python each error is also of the builtin type that callers expect.
"""

from collections.abc import Sequence

from featx.text.masking import mask_secrets


class FeatxError(Exception):
    """Base of all errors that featx raises on purpose; secrets in the URLs of its message are masked."""

    def __str__(self) -> str:
        return mask_secrets(super().__str__())


class RecipeError(FeatxError, ValueError):
    """A recipe or spec is not well formed.

    Parameters
    ----------
    source
        The file, or another name for the recipe.
    problems
        All problems, each with the path of its key.
    """

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__(f"{source}: " + "; ".join(self.problems))

    def __reduce__(self) -> tuple[type["RecipeError"], tuple[str, tuple[str, ...]]]:
        return type(self), (self.source, self.problems)


class UnknownNameError(FeatxError, KeyError):
    """A registry has no such name."""

    def __str__(self) -> str:
        # KeyError would quote the message.
        return mask_secrets(str(self.args[0]))


class DataError(FeatxError, ValueError):
    """Images or labels are not what was expected."""


class ReadError(OSError, DataError):
    """An image or a table cannot be read."""

    # OSError is the first base class because Dask's workers pickle errors with the method of the first base class.
    __str__ = FeatxError.__str__


class AlignmentError(DataError):
    """Ids or classes of two tables differ."""


class UnsuitedError(DataError):
    """A head or an ensemble cannot predict this kind of target, or not with weights."""


class OutOfTimeError(DataError):
    """A search scored no setting before its deadline."""


class TooManyFailuresError(DataError):
    """An extraction or a prediction finished, but more images failed than allowed."""


class StoreError(FeatxError):
    """A problem of the cache or the run folders."""


class IncompleteError(StoreError):
    """The requested result does not exist yet."""


class CorruptError(StoreError):
    """A file does not match its checksum or header."""


class UnreachableError(StoreError):
    """An object store refuses a request, does not answer, or has no such bucket."""


class ArtifactError(FeatxError):
    """A model's header is missing or of another format, or its outputs for the golden inputs differ."""


class WeightsError(FeatxError, OSError):
    """Pretrained weights are not found or not those expected."""


class DeviceError(FeatxError, RuntimeError):
    """The requested device is not available."""


class ClusterError(FeatxError, RuntimeError):
    """A scheduler or its workers do not answer, or cannot do the work."""


class MissingExtraError(FeatxError, ImportError):
    """An optional package is not installed; the message names the extra that brings it."""
