"""A hundred kills of real extractions of the 2,624 solar cells, at moments spread over the whole of each run."""

from pathlib import Path

import pytest

from tests.storage.killing import check_killed_extractions

SEGMENT_ROWS = 32
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
def test_extractions_killed_a_hundred_times_end_as_an_undisturbed_one(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "featx.toml").write_text(RECIPE)
    with capsys.disabled():
        told = check_killed_extractions(home, 100, 2624, SEGMENT_ROWS)
        print(told)
    assert told.n_kills == 100
    assert told.n_hit_storing > 0
