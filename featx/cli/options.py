"""Options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featx.cli.completions import complete_target
from featx.errors import DataError

if TYPE_CHECKING:
    from featx.specs.extraction import ClusterSpec

RecipeOption = Annotated[
    Path | None,
    typer.Option("-r", "--recipe", help="The recipe; by default $FEATX_RECIPE, else ./featx.toml.", show_default=False),
]
TargetOption = Annotated[
    str | None,
    typer.Option("--target", help="A target of the recipe.", show_default="all", autocompletion=complete_target),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Run again even if there is a result.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
TensorboardOption = Annotated[
    bool, typer.Option("--tensorboard", help="Write TensorBoard logs of networks to their run folders.")
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N.", show_default="the recipe's, else auto")
]
UserOption = Annotated[
    str | None,
    typer.Option("--user", metavar="NAME", help="Name to log with --final.", show_default="a hash of the login name"),
]


def _check_share(parameter: typer.CallbackParam, value: float | None) -> float | None:
    """Return the value of an option, checked before the command starts.

    Raises
    ------
    DataError
        It is not between 0 and 1.
    """
    if value is not None and not 0 < value < 1:
        raise DataError(f"{parameter.opts[0]} is {value:g}, expected a number between 0 and 1")
    return value


CoverageOption = Annotated[
    float | None,
    typer.Option(
        "--coverage",
        help="Print prediction sets or intervals with this coverage.",
        show_default="none",
        callback=_check_share,
    ),
]
AbstainOption = Annotated[
    float | None,
    typer.Option(
        "--abstain-below",
        help="Abstain if the highest probability is lower.",
        show_default="never",
        callback=_check_share,
    ),
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler", metavar="tcp://HOST:PORT", help="Distribute the work to a Dask cluster.", show_default="no"
    ),
]
LocalOption = Annotated[
    int | None,
    typer.Option(
        "--workers-local", min=1, metavar="N", help="Distribute the work to N local processes.", show_default="no"
    ),
]


def check_user(user: str | None, final: bool) -> None:
    """Check that a name for the log of openings is given only where the test split is opened.

    Raises
    ------
    BadParameter
        ``--user`` was given without ``--final``.
    """
    if user is not None and not final:
        raise typer.BadParameter("--user is the name that --final logs; add --final, or leave out --user")


def cluster_of(scheduler: str | None, workers_local: int | None) -> "ClusterSpec | None":
    """Return the workers that options name; None where they name none.

    Raises
    ------
    RecipeError
        they name two kinds.
    """
    if scheduler is None and workers_local is None:
        return None
    from featx.specs.extraction import ClusterSpec
    from featx.specs.validation import build_spec

    return build_spec(ClusterSpec, "--scheduler", scheduler=scheduler, workers_local=workers_local)
