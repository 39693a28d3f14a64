"""Object stores (``s3://…`` and whatever else fsspec knows), read object by object."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, ClassVar

from featx.errors import DataError, ReadError
from featx.images.contents import REFUSED, State, check_size, too_large
from featx.images.trees import Entry, NamedEntries
from featx.locations import filesystem_at

SETTING = "data.source"


def read_object(url: str) -> bytes:
    """Return an object's bytes; errors are those of `featx.images.sources.read`."""
    filesystem, key = filesystem_at(url, SETTING)
    try:
        content = bytes(filesystem.cat_file(key))
    except FileNotFoundError:
        raise
    except Exception as error:  # every store has errors of its own
        raise ReadError(f"{REFUSED}: {error}") from error
    check_size(len(content))
    return content


@dataclass(frozen=True)
class ObjectTree(NamedEntries):
    """All objects whose keys begin with a URL."""

    place: str
    prefix: str = ""
    nothing: ClassVar[str] = "there is no such object"

    @cached_property
    def named(self) -> dict[str, Entry]:
        """See `featx.images.trees.NamedEntries`."""
        filesystem, folder = filesystem_at(self.place, SETTING)
        try:
            found = filesystem.find(folder, detail=True)
        except Exception as error:  # every store has errors of its own
            raise DataError(
                f"data.source: {self.place} cannot be listed: {error or type(error).__name__}; check its name, its "
                "permissions and the store's settings (for S3: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …)"
            ) from error
        if not found:
            raise DataError(f"data.source: nothing lies at {self.place!r}; expected objects whose keys begin so")
        entries = {}
        for key, info in found.items():
            name = key.lstrip("/").removeprefix(folder.strip("/")).lstrip("/")
            if name:
                reason = too_large(info.get("size") or 0)
                outcome = "unreadable" if reason else ""
                entries[name] = Entry(name, filesystem.unstrip_protocol(key), _state(info), outcome, reason)
        return entries


def _state(info: dict[str, Any]) -> State | None:
    """Return size and what the store says of the version, as a number; None where it says nothing."""
    version = next(
        (info[key] for key in ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created") if key in info), None
    )
    if version is None:
        return None
    number = int.from_bytes(blake2b(str(version).encode(), digest_size=7).digest(), "big")
    return int(info["size"]), number
