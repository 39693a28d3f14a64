"""The ``featx`` command: what is typed becomes a call, and what goes wrong becomes one line."""

import errno
import sys
from typing import Annotated

import typer

from featx.cli import (
    attack_command,
    cache_commands,
    corrupt_command,
    data_commands,
    exploration_command,
    fit_command,
    leak_commands,
    listing_commands,
    model_commands,
    prediction_command,
    runs_commands,
    smoothing_command,
)
from featx.cli.command_line import Command, CommandGroup
from featx.cli.output_settings import with_output_options
from featx.cli.termination import orderly_termination
from featx.errors import FeatxError, TooManyFailuresError
from featx.text.sanitising import sanitise_text

TOO_MANY_FAILURES = 3
INTERRUPTED = 130  # what typer exits with after Ctrl-C

app = typer.Typer(
    name="featx",
    cls=CommandGroup,
    help="From a folder of images and some labels to models that are compared with confidence intervals and tests.\n\n"
    "Typical use: featx init photos/ · featx run; or one stage after the other: featx extract · featx fit · "
    "featx ensemble · featx evaluate · featx report",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: drawing it with rich would take longer than all the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        import featx

        sys.stdout.write(f"featx {featx.__version__}\n")
        raise typer.Exit


@app.callback()
def _options_without_command(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version.")
    ] = False,
) -> None:
    """Options of ``featx`` itself."""


for command in (
    data_commands.init,
    data_commands.extract,
    exploration_command.explore,
    fit_command.fit,
    model_commands.finetune,
    model_commands.ensemble,
    model_commands.evaluate,
    leak_commands.leaks,
    attack_command.attack,
    smoothing_command.smooth,
    corrupt_command.corrupt,
    model_commands.report,
    prediction_command.predict,
    model_commands.export,
    model_commands.run,
    listing_commands.show,
    listing_commands.backbones,
    listing_commands.heads,
    listing_commands.doctor,
):
    app.command(cls=Command)(with_output_options(command))
app.add_typer(cache_commands.app)
app.add_typer(runs_commands.app)


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 error, 2 usage, 3 failed images, 130 Ctrl-C, 143 SIGTERM."""
    with orderly_termination():
        _run()


def _run() -> None:
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            sys.stderr.write("interrupted; what was done is kept\n")
        raise
    except (FeatxError, OSError) as error:
        _print_error(f"{_describe(error)}{_next_step(error)}")
        sys.exit(TOO_MANY_FAILURES if isinstance(error, TooManyFailuresError) else 1)
    except Exception as error:
        if (text := _describe_unexpected(error)) is None:
            raise
        _print_error(text)
        sys.exit(1)


def _describe_unexpected(error: Exception) -> str | None:
    """Return a message about exhausted memory, or about a failure of another package's code; None for other errors.

    An `OverflowError` comes from a source that states impossible sizes where nothing checks them.
    """
    from featx.embeddings.engine import is_out_of_memory
    from featx.registry import describe_external_error

    reason = f"{type(error).__name__} {error}".rstrip().splitlines()[0]
    memory_text = f"there is not enough memory for this command ({reason}); what was done is kept"
    if is_out_of_memory(error):
        return memory_text
    return describe_external_error(error) or (memory_text if isinstance(error, OverflowError) else None)


def _describe(error: Exception) -> str:
    """Return the text of an error; that of a place that cannot be written to names the place and the next step."""
    from featx.files.unwritable_places import describe_denied, describe_unwritable, unwritable_path

    if not isinstance(error, OSError):
        return str(error)
    if path := unwritable_path(error):
        return describe_unwritable(path, error)
    return describe_denied(error) if error.errno in {errno.EACCES, errno.EPERM} else str(error)


def _print_error(text: str) -> None:
    from featx.cli.text import message_text

    sys.stderr.write(message_text(sanitise_text(f"error: {text}")) + "\n")


def _next_step(error: Exception) -> str:
    """Return the next step for a full disk, whose error message states none."""
    from featx.storage.segment_store import DISK_FULL_ERRNOS

    is_full = isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS
    return "; make room, and run again: what was done is kept" if is_full else ""
