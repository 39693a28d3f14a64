"""Search for copies that are planted among solar cells, which all look similar: recall and false alarms."""

from pathlib import Path

import pytest

import featx
from featx.evaluation.leaks import find_copies
from featx.study.study import Study
from tests.planted import CHANGES, cells, found_copies, plant


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12])
def test_exact_and_reencoded_copies_across_parts_are_found(
    seed: int, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The minimum correlation was chosen on the other half (tests/benchmarks/copies.py).
    unseen = cells().iloc[1::2]
    table = plant(home, unseen, 200, {"jpeg 75": CHANGES["jpeg 75"]}, seed)
    featx.extract()
    recall, false_alarms = found_copies(table, find_copies(Study.open(None)).frame)
    with capsys.disabled():
        print(f"\nseed {seed}: found {recall}, {false_alarms:.4f} of the cells falsely flagged")
    assert recall["exact"] >= 0.99
    assert recall["jpeg 75"] >= 0.95
    assert false_alarms <= 0.01
