"""Changed or truncated files of a study, which give an error, a warning or the same numbers."""

from pathlib import Path

from tests.flips import FlippedStudy, make_study, report


def test_changed_files_never_change_numbers_silently(home: Path) -> None:
    study = FlippedStudy(make_study(home), evaluated_share=0.05, seed=0)
    study.flip_bits(250)
    study.truncate(60)
    assert not study.outcomes.failures, report(study.outcomes)
    assert study.outcomes.counts.total() == 310
