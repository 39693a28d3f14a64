"""The table of fine-tuned networks fits the terminal, and repeated texts are printed once."""

import math
import re
from collections.abc import Iterator
from typing import Any

import pytest

from featx.cli.finetune_table import networks
from featx.cli.output_settings import OutputSettings, printing
from featx.finetuning.training_run import FinetuningResult
from tests.printed import unwrapped

NOTE = "random weights: the network learns from these images alone"


@pytest.fixture
def detailed() -> Iterator[None]:
    """Print details."""
    with printing(OutputSettings(verbose=True)):
        yield


def result(number: int, **fields: Any) -> FinetuningResult:
    """Return the result of a run."""
    values: dict[str, Any] = {
        "run": f"efficientnet_lite0-last-2-blocks-defective-0000000{number}",
        "target": "defective",
        "path": "runs/x",
        "label": f"efficientnet_lite0/lr=0.000{number}",
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
    assert max(map(len, narrow.splitlines())) <= 80
    assert f"best network for defective: {runs[0].label}, acc 0.8000 on val\n" in narrow
    for value in ("0.0003", "0.9500", "0.8500", "0.8000"):
        assert narrow.count(value) >= 1
    assert re.search(r"more columns: --wide \(.*per epoch", narrow)
    with printing(OutputSettings(wide=True)):
        wide_table = printed(runs, capsys)
    assert max(map(len, wide_table.splitlines())) <= 80
    for value in ("0.0003", "7 of 10", "0.9500", "0.5000", "2.5 min", "9.2 s"):
        assert wide_table.count(value) >= 1
    monkeypatch.setenv("COLUMNS", "200")
    wide = printed(runs, capsys)
    assert re.search(r"^efficientnet_lite0 +last-2-blocks +0\.0003 +7 of 10 ", wide, re.MULTILINE)
    assert "0.5000" in wide


def test_a_text_of_many_runs_is_printed_once(capsys: pytest.CaptureFixture[str], detailed: None) -> None:
    runs = [result(number, notes=[NOTE, *(["late"] if number == 2 else [])]) for number in range(1, 7)]
    output = printed(runs, capsys)
    assert output.count(NOTE) == 1
    assert f"all runs: {NOTE}" in output
    assert f"{runs[1].label}: late" in output
    runs[0] = result(1, notes=[])
    assert f", and 1 more: {NOTE}" in unwrapped(printed(runs, capsys))


def test_columns_without_values_are_left_out(capsys: pytest.CaptureFixture[str], detailed: None) -> None:
    by_val = {"monitor": "val", "held_score": math.nan, "held_loss": math.nan, "chosen_by": "score"}
    output = printed([result(1, **by_val), result(2, **by_val)], capsys)
    assert "held-out" not in output
    assert "best epoch by the score on val" in output
    last = {"monitor": "none", "held_score": math.nan, "settings": {}}
    assert "the last weights are kept, because no rows are held out" in printed([result(1, **last)], capsys)


def test_the_val_score_is_shown_beside_many_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"strategy": "last-2-blocks", "lr": 1e-4, "loss": "cross_entropy", "optimiser": "adamw nesterov"}
    settings |= {"batch": "sixty-four", "weights": "../weights/vgg16_keras", "layers": "hidden 256, 128"}
    monkeypatch.setenv("COLUMNS", "80")
    text = printed([result(number, settings=settings) for number in range(1, 3)], capsys)
    row = next(line for line in text.splitlines() if line.startswith("efficientnet_lite0 "))
    assert "last-2-blocks" in row
    assert "0.8000" in row
    assert re.search(r"more columns: --wide", text)
