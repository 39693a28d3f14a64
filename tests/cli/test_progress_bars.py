"""Progress bars and messages on the screen.

Modules: progress.
"""

from io import StringIO

import pytest
from rich.console import Console

from featx.cli.progress_bars import NEWS_END, Screen


def test_the_total_of_a_stage_can_grow() -> None:
    console = Console(file=StringIO(), width=120)
    screen = Screen(console)
    for n_done, total in ((5, 6), (6, 6), (7, 11)):
        screen.progress("fit svm", n_done, total)
    with console.capture() as drawn:
        console.print(screen)
    assert "7/11" in drawn.get()


@pytest.mark.parametrize("name", ["[/]", "[red]cat[/red]", ":cat:", "{task.id}"])
def test_markup_in_bars_and_news_is_drawn_as_plain_text(name: str) -> None:
    console = Console(file=StringIO(), width=160, force_terminal=True, no_color=True)
    screen = Screen(console)
    screen.progress(name, 1, 2, f"news of {name}{NEWS_END}latest {name}")
    with console.capture() as drawn:
        console.print(screen)
    # The name occurs in two stages, the news and the latest message.
    assert drawn.get().count(name) == 4
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
