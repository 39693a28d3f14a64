"""Stores of embeddings: segments that become visible as a whole, and their checks, compaction and leases.

This package does not depend on networks or images.
"""
