"""A hundred kills of extractions of the 2,624 solar cells, at moments spread over the whole of each run."""

from pathlib import Path

import pytest

from tests.storage.killing import check_killed_extractions

N_KILLS, N_PARTS = 100, 5
SEGMENT_ROWS = 8  # a batch: so that many kills fall into storing
RECIPE = f"""
[data]
source = "package:elpv_dataset/data"
labels = {{ file = "labels.csv", columns = ["path", "defect", "cell"], separator = "whitespace" }}
[targets.defective]
column = "defect"
above = 0.5
[[embedding]]
backbone = "efficientnet_lite0"
size_px = 32
precision = "fp32"
[extraction]
runtime = "torch"
segment_rows = {SEGMENT_ROWS}
"""


@pytest.mark.slow
@pytest.mark.parametrize("part", range(N_PARTS))  # a hundred kills, none of whose tests takes what is held for a hang
def test_extractions_that_are_killed_end_as_an_undisturbed_one(
    part: int, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "featx.toml").write_text(RECIPE)
    with capsys.disabled():
        told = check_killed_extractions(home, N_KILLS // N_PARTS, 2624, SEGMENT_ROWS)
        print(f"part {part}: {told}")
    assert told.n_kills == N_KILLS // N_PARTS
