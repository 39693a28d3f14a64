"""Commands and groups of commands: what all of them check before they run, and how their help is laid out."""

from collections import Counter
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

# Longer than any description, so that none is cut; the formatter wraps them between words.
MAX_DESCRIPTION_LENGTH = 1000


class Command(TyperCommand):
    """A command that refuses an option with one value if it is given several times."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what was typed.

        Raises
        ------
        BadParameter
            an option that takes one value is given several times: click would use the last value and drop the others.
        """
        if not ctx.resilient_parsing:
            _, _, parameters = self.make_parser(ctx).parse_args(args=list(args))
            for option, n_given in Counter(parameters).items():
                if n_given > 1 and isinstance(option, TyperOption) and not (option.multiple or option.is_flag):
                    raise typer.BadParameter(f"found it {n_given} times, expected one value", ctx, option)
        return super().parse_args(ctx, args)


class CommandGroup(TyperGroup):
    """A group of commands whose help page wraps descriptions where click would cut them."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the name and the first sentence of each command."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(MAX_DESCRIPTION_LENGTH)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)
