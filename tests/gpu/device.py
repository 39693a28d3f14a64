"""The device of the tests marked ``gpu``: CUDA, or in a rehearsal the CPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

TEST_DEVICE = os.environ.get("FEATX_TEST_DEVICE", "cuda")
IS_CUDA = TEST_DEVICE == "cuda"
ON_DEVICE = [
    pytest.mark.gpu,
    pytest.mark.skipif(IS_CUDA and not torch.cuda.is_available(), reason="no CUDA device is here"),
]
needs_cuda = pytest.mark.skipif(not IS_CUDA, reason="the CPU has no limit of memory that a test could set")


@contextmanager
def memory_limit(limit_bytes: int) -> Iterator[None]:
    """Let torch allocate only so many bytes of the GPU while the block runs."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(limit_bytes / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
