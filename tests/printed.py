"""Outputs of commands in tests."""

import sys

import pytest

from featx.cli.main import main


def run_command(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    """Return the exit code and the outputs of a command."""
    capsys.readouterr()
    sys.argv = ["featx", *words.split()]
    with pytest.raises(SystemExit) as exit_info:
        main()
    return (exit_info.value.code or 0, *capsys.readouterr())


def unwrapped(text: str) -> str:
    """Return a printed text without the line breaks of a narrow terminal, each run of spaces as one space."""
    return " ".join(text.split())
