"""``featx attack``: cost first, a table, and JSON; fractions, and limits in levels that are refused."""

import json
import sys

import pytest

from featx.cli.attack_command import parse_fraction
from featx.cli.main import main
from featx.errors import DataError
from featx.study.study import Study
from tests.robustness.conftest import study as study


def run(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[object, str, str]:
    """Return the exit code and the outputs of a command."""
    capsys.readouterr()
    sys.argv = ["featx", *words.split()]
    with pytest.raises(SystemExit) as stopped:
        main()
    return (stopped.value.code or 0, *capsys.readouterr())


def test_attacks_are_announced_made_and_printed(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words = "attack logreg --method fgsm --method pgd --eps 0.3 --steps 4 --images 6"
    code, output, _ = run(words, capsys)
    assert code == 0
    assert "2 attacks on 1 run with 6 of" in output
    assert "of 20 × 18 px: about" in output
    assert "most robust: logreg" in output
    assert all(len(line) <= 80 for line in output.splitlines())
    code, output, _ = run(f"{words} --json", capsys)
    attacks = json.loads(output)["attacks"]
    assert [attack["spec"]["method"] for attack in attacks] == ["fgsm", "pgd"]
    assert all(0 <= row["robust"] <= row["clean"] for attack in attacks for row in attack["runs"])
    assert "all results are stored" in run(words, capsys)[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--eps 8", "write 0.03137 (8/255)"),
        ("--eps eight", "expected a number such as 0.03 or a fraction such as 8/255"),
        ("--method pdg", "pgd"),
        ("--method cw", "attack 'cw' limits l2, found norm 'linf'"),
    ],
)
def test_wrong_options_get_one_line(study: Study, capsys: pytest.CaptureFixture[str], words: str, message: str) -> None:
    code, _, errors = run(f"attack {words}", capsys)
    assert code == 1
    assert message in errors
    assert "Traceback" not in errors


def test_fractions() -> None:
    assert parse_fraction("8/255") == 8 / 255
    assert parse_fraction("0.5") == 0.5
    for text in ("", "1/0", "nan", "a/b"):
        with pytest.raises(DataError, match="expected a number"):
            parse_fraction(text)
