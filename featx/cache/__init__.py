"""List a cache, check and mend it, join its small segments, clear it up, export it: ``featx cache`` in Python."""

from featx.cache.clearing import Cleared, compact, gc
from featx.cache.exporting import Exported, export
from featx.cache.listing import Listed, ls
from featx.cache.verification import Verified, verify

__all__ = ["Cleared", "Exported", "Listed", "Verified", "compact", "export", "gc", "ls", "verify"]
