"""What is drawn while work goes on."""

from io import StringIO

import pytest
from rich.console import Console

from featx.cli.progress_bars import NEWS_END, Screen


def test_a_stage_of_which_more_turns_out_to_be_needed_says_so() -> None:
    console = Console(file=StringIO(), width=120)
    screen = Screen(console)
    for done, total in ((5, 6), (6, 6), (7, 11)):
        screen.progress("fit svm", done, total)
    with console.capture() as drawn:
        console.print(screen)
    assert "7/11" in drawn.get()


@pytest.mark.parametrize("name", ["[/]", "[red]cat[/red]", ":cat:", "{task.id}"])
def test_names_in_bars_and_news_are_drawn_as_they_are(name: str) -> None:
    console = Console(file=StringIO(), width=160, force_terminal=True, no_color=True)
    screen = Screen(console)
    screen.progress(name, 1, 2, f"news of {name}{NEWS_END}latest {name}")
    with console.capture() as drawn:
        console.print(screen)
    assert drawn.get().count(name) == 4  # two stages, the news, the latest
    with console.capture() as drawn:
        screen.progress("note", 0, 1, f"note {name}")
    assert f"note {name}" in drawn.get()


def test_control_characters_in_bars_and_news_are_shown_as_escapes() -> None:
    console = Console(file=StringIO(), width=160)
    screen = Screen(console)
    screen.progress("a\x1b[2J", 1, 2, "latest \x07\n")
    with console.capture() as drawn:
        console.print(screen)
        screen.progress("note", 0, 1, "note \x9b")
    assert "a\\x1b[2J" in drawn.get()
    assert "latest \\x07\\n" in drawn.get()
    assert "note \\x9b" in drawn.get()
