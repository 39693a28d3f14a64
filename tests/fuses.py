"""A picture that kills the process that decodes it, and none of those that pass it on."""

import signal
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
