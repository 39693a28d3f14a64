"""Concurrent processes that write to one study, and the leftovers of killed ones."""

import subprocess
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

import featx
from featx.files.atomic import atomic_folder, machine_id
from featx.storage.leases import remove_leftovers
from featx.study.study import Study
from tests.processes import start_script

N_PROCESSES, N_WRITES = 4, 60
FIT_AGAIN = """
import tests.conftest, featx
for _ in range(3):
    (run,) = featx.fit(heads=["ridge"], trials=4, force=True)
    print(run.run, run.is_new)
"""


def write_repeatedly(final_path: Path) -> list[str]:
    """Write a folder many times under one name, and return the errors."""
    errors = []
    for number in range(N_WRITES):
        try:
            with atomic_folder(final_path) as partial_path:
                (partial_path / "number.txt").write_text(str(number))
        except OSError as error:
            errors.append(repr(error))
    return errors


def test_concurrent_writers_leave_one_complete_folder(tmp_path: Path) -> None:
    final_path = tmp_path / "run"
    with ProcessPoolExecutor(N_PROCESSES, mp_context=get_context("spawn")) as pool:
        errors = [
            error
            for process_errors in pool.map(write_repeatedly, [final_path] * N_PROCESSES)
            for error in process_errors
        ]
    assert errors == []
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert [path.name for path in final_path.iterdir()] == ["number.txt"]


@pytest.mark.slow
def test_concurrent_forced_fits_all_make_the_run(toy_home: Path) -> None:
    featx.extract()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    fits = [start_script(FIT_AGAIN, **pipes) for _ in range(3)]
    outputs = [fit.communicate() for fit in fits]
    assert [fit.returncode for fit in fits] == [0, 0, 0], outputs
    assert len({line for output, _ in outputs for line in output.splitlines()}) == 1
    study = Study.open(None)
    assert len(study.runs()) == 1
    assert not list(study.folder.glob(".trials-*.journal"))


def test_the_next_fit_removes_private_folders_of_dead_processes(toy_home: Path) -> None:
    featx.extract()
    folder = Study.open(None).folder
    dead = folder / f".ridge-class-0a1b2c3d.{machine_id()}-999999999-1-0123abcd"
    (dead / "deep").mkdir(parents=True)
    (dead / "deep" / "model.joblib").write_text("half a model")
    (folder / f".metrics.json.{machine_id()}-999999999-1-0123abcd").write_text("{")
    with atomic_folder(folder / "live") as live:
        featx.fit(heads=["ridge"], trials=1)
        assert live.is_dir()
        assert not dead.exists()
    assert not list(folder.glob(f".*.{machine_id()}-*"))


def test_removing_leftovers_does_not_follow_links(tmp_path: Path) -> None:
    outside_folder = tmp_path / "outside"
    outside_folder.mkdir()
    (outside_folder / "file.txt").write_text("content")
    study = tmp_path / "study"
    study.mkdir()
    (study / f".run.{machine_id()}-999999999-1-0123abcd").symlink_to(outside_folder)
    remove_leftovers(study)
    assert list(study.iterdir()) == []
    assert (outside_folder / "file.txt").read_text() == "content"
    remove_leftovers(tmp_path / "nowhere")
