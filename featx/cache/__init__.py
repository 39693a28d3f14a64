"""List, verify, repair, compact, clean and export a cache: ``featx cache`` in Python."""

from featx.cache.clearing import ClearingResult, compact, gc
from featx.cache.exporting import ExportedVectors, export
from featx.cache.listing import StoreListing, ls
from featx.cache.verification import VerificationResult, verify

__all__ = [
    "ClearingResult",
    "ExportedVectors",
    "StoreListing",
    "VerificationResult",
    "compact",
    "export",
    "gc",
    "ls",
    "verify",
]
