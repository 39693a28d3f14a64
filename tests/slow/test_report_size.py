"""Reports of large studies are small and fast: 50 classes or 40 labels, 30 runs, 5,000 val and 20,000 test rows."""

from pathlib import Path

import pytest

from tests.benchmarks.report_size import MAX_BYTES, MAX_SECONDS, N_RUNS, SIZES, measure_report


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_a_report_of_many_runs_is_small_and_fast(home: Path, kind: str) -> None:
    seconds, n_bytes, files = measure_report(SIZES, kind, N_RUNS)
    assert seconds < MAX_SECONDS
    assert n_bytes < MAX_BYTES
    assert len(files.cards) == N_RUNS
