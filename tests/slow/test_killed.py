"""Extractions of the 2,624 solar cells that are killed a hundred times, at times spread over each run."""

from pathlib import Path

import pytest

from tests.recipes import toy_recipe
from tests.storage.killing import check_killed_extractions

N_KILLS, N_PARTS = 100, 5
# Segments of one batch make it likely that a kill hits a write.
SEGMENT_ROWS = 8
RECIPE = toy_recipe(
    data={
        "source": "package:elpv_dataset/data",
        "labels": {"file": "labels.csv", "columns": ["path", "defect", "cell"], "separator": "whitespace"},
    },
    targets={"defective": {"column": "defect", "above": 0.5}},
    embedding=[{"backbone": "efficientnet_lite0", "size_px": 32, "precision": "fp32"}],
    head=None,
    extraction={"runtime": "torch", "segment_rows": SEGMENT_ROWS},
)


@pytest.mark.slow
# Several parts keep each test below the time limit of a hanging test.
@pytest.mark.parametrize("part", range(N_PARTS))
def test_killed_extractions_end_like_an_undisturbed_one(
    part: int, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "featx.toml").write_text(RECIPE)
    with capsys.disabled():
        summary = check_killed_extractions(home, N_KILLS // N_PARTS, 2624, SEGMENT_ROWS)
        print(f"part {part}: {summary}")
    assert summary.n_kills == N_KILLS // N_PARTS
    assert summary.n_hit_writing, "no kill hit a write"
