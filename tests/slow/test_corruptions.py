"""Extraction of ten thousand damaged files: it never crashes, and every row belongs to its image."""

from collections import Counter
from pathlib import Path

import pytest

from tests.corruptions import check_corrupted


@pytest.mark.slow
# Pillow warns. Outside of pytest featx ignores these warnings.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_ten_thousand_damaged_files_are_reported_or_embedded(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extraction, seconds = check_corrupted(home, 10_000, seed=0, n_alone=1000)
    assert extraction.n_embedded > 2000
    assert extraction.n_unreadable > 2000
    with capsys.disabled():
        reasons = Counter(reason.split(" (")[0][:60] for *_, reason in extraction.failures)
        print(
            f"\n{extraction.n_embedded} embedded, {extraction.n_unreadable} unreadable, "
            f"{extraction.n_duplicate} equal: {seconds:.0f} s"
        )
        for reason, number in reasons.most_common(12):
            print(f"  {number:5} {reason}")
