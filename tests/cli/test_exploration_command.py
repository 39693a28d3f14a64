"""The command ``featx explore``: files, summary and errors."""

import json
import sys
from pathlib import Path

import pytest

from featx.cli.command_summary import MAX_SUMMARY_LINES
from featx.cli.main import main
from tests.conftest import make_images


def run(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Run the command; return the exit code, and standard output or, after an error, standard error."""
    monkeypatch.setattr(sys, "argv", ["featx", "explore", *arguments])
    monkeypatch.setenv("COLUMNS", "80")
    capsys.readouterr()
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    output = capsys.readouterr()
    return code, output.err if code else output.out


def test_a_bare_source_gets_a_page_and_tables(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_images(home / "images", n_each=10)
    code, text = run(["images"], capsys, monkeypatch)
    lines = text.splitlines()
    assert code == 0
    assert len(lines) <= MAX_SUMMARY_LINES
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("20 images explored; ")
    assert lines[-1].split() == ["next", "featx", "extract", "images"]
    assert (home / "runs" / "featx" / "explore.html").is_file()
    assert (home / "runs" / "featx" / "explore" / "unreadable.csv").is_file()


def test_many_highlights_are_cut_to_twelve_lines(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from featx.cli import exploration_command
    from featx.exploration.analysis import AnalysisResult, Highlight
    from featx.exploration.explore import Exploration
    from featx.exploration.image_loading import load_images, open_source
    from featx.progress import no_progress
    from featx.reports.exploration.explore_page import WrittenExploration

    monkeypatch.setenv("COLUMNS", "80")
    make_images(home / "images", n_each=10)
    images = load_images(open_source("images", None), None, no_progress)
    highlights = [Highlight(f"{number} \x1b[31m[/red] " + "word " * 25) for number in range(9)]
    exploration = Exploration(images, {"all": AnalysisResult(highlights=tuple(highlights))})
    result = WrittenExploration("featx", "images", 20, highlights, [], {}, {}, "explore.html", "explore")
    capsys.readouterr()
    exploration_command._print(exploration, result, "images", None)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= MAX_SUMMARY_LINES
    assert max(map(len, lines)) <= 80
    assert any("more lines: --verbose" in line for line in lines)
    assert "\x1b" not in "".join(lines)
    assert "[/red]" in " ".join(lines)


def test_json_names_files_facts_and_tables(
    toy_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, text = run(["--json", "--out", "look", "--max-images", "30"], capsys, monkeypatch)
    result = json.loads(text)
    assert code == 0
    assert result["n_images"] == 30
    assert Path(result["page"]).is_file()
    assert {f"{name}.parquet" for name in result["tables"]} <= {path.name for path in Path(result["folder"]).iterdir()}
    assert result["facts"]["recognition"]["n_found"] == 48


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nowhere"], "error: 'nowhere' does not exist"),
        ([""], "error: the source is empty"),
        (["empty"], "error: no images with labels were recognised in 'empty'"),
        (["images", "--save-inputs", "file/inputs"], "error: 'file/inputs' is no folder that can be written"),
        (["images", "--out", "file"], "error: 'file' is no folder that can be written; name another one"),
        ([], "error: featx.toml: no such recipe"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    error: str,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_images(home / "images", n_each=10)
    (home / "file").write_text("")
    (home / "empty").mkdir()
    code, text = run(arguments, capsys, monkeypatch)
    assert code == 1
    assert text.startswith(error)
    assert text.count("\n") == 1
