"""A batch of images that exceeds the memory is halved."""

import pytest
import torch

from featx.robustness.attack_batches import halved_batches


def test_a_batch_that_exceeds_the_memory_is_halved() -> None:
    def attack_rows(rows: slice) -> int:
        if rows.stop - rows.start > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return rows.stop - rows.start

    sizes = [size for _, size in halved_batches(20, 2, 8, attack_rows)]
    assert sizes == [2] * 9
    with pytest.raises(RuntimeError, match="out of memory"):
        list(halved_batches(2, 0, 1, lambda rows: torch.ones(1) if rows.start else raise_out_of_memory()))
    with pytest.raises(ValueError, match="another problem"):
        list(halved_batches(8, 0, 4, raise_other))


def raise_out_of_memory() -> torch.Tensor:
    raise torch.OutOfMemoryError("CUDA out of memory")


def raise_other(rows: slice) -> None:
    raise ValueError("another problem")
