"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

RecipeOption = Annotated[
    Path | None,
    typer.Option("-r", "--recipe", help="The recipe; by default $FEATX_RECIPE, else ./featx.toml.", show_default=False),
]
TargetOption = Annotated[str | None, typer.Option("--target", help="One of the recipe's targets.", show_default="all")]
ForceOption = Annotated[bool, typer.Option("--force", help="Make again what is there.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="auto, cpu, cuda or cuda:N.", show_default="the recipe's, else auto")
]
CoverageOption = Annotated[
    float | None,
    typer.Option(
        "--coverage", help="Sets or intervals that hold the truth with this probability.", show_default="none"
    ),
]
AbstainOption = Annotated[
    float | None,
    typer.Option("--abstain-below", help="Say nothing where the probability is lower.", show_default="never"),
]
