"""Log of the openings of the test split: every damage is reported, and none prevents the next opening."""

import contextlib
import json
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

import featx
from featx.cli.main import main
from featx.study.study import Study
from featx.study.test_log import LAST, LOG, OpeningLog
from tests.printed import unwrapped


def write_log(folder: Path, n_openings: int = 3) -> OpeningLog:
    for number in range(n_openings):
        OpeningLog(folder).append({"target": "y", "runs": [f"run-{number}"]})
    return OpeningLog(folder)


def test_openings_are_read_in_order_without_problems(tmp_path: Path) -> None:
    assert OpeningLog(tmp_path).problems() == []
    log = write_log(tmp_path)
    assert [opening["runs"] for opening in log.openings] == [["run-0"], ["run-1"], ["run-2"]]
    assert log.problems([log.openings[0]["seal"]]) == []


def test_an_opening_is_appended_without_rewriting_earlier_lines(tmp_path: Path) -> None:
    write_log(tmp_path)
    content_before = (tmp_path / LOG).read_bytes()
    OpeningLog(tmp_path).append({"target": "y", "runs": []})
    assert (tmp_path / LOG).read_bytes().startswith(content_before)


@pytest.mark.parametrize("n_bytes_lost", [2, 30, 150])
def test_an_incomplete_last_line_is_reported_and_the_chain_continues(tmp_path: Path, n_bytes_lost: int) -> None:
    write_log(tmp_path, 2)
    # A process that is killed while it appends leaves an incomplete line.
    with (tmp_path / LOG).open("ab") as file:
        file.write(b'{"target": "y", "runs": ["run-2"]'[:-n_bytes_lost] or b"{")
    assert OpeningLog(tmp_path).problems() == [f"line 3 of {LOG} is incomplete or was changed"]
    OpeningLog(tmp_path).append({"target": "y", "runs": ["run-3"]})
    log = OpeningLog(tmp_path)
    assert [opening["runs"] for opening in log.openings] == [["run-0"], ["run-1"], ["run-3"]]
    assert log.problems() == [f"line 3 of {LOG} is incomplete or was changed"]


def test_a_last_line_without_a_newline_is_complete(tmp_path: Path) -> None:
    write_log(tmp_path)
    (tmp_path / LOG).write_bytes((tmp_path / LOG).read_bytes()[:-1])
    log = write_log(tmp_path, 1)
    assert len(log.openings) == 4
    assert log.problems() == []


def remove_line(number: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        lines = (folder / LOG).read_text().splitlines(keepends=True)
        (folder / LOG).write_text("".join(line for index, line in enumerate(lines) if index != number))

    return change


def change_runs(folder: Path) -> None:
    (folder / LOG).write_text((folder / LOG).read_text().replace("run-1", "run-9"))


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "the first line removed": (remove_line(0), f"line 1 of {LOG} does not continue the line before it"),
    "a line removed": (remove_line(1), f"line 2 of {LOG} does not continue the line before it"),
    "the last line removed": (remove_line(2), f"{LOG} lacks lines at its end"),
    "a line changed": (change_runs, f"line 2 of {LOG} is incomplete or was changed"),
    "the log deleted": (lambda folder: (folder / LOG).unlink(), f"{LOG} is missing"),
    "the log emptied": (lambda folder: (folder / LOG).write_text(""), f"{LOG} lacks lines at its end"),
    "the last seal deleted": (lambda folder: (folder / LAST).unlink(), f"{LAST} is missing or was changed"),
    "the last seal changed": (lambda folder: (folder / LAST).write_text("{}"), f"{LAST} is missing or was changed"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_log_is_reported(tmp_path: Path, name: str) -> None:
    write_log(tmp_path)
    change, problem = CHANGES[name]
    change(tmp_path)
    assert problem in OpeningLog(tmp_path).problems()


@pytest.mark.parametrize("name", [name for name in CHANGES if "last seal" not in name])
def test_another_opening_does_not_repair_a_changed_log(tmp_path: Path, name: str) -> None:
    write_log(tmp_path)
    CHANGES[name][0](tmp_path)
    assert write_log(tmp_path, 2).problems()


def test_test_scores_reveal_that_both_log_files_are_missing(tmp_path: Path) -> None:
    seal = write_log(tmp_path).openings[-1]["seal"]
    for name in (LOG, LAST):
        (tmp_path / name).unlink()
    assert OpeningLog(tmp_path).problems([seal]) == [f"{LOG} is missing"]


def append_many(folder: Path) -> None:
    for _ in range(10):
        OpeningLog(folder).append({"target": "y", "runs": []})


def test_concurrent_appends_make_one_chain(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        list(pool.map(append_many, [tmp_path] * 3))
    log = OpeningLog(tmp_path)
    assert len(log.openings) == 30
    assert log.problems() == []


@pytest.fixture
def opened(toy_home: Path) -> Path:
    """Return the folder of a study whose test split was opened once."""
    featx.extract()
    featx.fit(heads=["logreg", "ridge"], trials=1)
    featx.evaluate(final=True)
    return Study.open(None).folder


@pytest.mark.parametrize("content", [None, b"", b'{"when": "2026-', b"\xff\xfe\n", b"[]\n", b'{"target": "class"}\n'])
def test_a_missing_or_incomplete_log_is_reported_with_test_scores(
    opened: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    (opened / LOG).unlink() if content is None else (opened / LOG).write_bytes(content)
    problem = f"{LOG} is missing" if content is None else f"{LOG} lacks lines at its end"
    assert problem in featx.evaluate()[0].log_problems
    comparison = featx.evaluate(final=True)[0]
    assert comparison.log_problems
    for part in ("", " --final"):
        assert "the log of openings is not complete" in run_and_read(f"evaluate{part}", capsys)
    table = json.loads(run_and_read("evaluate --json", capsys))["targets"][0]
    assert table["log_problems"]
    assert any("the log of openings is not complete" in warning for warning in table["warnings"])
    assert Path(featx.report().report).read_text().count("(the log of openings is not complete: ") == 2


def run_and_read(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command and return its standard output as one line."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["featx", *words.split()])
        with contextlib.suppress(SystemExit):
            main()
    return unwrapped(capsys.readouterr().out)


def test_a_deleted_log_stays_incomplete_after_the_next_opening(tmp_path: Path) -> None:
    seal = OpeningLog(tmp_path).append({"target": "class", "runs": ["a"]})
    for file in tmp_path.glob("openings.*"):
        file.unlink()
    later_seal = OpeningLog(tmp_path).append({"target": "class", "runs": ["a"]}, [seal])
    assert OpeningLog(tmp_path).problems([later_seal]) == [
        "line 1 of openings.jsonl does not continue the line before it"
    ]
