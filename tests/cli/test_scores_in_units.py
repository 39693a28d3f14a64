"""Scores of numbers in small and in large units keep their digits in all outputs, in 80 columns."""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import featx
from featx.cli.main import main
from tests.recipes import LABEL_TABLE, toy_heads, toy_recipe

COMMANDS = (
    "fit",
    "ensemble",
    "evaluate --groups",
    "evaluate -v",
    "corrupt --kind fog --images 6",
    "run",
    "runs ls",
    "predict images/labels.csv",
)


def write_study(unit: float) -> None:
    """Write a recipe whose target are the brightnesses of images in a unit, with noise."""
    ids = sorted(str(path.relative_to("images")) for path in Path("images").rglob("*.png"))
    noise = np.random.default_rng(0).normal(0, 0.4, len(ids))
    levels = (noise + [float(name.startswith("light")) for name in ids]) * unit
    groups = ["a" if number % 2 else "b" for number in range(len(ids))]
    pd.DataFrame({"path": ids, "level": levels, "group": groups}).to_csv("images/labels.csv", index=False)
    sections = {
        "targets": {"level": {"column": "level", "kind": "numbers"}},
        "head": toy_heads("ridge", "rf"),
        "groups": {"side": "group"},
        "ensemble": [{"methods": ["mean"]}],
    }
    Path("featx.toml").write_text(toy_recipe(data=LABEL_TABLE, **sections))


@pytest.mark.parametrize(("unit", "pattern"), [(1e-6, r"\d\.\d{3}e-07"), (1e5, r"\d{5}")])
def test_scores_keep_their_digits_in_any_unit(
    unit: float, pattern: str, toy_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    write_study(unit)
    featx.extract()
    for command in COMMANDS:
        capsys.readouterr()
        sys.argv = ["featx", *command.split()]
        with pytest.raises(SystemExit) as exit_info:
            main()
        assert not exit_info.value.code, command
        text = capsys.readouterr().out
        # R² and correlations, which have no unit, are in the details.
        lines = [line for line in text.splitlines() if "mae" in line or re.match(r"[* ]*(ridge|rf|mean)\b", line)]
        assert re.search(rf"(?<![\d.]){pattern}(?![\d.])", "\n".join(lines)), (command, text)
        if "-v" not in command:
            assert "0.0000" not in text, (command, text)
        assert max(map(len, text.splitlines())) <= 80, (command, text)
    page = Path("runs/featx/report.html").read_text()
    assert re.search(rf"(?<![\d.]){pattern}(?![\d.])", page)
    assert ">0.0000<" not in page
