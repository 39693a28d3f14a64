"""All commands at 80 columns: every line fits, no name is cut, and a summary has at most 12 lines.

Modules: cli.doctor_table, cli.export_output, cli.extraction_output, cli.json_output, cli.output_settings,
cli.command_summary, cli.stage_lines, cli.table_layout.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from rich.cells import cell_len

from featx.cli.main import main
from tests.conftest import make_images
from tests.recipes import toy_heads, toy_recipe

WIDTH = 80
# Commands in an order in which they can run; those after the bar list what they are asked for, however long it is.
SUMMARISED = ["init images -r other.toml", "run featx.toml --final", "extract", "fit", "finetune", "ensemble"]
SUMMARISED += ["evaluate", "report"]
LISTING = ["leaks", "heads", "backbones", "backbones toy", "doctor", "runs ls", "runs show lda/all", "cache ls"]
LISTING += ["cache verify", "cache gc --dry-run", "predict images/dark/001.png images/light/002.png"]
LISTING += ["export logreg --format joblib", "evaluate --by embeddings,head", "evaluate --per-class --groups"]
LISTING += ["evaluate --verbose", "evaluate --wide", "fit --verbose", "ensemble --verbose", "runs ls --wide"]
RECIPE = toy_recipe(
    groups={"class": "class"},
    embedding=[{"backbone": "toy", "weights": "none", "pool": pool} for pool in ("avg", "avgmax")],
    head=[*toy_heads("logreg"), {"name": "lda", "trials": 1, "folds": 3, "embeddings": ["all", "avgmax"]}],
    finetune=[{"backbone": "toy", "weights": "none", "epochs": 1, "strategy": "head", "lr": [0.1, 0.001]}],
    ensemble=[{"methods": ["soft", "majority"]}],
)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, list[str]]]:
    """Return command → lines that it prints on standard output in a terminal of 80 columns."""
    folder = tmp_path_factory.mktemp("narrow")
    make_images(folder / "images")
    (folder / "featx.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", str(WIDTH))
        for name in ("FEATX_RECIPE", "FEATX_CACHE", "FEATX_RUNS"):
            patch.delenv(name, raising=False)
        yield {words: _lines(words, folder, patch) for words in (*SUMMARISED, *LISTING)}


def _lines(words: str, folder: Path, patch: pytest.MonkeyPatch) -> list[str]:
    with (folder / "stdout.txt").open("w") as stdout, pytest.MonkeyPatch.context() as inner:
        inner.setattr(sys, "argv", ["featx", *words.split()])
        inner.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as exit_info:
            main()
    assert not exit_info.value.code, words
    return (folder / "stdout.txt").read_text().splitlines()


def test_no_line_is_wider_than_the_terminal(printed: Mapping[str, list[str]]) -> None:
    wide = {words: [line for line in lines if cell_len(line) > WIDTH] for words, lines in printed.items()}
    assert {words: lines for words, lines in wide.items() if lines} == {}


def test_no_name_is_cut(printed: Mapping[str, list[str]]) -> None:
    cut = [line for lines in printed.values() for line in lines if re.search(r"\w…|…\w", line)]
    assert cut == []
    for name in ("logreg", "lda/all", "lda/avgmax", "soft", "majority", "toy/lr=0.1", "toy/lr=0.001"):
        assert any(f" {name} " in line for line in printed["runs ls"]), name
        assert any(f" {name} " in line for line in printed["evaluate --verbose"]), name


def test_a_summary_has_at_most_12_lines_and_names_the_next_command(printed: Mapping[str, list[str]]) -> None:
    for words in SUMMARISED:
        if words.startswith(("run", "report")):
            continue
        lines = printed[words]
        assert 2 <= len(lines) <= 12, (words, lines)
        assert re.match(r"next     featx \w+", lines[-1]), (words, lines)
    assert len(printed["run featx.toml --final"]) <= 24


def test_a_run_ends_with_the_choice_the_next_command_and_the_report(printed: Mapping[str, list[str]]) -> None:
    text = "\n".join(printed["run featx.toml --final"])
    assert re.search(r"\* chosen by accuracy on val: \S+, acc \d\.\d{4} \(95 %: \d\.\d+ …\s+\d", text)
    assert re.search(r"next     featx predict PHOTOS --run \S+ -r featx\.toml\n", text)
    assert printed["run featx.toml --final"][-1] == "runs/featx/report.html"
    assert printed["report"] == ["runs/featx/report.html"]


def test_hidden_columns_are_counted_and_printed_on_request(printed: Mapping[str, list[str]]) -> None:
    narrow, wide = ("\n".join(printed[words]) for words in ("evaluate", "evaluate --wide"))
    assert re.search(r"more rows: --verbose; (\d) more columns: --wide", narrow)
    assert "more column" not in wide
    for name in ("fit s", "MB"):
        assert re.search(rf"^  run.* {name}", narrow, re.MULTILINE) is None
        assert re.search(rf"^  run.* {name}", wide, re.MULTILINE)
