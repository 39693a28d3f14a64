"""Use of 20,000 mutated files: no traceback, no hang, no message of several lines, and no file outside the study."""

from pathlib import Path

import pytest

from tests.fuzz import fuzz, kinds

N_EACH = 1250


@pytest.mark.slow
def test_twenty_thousand_mutated_files_give_no_failure(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = home / "study"
    study.mkdir()
    monkeypatch.chdir(study)
    failures, n = [], 0
    for name, kind in kinds(study).items():
        outcomes = fuzz(kind, N_EACH, seed=1)
        n += N_EACH
        failures += [f"{name}: {failure}" for failure in outcomes.failures]
        with capsys.disabled():
            print(f"{name}: {outcomes.counts['read']} read, {outcomes.counts['one line']} errors of one line")
    assert n >= 20_000
    assert not failures
    assert list(home.iterdir()) == [study]
