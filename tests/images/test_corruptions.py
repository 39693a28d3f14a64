"""Damaged files by the hundred; `tests/slow/test_corruptions.py` does ten thousand."""

from pathlib import Path

import pytest

from tests.corruptions import check_corrupted


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, as featx ignores them where pytest does not interfere
def test_damaged_files_are_reported_or_embedded_correctly(home: Path) -> None:
    extraction, _ = check_corrupted(home, 300, seed=1, n_alone=60)
    assert extraction.n_embedded > 60
    assert extraction.n_unreadable > 60
