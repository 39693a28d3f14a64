"""Use of a few mutations of each kind of file that featx reads (`tests/fuzz.py`); tests/slow uses 20,000."""

from pathlib import Path

import pytest

from tests.fuzz import fuzz, kinds

N_EACH = 40


def test_mutated_files_are_read_or_end_in_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = home / "study"
    study.mkdir()
    monkeypatch.chdir(study)
    for name, kind in kinds(study).items():
        outcomes = fuzz(kind, N_EACH, seed=0)
        assert not outcomes.failures, (name, outcomes.failures)
        assert outcomes.counts["one line"], name
    assert list(home.iterdir()) == [study]
