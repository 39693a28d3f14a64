"""Image contents that kill or delay the process that decodes them, and no other process."""

import signal
import time
from pathlib import Path


class Fuse(bytes):
    """Image content that kills the decoding process that receives it."""

    def __reduce__(self) -> "tuple[object, tuple[bytes]]":
        return restore_fuse, (bytes(self),)


def restore_fuse(content: bytes) -> Fuse:
    """Return the content again, or kill the process if it is a decoding worker."""
    if b"popen_loky" in Path("/proc/self/cmdline").read_bytes():
        signal.raise_signal(signal.SIGKILL)
    return Fuse(content)


class Drag(bytes):
    """Image content that takes a decoding process 0.1 s to receive."""

    def __reduce__(self) -> "tuple[object, tuple[bytes]]":
        return restore_drag, (bytes(self),)


def restore_drag(content: bytes) -> Drag:
    """Return the content again, after 0.1 s if the process is a decoding worker."""
    if b"popen_loky" in Path("/proc/self/cmdline").read_bytes():
        time.sleep(0.1)
    return Drag(content)
