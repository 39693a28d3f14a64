"""Object stores (``s3://…`` and all others that fsspec supports), read object by object."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, ClassVar

from featx.errors import DataError, ReadError
from featx.images.contents import FileState, check_size, oversize_reason
from featx.images.trees import Entry, ListedTree
from featx.locations import open_filesystem

SOURCE_SETTING = "data.source"


def read_object(url: str) -> bytes:
    """Return an object's bytes; errors are those of `featx.images.sources.read_content`."""
    filesystem, key = open_filesystem(url, SOURCE_SETTING)
    try:
        content = bytes(filesystem.cat_file(key))
    except FileNotFoundError:
        raise
    # Each kind of store has its own errors.
    except Exception as error:
        raise ReadError(f"the object store refuses: {error}") from error
    check_size(len(content))
    return content


@dataclass(frozen=True)
class ObjectTree(ListedTree):
    """All objects whose keys begin with a URL.

    Attributes
    ----------
    place
        The URL.
    prefix
        Text that ids begin with; empty.
    """

    place: str
    prefix: str = ""
    missing_reason: ClassVar[str] = "there is no such object"

    @cached_property
    def entries_by_name(self) -> dict[str, Entry]:
        """The objects by their keys below the URL."""
        filesystem, folder = open_filesystem(self.place, SOURCE_SETTING)
        try:
            infos = filesystem.find(folder, detail=True)
        # Each kind of store has its own errors.
        except Exception as error:
            raise DataError(
                f"data.source: {self.place} cannot be listed: {error or type(error).__name__}; check its name, its "
                "permissions and the store's settings (for S3: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …)"
            ) from error
        if not infos:
            raise DataError(f"data.source: no objects at {self.place!r}; expected keys that begin with it")
        entries = {}
        for key, info in infos.items():
            name = key.lstrip("/").removeprefix(folder.strip("/")).lstrip("/")
            if name:
                reason = oversize_reason(info.get("size") or 0)
                outcome = "unreadable" if reason else ""
                entries[name] = Entry(name, filesystem.unstrip_protocol(key), _object_state(info), outcome, reason)
        return entries


def _object_state(info: dict[str, Any]) -> FileState | None:
    """Return the size of an object and a hash of its version; None if the store gives no version."""
    version = next(
        (info[key] for key in ("ETag", "etag", "md5Hash", "LastModified", "mtime", "created") if key in info), None
    )
    if version is None:
        return None
    number = int.from_bytes(blake2b(str(version).encode(), digest_size=7).digest(), "big")
    return int(info["size"]), number
