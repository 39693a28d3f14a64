"""The table of fine-tuned networks fits the terminal, and repeated texts are printed once."""

import math
import re
from typing import Any

import pytest

from featx.cli.finetune_table import networks
from featx.finetuning.training_run import FinetuningResult

NOTE = "random weights: the network learns from these images alone"


def result(number: int, **fields: Any) -> FinetuningResult:
    """Return the result of a run."""
    values: dict[str, Any] = {
        "run": f"efficientnet_lite0-last-2-blocks-defective-0000000{number}",
        "target": "defective",
        "path": "runs/x",
        "label": f"efficientnet_lite0 (lr 0.000{number})",
        "settings": {"strategy": "last-2-blocks", "lr": number / 10_000},
        "is_new": True,
        "n_epochs": 10,
        "best_epoch": 7,
        "monitor": "holdout",
        "chosen_by": "loss",
        "metric": "accuracy",
        "train_score": 0.95,
        "held_score": 0.85,
        "val_score": 0.8,
        "train_loss": 0.1,
        "held_loss": 0.4,
        "val_loss": 0.5,
        "epoch_s": 9.25,
        "flags": [],
        "warnings": [],
        "notes": [NOTE],
        "train_s": 150.0,
    }
    return FinetuningResult(**values | fields)


def printed(runs: list[FinetuningResult], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what is printed for runs."""
    networks(runs)
    return capsys.readouterr().out


def test_the_table_fits_the_terminal_and_names_every_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [result(number) for number in range(1, 4)]
    monkeypatch.setenv("COLUMNS", "80")
    narrow = printed(runs, capsys)
    table = narrow[: narrow.index("best: ")]
    assert max(map(len, table.splitlines())) <= 80
    assert f"best: {runs[0].run}\n" in narrow
    for value in ("0.0003", "7/10", "0.9500", "0.8500", "0.8000", "2.5 min", "9.2 s"):
        assert table.count(value) >= 1
    monkeypatch.setenv("COLUMNS", "200")
    wide = printed(runs, capsys)
    assert re.search(r"^efficientnet_lite0 +last-2-blocks +0\.0003 +7 of 10 ", wide, re.MULTILINE)
    assert "0.5000" in wide


def test_a_text_of_many_runs_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    runs = [result(number, notes=[NOTE, *(["late"] if number == 2 else [])]) for number in range(1, 7)]
    output = printed(runs, capsys)
    assert output.count(NOTE) == 1
    assert f"all runs: {NOTE}" in output
    assert f"{runs[1].label}: late" in output
    runs[0] = result(1, notes=[])
    assert f", and 1 more: {NOTE}" in printed(runs, capsys)


def test_columns_without_values_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    by_val = {"monitor": "val", "held_score": math.nan, "held_loss": math.nan, "chosen_by": "score"}
    output = printed([result(1, **by_val), result(2, **by_val)], capsys)
    assert "held-out" not in output
    assert "best epoch by the score on val" in output
    last = {"monitor": "none", "held_score": math.nan, "settings": {}}
    assert "the last weights are kept, because no rows are held out" in printed([result(1, **last)], capsys)
