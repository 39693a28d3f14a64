"""Numbers of a finished study after 20,000 flipped bits and 2,000 truncated files."""

from pathlib import Path

import pytest

from tests.flips import FlippedStudy, make_study, report

N_PARTS = 10


@pytest.mark.slow
@pytest.mark.parametrize("part", range(N_PARTS))
def test_changed_files_never_change_numbers_silently(part: int, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = FlippedStudy(make_study(home), evaluated_share=0.01, seed=part + 1)
    study.flip_bits(20_000 // N_PARTS)
    study.truncate(2_000 // N_PARTS)
    with capsys.disabled():
        print(f"part {part}: {report(study.outcomes)}")
    assert not study.outcomes.failures, report(study.outcomes)
