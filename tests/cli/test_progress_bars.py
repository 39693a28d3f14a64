"""Progress bars and messages on the screen.

Modules: cli.progress_lines, progress.
"""

import os
import pty
import re
import subprocess
import sys
import time
from contextlib import suppress
from io import StringIO

import pytest
from rich.console import Console

from featx.cli.output_settings import OutputSettings, printing
from featx.cli.progress_bars import NEWS_END, ProgressDisplay, watching
from featx.cli.progress_lines import ProgressLines
from featx.cli.text import message_text


def test_the_total_of_a_stage_can_grow() -> None:
    console = Console(file=StringIO(), width=120)
    screen = ProgressDisplay(console)
    for n_done, total in ((5, 6), (6, 6), (7, 11)):
        screen.progress("fit svm", n_done, total)
    with console.capture() as capture:
        console.print(screen)
    assert "7/11" in capture.get()


@pytest.mark.parametrize("name", ["[/]", "[red]cat[/red]", ":cat:", "{task.id}"])
def test_markup_in_bars_and_news_is_drawn_as_plain_text(name: str) -> None:
    console = Console(file=StringIO(), width=160, force_terminal=True, no_color=True)
    screen = ProgressDisplay(console)
    screen.progress(name, 1, 2, f"news of {name}{NEWS_END}latest {name}")
    with console.capture() as capture:
        console.print(screen)
    # The name occurs in two stages, the news and the latest message.
    assert capture.get().count(name) == 4
    with console.capture() as capture:
        screen.progress("note", 0, 1, f"note {name}")
    assert f"note {name}" in capture.get()


def test_control_characters_in_bars_and_news_are_shown_as_escapes() -> None:
    console = Console(file=StringIO(), width=160)
    screen = ProgressDisplay(console)
    screen.progress("a\x1b[2J", 1, 2, "latest \x07\n")
    with console.capture() as capture:
        console.print(screen)
        screen.progress("note", 0, 1, "note \x9b")
    assert "a\\x1b[2J" in capture.get()
    assert "latest \\x07\\n" in capture.get()
    assert "note \\x9b" in capture.get()


def test_without_a_terminal_only_messages_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with watching() as progress:
        progress("embed", 1, 2, "latest")
        progress("note", 0, 1, "no [ensemble]\x07")
    assert capsys.readouterr().err == "no [ensemble]\\x07\n"
    with printing(OutputSettings(quiet=True)), watching() as progress:
        progress("note", 0, 1, "no ensemble")
    assert capsys.readouterr().err == ""


def test_logs_get_a_line_now_and_then(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 1.0, 21.0, 31.0, 32.0, 62.0, 1000.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    lines = ProgressLines()
    for stage, n_done, total in [
        ("embed", 100, 9000),  # the stage begins with what is stored
        ("embed", 200, 9000),
        ("embed", 400, 9000),  # 300 steps in 30 s
        ("fit svm", 0, 8),
        ("fit svm", 3, 8),  # 3 steps in 30 s
        ("fit rf", 0, 8),
    ]:
        lines.progress(stage, n_done, total)
    assert capsys.readouterr().err.splitlines() == [
        "embed 400/9000, 10.0/s, about 14 min left",
        "fit svm 3/8, 10.0 s/step, about 50 s left",
        "fit rf 0/8",
    ]


def test_bars_leave_one_line() -> None:
    screen = ProgressDisplay(Console(file=StringIO(), width=120))
    assert screen.done_line(0.1) == ""
    screen.progress("embed", 48, 48)
    assert screen.done_line(2.0) == "embed 48/48 in 2.0 s"
    screen.progress("tune svm", 3, 8)
    assert screen.done_line(3.0) == "2 steps in 3.0 s; last step: tune svm"


def test_bars_are_drawn_in_a_terminal_and_removed_at_the_end() -> None:
    code = (
        "import sys, time\nfrom featx.cli.progress_bars import watching\n"
        "with watching() as progress:\n    progress('embed', 3, 3); time.sleep(0.3); print('result')\n"
    )
    output = in_terminal([sys.executable, "-c", code])
    assert "━" in output
    assert output.rstrip().splitlines()[-1].strip().startswith("embed 3/3 in 0.")


def test_results_are_printed_above_the_bars() -> None:
    code = (
        "import time\nfrom featx.cli import console\nfrom featx.cli.progress_bars import watching\n"
        "with watching() as progress:\n    progress('embed', 3, 4); time.sleep(0.3)\n"
        "    console.say_wrapped('extract', '48 files'); progress('embed', 4, 4); time.sleep(0.3)\n"
    )
    lines = [line.rstrip() for line in in_terminal([sys.executable, "-c", code]).splitlines()]
    assert lines.count("extract  48 files") == 1, lines
    assert any(line.startswith("embed") and "4/4" in line for line in lines[lines.index("extract  48 files") :])


def in_terminal(command: list[str]) -> str:
    """Return what a command prints in a terminal."""
    controller, terminal = pty.openpty()
    with subprocess.Popen(command, stdout=terminal, stderr=terminal, stdin=terminal):
        os.close(terminal)
        chunks = []
        # Reading fails when the process has closed the terminal.
        with suppress(OSError):
            while chunk := os.read(controller, 65536):
                chunks.append(chunk)
    os.close(controller)
    text = b"".join(chunks).decode()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.replace("\r", "\n"))


@pytest.mark.parametrize(("variable", "has_codes"), [("NO_COLOR", False), ("FORCE_COLOR", True), ("OTHER", False)])
def test_colours_follow_the_environment(
    variable: str, has_codes: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from featx.cli import console

    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(variable, "1")
    console.table("title", ["run", "score"], [["svm", 0.5]])
    assert ("\x1b[" in capsys.readouterr().out) == has_codes


def test_at_80_columns_the_rate_and_the_remaining_time_are_whole() -> None:
    console = Console(file=StringIO(), width=80)
    screen = ProgressDisplay(console)
    for n_done in range(0, 50_000, 10_000):
        screen.progress(
            "compare images", n_done, 70_000, f"{NEWS_END}bf16 by openvino on cpu, its first 10 layers fp16"
        )
    with console.capture() as capture:
        console.print(screen)
    bar, note = capture.get().splitlines()
    assert re.search(r"40000/70000 \d+\.\d/s +\d:\d\d:\d\d", bar)
    assert note.strip() == "compare images  bf16 by openvino on cpu, its first 10 layers fp16"


def test_messages_are_broken_between_words_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "error: expected a folder that exists"
    assert message_text(text) == text
    terminal, side_of_program = pty.openpty()
    monkeypatch.setenv("COLUMNS", "20")
    with os.fdopen(side_of_program, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        assert message_text(text) == "error: expected a\n  folder that exists"
    os.close(terminal)
