"""Ten thousand damaged files: the run never dies, and no image gets another's row."""

from collections import Counter
from pathlib import Path

import pytest

from tests.corruptions import check_corrupted


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, as featx ignores them where pytest does not interfere
def test_ten_thousand_damaged_files_are_each_reported_or_embedded_as_themselves(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done, seconds = check_corrupted(home, 10_000, seed=0, n_alone=1000)
    assert done.n_embedded > 2000
    assert done.n_unreadable > 2000
    with capsys.disabled():
        reasons = Counter(reason.split(" (")[0][:60] for *_, reason in done.failures)
        print(
            f"\n{done.n_embedded} embedded, {done.n_unreadable} unreadable, {done.n_duplicate} equal: {seconds:.0f} s"
        )
        for reason, number in reasons.most_common(12):
            print(f"  {number:5} {reason}")
