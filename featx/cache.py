"""List a cache, check and mend it, join its small segments, clear it up, export it: ``featx cache`` in Python."""

from featx.caches.clearing import Cleared, compact, gc
from featx.caches.exporting import Exported, export
from featx.caches.listing import Listed, ls
from featx.caches.verification import Verified, verify

__all__ = ["Cleared", "Exported", "Listed", "Verified", "compact", "export", "gc", "ls", "verify"]
