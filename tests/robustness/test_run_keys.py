"""Keys of runs: equal files give equal keys, and an ensemble that contains itself has none."""

import shutil
from pathlib import Path

import pytest

from featx.errors import StoreError
from featx.files.seals import read_sealed, write_sealed
from featx.robustness.run_keys import run_key
from featx.study.run_folder import SPEC, RunFolder
from featx.study.study import Study


@pytest.fixture
def ensemble(study: Study, tmp_path: Path) -> RunFolder:
    """Return a copy of an ensemble with its members beside it."""
    (run,) = study.runs("class", ["soft"])
    for name in (run.name, *run.members):
        shutil.copytree(run.path.parent / name, tmp_path / name)
    return RunFolder(tmp_path / run.name)


def test_the_key_of_an_ensemble_follows_the_files_of_its_members(ensemble: RunFolder) -> None:
    key = run_key(ensemble)
    assert key == run_key(RunFolder(ensemble.path))
    header = ensemble.path.parent / next(iter(ensemble.members)) / "header.json"
    write_sealed(header, read_sealed(header) | {"body_sha256": "0" * 64})
    assert run_key(RunFolder(ensemble.path)) != key


def test_an_ensemble_that_contains_itself_is_refused(ensemble: RunFolder) -> None:
    spec = read_sealed(ensemble.path / SPEC)
    write_sealed(ensemble.path / SPEC, spec | {"members": {ensemble.name: "0" * 64}})
    with pytest.raises(StoreError, match=f"ensemble {ensemble.name} contains itself; remove its folder"):
        run_key(RunFolder(ensemble.path))
