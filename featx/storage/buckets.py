"""Objects below a URL, read and written by fsspec: without its cache of listings, and with errors in one line.

Nothing that a store reports is remembered, because other processes write there as well.
"""

import errno
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import uuid4

from featx.errors import UnreachableError
from featx.locations import open_filesystem

# s3fs tries five times what does not answer within 15 s, and botocore as often for each of these: 160 s in all.
S3_RETRIES = {"retries": {"total_max_attempts": 2, "mode": "standard"}}
OPTIONS: Mapping[str, dict[str, Any]] = {"s3": {"config_kwargs": S3_RETRIES}, "s3a": {"config_kwargs": S3_RETRIES}}
# Each kind of store has its own name for the time at which an object was written.
MODIFIED_FIELDS = ("LastModified", "last_modified", "mtime", "updated", "created")
# Objects of such a name are written to learn the time of a store's clock.
CLOCK_PREFIX = ".clock-"
CLOCK_NAME = re.compile(rf"{re.escape(CLOCK_PREFIX)}[0-9a-f]{{8}}")
SETTINGS_HINT = (
    "check its name (paths.cache), its permissions and the store's settings (for S3: AWS_ENDPOINT_URL, "
    "AWS_ACCESS_KEY_ID, …)"
)


class Bucket:
    """The objects whose names begin with a URL and a slash; names in here are the rest.

    All methods raise `UnreachableError` where the store refuses, does not answer, or has no such bucket.
    """

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/")

    def __reduce__(self) -> tuple[type["Bucket"], tuple[str]]:
        # Another process connects for itself.
        return Bucket, (self.place,)

    @cached_property
    def _filesystem_and_root(self) -> tuple[Any, str]:
        import fsspec

        protocol = self.place.partition("://")[0]
        options, user_options = OPTIONS.get(protocol, {}), fsspec.config.conf.get(protocol, {})
        merged_options = {name: value | user_options.get(name, {}) for name, value in options.items()}
        return open_filesystem(self.place, "paths.cache", use_listings_cache=False, **merged_options)

    def _key(self, name: str) -> str:
        return f"{self._filesystem_and_root[1].rstrip('/')}/{name}"

    @contextmanager
    def _explain_errors(self, action: str, *passed_types: type[Exception]) -> Iterator[Any]:
        """Lend the file system; raise what goes wrong, except for some errors, as one line about an action."""
        filesystem = self._filesystem_and_root[0]
        expected_types: tuple[type[Exception], ...] = (UnreachableError, *passed_types)
        try:
            yield filesystem
        except expected_types:
            raise
        # Every kind of store has errors of its own.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UnreachableError(
                f"{self.place} cannot be {action}: {reason}; {SETTINGS_HINT}; stored rows are kept"
            ) from error

    def list_objects(self) -> dict[str, dict[str, Any]]:
        """Return what the store reports of each object: name → size and time, under the store's own field names."""
        with self._explain_errors("listed") as filesystem:
            infos = filesystem.find(self._key("").rstrip("/"), detail=True)
        prefix = self._key("").lstrip("/")
        return {
            key.lstrip("/").removeprefix(prefix): info
            for key, info in infos.items()
            if key.lstrip("/").startswith(prefix)
        }

    def list_folders(self) -> list[str] | None:
        """Return the parts of names before the first slash, sorted; None where there is no object."""
        with self._explain_errors("listed") as filesystem:
            try:
                infos = filesystem.ls(self._key("").rstrip("/"), detail=True)
            except FileNotFoundError:
                return None
        return sorted(info["name"].rstrip("/").rpartition("/")[2] for info in infos if info["type"] == "directory")

    def info(self, name: str) -> dict[str, Any] | None:
        """Return what the store reports of an object; None where there is none."""
        with self._explain_errors("read") as filesystem:
            try:
                return dict(filesystem.info(self._key(name)))
            except FileNotFoundError:
                return None

    def get(self, name: str) -> bytes:
        """Return an object's content; `FileNotFoundError` where there is none."""
        with self._explain_errors("read", FileNotFoundError) as filesystem:
            return bytes(filesystem.cat_file(self._key(name)))

    def read_ranges(self, name: str, starts: Sequence[int], ends: Sequence[int]) -> list[bytes]:
        """Return ranges of an object's bytes, read at once; `FileNotFoundError` where there is none."""
        with self._explain_errors("read", FileNotFoundError) as filesystem:
            keys = [self._key(name)] * len(starts)
            contents = [bytes(content) for content in filesystem.cat_ranges(keys, starts, ends, on_error="raise")]
            for content, start, end in zip(contents, starts, ends, strict=True):
                if len(content) != end - start:
                    raise EOFError(f"{name} gave {len(content)} of {end - start} bytes")
            return contents

    def read_many(self, sizes: Mapping[str, int]) -> dict[str, bytes]:
        """Return the content of objects of known sizes, read at once; objects that cannot be read are left out."""
        with self._explain_errors("read") as filesystem:
            keys = [self._key(name) for name in sizes]
            contents = filesystem.cat_ranges(keys, [0] * len(keys), list(sizes.values()), on_error="return")
        return {
            name: bytes(content)
            for name, content in zip(sizes, contents, strict=True)
            if not isinstance(content, Exception)
        }

    def put(self, objects: Mapping[str, bytes | memoryview]) -> None:
        """Write objects, several at once."""
        with self._explain_errors("written") as filesystem:
            filesystem.pipe({self._key(name): bytes(content) for name, content in objects.items()})

    def create(self, name: str, content: bytes) -> None:
        """Write an object where there is none; one that exists, or is created at the same time, stays.

        Where a store does not support conditional writes, the last writer's object stays.
        """
        with self._explain_errors("written") as filesystem:
            try:
                filesystem.pipe_file(self._key(name), content, mode="create")
            except Exception as error:
                if self.info(name) is not None:
                    return
                if not _is_unsupported_condition(error):
                    raise
                filesystem.pipe_file(self._key(name), content)

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects, the first one before the others; missing objects are no error."""
        with self._explain_errors("deleted") as filesystem:
            # Some stores report a refusal only where a single object is deleted.
            for group in (list(names[:1]), list(names[1:])):
                with suppress(FileNotFoundError):
                    filesystem.rm([self._key(name) for name in group]) if len(group) > 1 else None
                    filesystem.rm_file(self._key(group[0])) if len(group) == 1 else None

    def current_time_s(self) -> float:
        """Return the time of the store's own clock in seconds, from an object that is written for this.

        It is -inf where the store does not say when the object was written, so that no object counts as old.
        """
        probe = f"{CLOCK_PREFIX}{uuid4().hex[:8]}"
        self.put({probe: b""})
        try:
            now_s = modified_s_of(self.info(probe) or {})
        finally:
            self.delete([probe])
        return now_s if math.isfinite(now_s) else -math.inf


def _is_unsupported_condition(error: Exception) -> bool:
    """Return whether an error says that a store, or its Python package, does not support conditional writes."""
    return isinstance(error, NotImplementedError | TypeError) or getattr(error, "errno", None) == errno.ENOSYS


def modified_s_of(info: Mapping[str, Any]) -> float:
    """Return when an object was written by its store's clock, in seconds; infinite where the store does not say."""
    value = next((info[name] for name in MODIFIED_FIELDS if info.get(name)), None)
    if value is None:
        return float("inf")
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.timestamp() if isinstance(value, datetime) else float(value)
