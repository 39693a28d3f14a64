"""Killed attacks and evaluations on corrupted images: the next call continues and ends like an undisturbed one."""

import json
import random
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import featx
from tests.conftest import make_images
from tests.processes import kill_group, run_command, start_process, wait_until
from tests.recipes import toy_heads, toy_recipe

N_KILLS = 3
# Batches of an attack, and images under one kind of damage, take about as long as it takes to notice them.
MAX_DELAY_S = 0.2
COMMANDS = {
    "attacks": ("attack", "--method", "pgd", "--method", "square", "--steps", "60", "--queries", "150"),
    "corruptions": ("corrupt", "--images", "40"),
}


@pytest.fixture
def study(home: Path) -> Path:
    make_images(home / "images", n_each=120)
    (home / "featx.toml").write_text(toy_recipe(head=toy_heads("logreg", "rf")))
    featx.extract()
    featx.fit()
    return home


def results_of(study: Path, words: tuple[str, ...]) -> Any:
    """Return the JSON of a command that runs to its end."""
    output = study / "output.txt"
    output.unlink(missing_ok=True)
    process = start_process(run_command, study, *words, "--json")
    process.join()
    text = output.read_text()
    assert process.exitcode == 0, text
    return json.loads(text[text.index("{\n") :])


def stored_parts(folder: Path) -> dict[Path, int]:
    """Return path → time of the last change of the tables of batches, of attacks and of kinds of damage."""
    paths = [path for path in folder.rglob("*.parquet") if "examples" not in path.name]
    return {path: path.stat().st_mtime_ns for path in paths}


def tables_in(folder: Path) -> dict[str, pd.DataFrame]:
    """Return the finished tables of a folder without the durations."""
    tables = {path.name: pd.read_parquet(path) for path in sorted(folder.rglob("*.parquet"))}
    return {name: table.drop(columns="seconds", errors="ignore") for name, table in tables.items()}


def kill_after_part(study: Path, words: tuple[str, ...], folder: Path, delay_s: float) -> None:
    """Start a command and kill it, with all processes that it started, some time after it has stored one more table."""
    n_before = len(stored_parts(folder))
    process = start_process(run_command, study, *words)
    assert wait_until(lambda: process.exitcode is not None or len(stored_parts(folder)) > n_before)
    time.sleep(delay_s)
    assert process.exitcode is None, (study / "output.txt").read_text()
    kill_group(process)


@pytest.mark.slow
@pytest.mark.parametrize("results", COMMANDS)
def test_killed_commands_end_like_an_undisturbed_one(
    results: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = COMMANDS[results]
    expected = results_of(study, words)
    folder = next((study / "runs").glob(f"*/{results}"))
    undisturbed_folder = folder.rename(study / "undisturbed")
    rng = random.Random(0)
    for number in range(N_KILLS):
        parts_before = stored_parts(folder)
        kill_after_part(study, words, folder, rng.uniform(0, MAX_DELAY_S))
        parts_after = stored_parts(folder)
        with capsys.disabled():
            print(f"{results}, kill {number + 1}: {len(parts_before)} stored tables before, {len(parts_after)} after")
        # A batch is removed when its attack is finished; nothing else changes what was stored.
        assert all(
            parts_after.get(path) == digest for path, digest in parts_before.items() if ".parts" not in str(path)
        )
    assert results_of(study, words) == expected
    resumed_tables, original_tables = tables_in(folder), tables_in(undisturbed_folder)
    assert resumed_tables.keys() == original_tables.keys()
    for name, table in resumed_tables.items():
        assert_frame_equal(table, original_tables[name], obj=name)
