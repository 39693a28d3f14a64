"""Objects below a URL: fsspec without its memory of listings, and with errors in one line.

Nothing that a store says is kept, but for sizes of objects that never change: other processes write there as well.
"""

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import uuid4

from featx.errors import UnreachableError
from featx.locations import filesystem_at

# s3fs tries five times what does not answer within 15 s, and botocore as often for each of these: 160 s in all
PATIENCE = {"retries": {"total_max_attempts": 2, "mode": "standard"}}
OPTIONS: Mapping[str, dict[str, Any]] = {"s3": {"config_kwargs": PATIENCE}, "s3a": {"config_kwargs": PATIENCE}}
CHANGED = ("LastModified", "last_modified", "mtime", "updated", "created")  # as the kinds of stores call it
CLOCK = ".clock-"  # how an object is called that is written to learn a store's time
SETTINGS = (
    "check its name (paths.cache), its permissions and the store's settings (for S3: AWS_ENDPOINT_URL, "
    "AWS_ACCESS_KEY_ID, …)"
)


class Bucket:
    """The objects whose names begin with a URL and a slash; names here are what follows.

    Errors of all methods: `UnreachableError` where the store refuses, does not answer, or has no such bucket.
    """

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/")

    def __reduce__(self) -> tuple[type["Bucket"], tuple[str]]:
        return Bucket, (self.place,)  # another process connects for itself

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        import fsspec

        protocol = self.place.partition("://")[0]
        options, said = OPTIONS.get(protocol, {}), fsspec.config.conf.get(protocol, {})
        merged = {name: value | said.get(name, {}) for name, value in options.items()}
        return filesystem_at(self.place, "paths.cache", use_listings_cache=False, **merged)

    def _key(self, name: str) -> str:
        return f"{self._opened[1].rstrip('/')}/{name}"

    @contextmanager
    def _told(self, what: str, *passed: type[Exception]) -> Iterator[Any]:
        filesystem = self._opened[0]
        expected: tuple[type[Exception], ...] = (UnreachableError, *passed)
        try:
            yield filesystem
        except expected:
            raise
        except Exception as error:  # every kind of store has errors of its own
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UnreachableError(
                f"{self.place} cannot be {what}: {reason}; {SETTINGS}; what is stored there is kept"
            ) from error

    def listed(self) -> dict[str, dict[str, Any]]:
        """Return what the store says of each object below: name → size and time, as it calls them."""
        with self._told("listed") as filesystem:
            found = filesystem.find(self._key("").rstrip("/"), detail=True)
        beginning = self._key("").lstrip("/")
        every = ((key.lstrip("/"), info) for key, info in found.items())
        return {key.removeprefix(beginning): info for key, info in every if key.startswith(beginning)}

    def folders(self) -> list[str] | None:
        """Return what stands before the first slash of names, sorted; None where there is no object."""
        with self._told("listed") as filesystem:
            try:
                found = filesystem.ls(self._key("").rstrip("/"), detail=True)
            except FileNotFoundError:
                return None
        return sorted(info["name"].rstrip("/").rpartition("/")[2] for info in found if info["type"] == "directory")

    def info(self, name: str) -> dict[str, Any] | None:
        """Return what the store says of an object; None where there is none."""
        with self._told("read") as filesystem:
            try:
                return dict(filesystem.info(self._key(name)))
            except FileNotFoundError:
                return None

    def get(self, name: str) -> bytes:
        """Return an object's content; `FileNotFoundError` where there is none."""
        with self._told("read", FileNotFoundError) as filesystem:
            return bytes(filesystem.cat_file(self._key(name)))

    def ranges(self, name: str, starts: Sequence[int], ends: Sequence[int]) -> list[bytes]:
        """Return some ranges of an object's bytes, read at once; `FileNotFoundError` where there is none."""
        with self._told("read", FileNotFoundError) as filesystem:
            keys = [self._key(name)] * len(starts)
            found = [bytes(one) for one in filesystem.cat_ranges(keys, starts, ends, on_error="raise")]
            for content, start, end in zip(found, starts, ends, strict=True):
                if len(content) != end - start:
                    raise EOFError(f"{name} gave {len(content)} of {end - start} bytes")
            return found

    def several(self, sizes: Mapping[str, int]) -> dict[str, bytes]:
        """Return the content of objects whose sizes are known, many at once; without those that cannot be read."""
        with self._told("read") as filesystem:
            keys = [self._key(name) for name in sizes]
            found = filesystem.cat_ranges(keys, [0] * len(keys), list(sizes.values()), on_error="return")
        return {name: bytes(one) for name, one in zip(sizes, found, strict=True) if not isinstance(one, Exception)}

    def put(self, objects: Mapping[str, bytes | memoryview]) -> None:
        """Write some objects, several at once."""
        with self._told("written") as filesystem:
            filesystem.pipe({self._key(name): bytes(content) for name, content in objects.items()})

    def create(self, name: str, content: bytes) -> None:
        """Write an object where there is none; one that is there, or comes at the same time, stays.

        Where a store knows no such condition, the last writer's stays.
        """
        with self._told("written") as filesystem:
            try:
                filesystem.pipe_file(self._key(name), content, mode="create")
            except Exception as error:
                if self.info(name) is not None:
                    return
                if not _knows_no_condition(error):
                    raise
                filesystem.pipe_file(self._key(name), content)

    def delete(self, names: Sequence[str]) -> None:
        """Remove some objects, the first one before the others; those that are not there are no error."""
        with self._told("cleared up") as filesystem:
            for some in (list(names[:1]), list(names[1:])):  # a refusal is an error only where one is removed alone
                with suppress(FileNotFoundError):
                    filesystem.rm([self._key(name) for name in some]) if len(some) > 1 else None
                    filesystem.rm_file(self._key(some[0])) if len(some) == 1 else None

    def now(self) -> float:
        """Return the store's own time, in seconds; of what it says of an object that is written for this."""
        probe = f"{CLOCK}{uuid4().hex[:8]}"
        self.put({probe: b""})
        try:
            return changed_at(self.info(probe) or {})
        finally:
            self.delete([probe])


def _knows_no_condition(error: Exception) -> bool:
    """Whether a store, or the package that speaks to it, cannot write under a condition."""
    return isinstance(error, NotImplementedError | TypeError) or getattr(error, "errno", None) == errno.ENOSYS


def changed_at(info: Mapping[str, Any]) -> float:
    """Return when an object was written by its store's clock, in seconds; without end where it does not say."""
    found = next((info[name] for name in CHANGED if info.get(name)), None)
    if found is None:
        return float("inf")
    if isinstance(found, str):
        found = datetime.fromisoformat(found)
    return found.timestamp() if isinstance(found, datetime) else float(found)
