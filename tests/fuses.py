"""Pictures that kill or slow the process that decodes them, and none of those that pass them on."""

import signal
import time
from pathlib import Path


class Fuse(bytes):
    """A picture's bytes that are deadly to decoders."""

    def __reduce__(self) -> "tuple[object, tuple[bytes]]":
        return lit, (bytes(self),)


def lit(content: bytes) -> Fuse:
    """Return it again, but end a decoder."""
    if b"popen_loky" in Path("/proc/self/cmdline").read_bytes():
        signal.raise_signal(signal.SIGKILL)
    return Fuse(content)


class Drag(bytes):
    """A picture's bytes that take a decoder a tenth of a second to receive."""

    def __reduce__(self) -> "tuple[object, tuple[bytes]]":
        return received, (bytes(self),)


def received(content: bytes) -> Drag:
    """Return it again, to a decoder late."""
    if b"popen_loky" in Path("/proc/self/cmdline").read_bytes():
        time.sleep(0.1)
    return Drag(content)
