"""What is drawn while work goes on."""

from io import StringIO

from rich.console import Console

from featx.cli.progress import Screen


def test_a_stage_of_which_more_turns_out_to_be_needed_says_so() -> None:
    console = Console(file=StringIO(), width=120)
    screen = Screen(console)
    for done, total in ((5, 6), (6, 6), (7, 11)):
        screen.watch("fit svm", done, total)
    with console.capture() as drawn:
        console.print(screen)
    assert "7/11" in drawn.get()
