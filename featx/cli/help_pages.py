"""Help pages of groups of commands, which list each command with its whole description."""

from typing import Any

from typer.core import TyperGroup

# Longer than any description, so that none is cut; the formatter wraps them between words.
MAX_DESCRIPTION_LENGTH = 1000


class CommandGroup(TyperGroup):
    """Group of commands whose help page wraps descriptions where click would cut them."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the name and the first sentence of each command."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(MAX_DESCRIPTION_LENGTH)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)
