"""What ``featx init`` prints: lines of at most 80 columns, broken between words; warnings about given parts.

Modules: cli.recognition_output.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len

from featx.cli.console import say_wrapped
from featx.cli.main import main
from featx.images.init import init
from tests.images.test_public_layouts import draw, write


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Return a function that runs the command line in this process and returns the lines that it prints."""

    def run_command(*arguments: str) -> list[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["featx", *arguments])
            with pytest.raises(SystemExit) as exit_info:
                main()
        assert not exit_info.value.code
        return capsys.readouterr().out.splitlines()

    return run_command


NAMES = ["a rather long name of a class", "猫と犬の写真" * 2, "Ödem", "another long name of a class"]


def test_all_lines_have_at_most_80_columns(home: Path, run: Callable[..., list[str]]) -> None:
    draw(home / "d", *(f"images of the first study/{i}.png" for i in range(24)), "other images/0.png")
    columns = ("file", "diagnosis", *(f"measurement_{n}" for n in range(12)))
    rows = [(f"{i}.png", NAMES[i % 4], *(i * n % 7 for n in range(12))) for i in range(24)]
    write(home / "d", "labels.csv", [columns, *rows])
    write(home / "d", "more.csv", [("file", "text"), *((f"{i}.png", f"text {i}") for i in range(24))])
    lines = run("init", "d", "--explain")
    assert len(lines) > 20
    assert [line for line in lines if cell_len(line) > 80] == []
    assert "measurement_11" in " ".join(lines)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three four", ["label    one two", "         three four"]),
        ("x" * 30, ["label    " + "x" * 10, *([" " * 9 + "x" * 10] * 2)]),
        ("runs/featx/report.html", ["label    runs/", "         featx/", "         report.", "         html"]),
        ("猫猫 猫猫 猫猫", ["label    猫猫 猫猫", "         猫猫"]),
        ("", ["label"]),
    ],
)
def test_a_text_is_broken_between_words(text: str, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    say_wrapped("label", text, width=19)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == lines


def parts(train: list[str], test: list[str]) -> list[tuple[str, str, str]]:
    names = [(name, "train") for name in train] + [(name, "test") for name in test]
    return [(f"{i}.png", name, part) for i, (name, part) in enumerate(names)]


SPLITS = {
    "a class": (
        parts(["cat", "dog"] * 8, ["cat", "dog", "eel", "eel"] * 2),
        "1 classes .* not in train: 'eel' \\(4\\)",
    ),
    "several labels": (parts(["a|b", "a", "b", "b|a"] * 5, ["a|c", "c", "b", "c"] * 2), "1 classes .*: 'c' \\(6\\)"),
}


@pytest.mark.parametrize("kind", SPLITS)
def test_classes_that_are_only_in_test_are_warned_of(kind: str, home: Path) -> None:
    rows, expected = SPLITS[kind]
    draw(home / "d", *(name for name, _, _ in rows))
    write(home / "d", "labels.csv", [("file", "y", "split"), *rows])
    warnings = [text for text in init("d").warnings if "in the given val or test part" in text]
    assert len(warnings) == 1
    assert re.search(expected, warnings[0])
    assert "in [targets.y]" in warnings[0]


def test_part_folders_with_a_class_of_their_own_are_warned_of(home: Path) -> None:
    draw(
        home / "d",
        *(f"{part}/{name}/{i}.png" for part in ("train", "val") for name in ("cat", "dog") for i in range(6)),
    )
    assert init("d").warnings == []
    draw(home / "d", *(f"val/eel/{i}.png" for i in range(6)))
    assert any("not in train: 'eel' (6)" in text for text in init("d", force=True).warnings)
