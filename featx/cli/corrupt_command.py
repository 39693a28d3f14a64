"""``featx corrupt``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx.cli.completions import complete_run, complete_target
from featx.cli.options import JsonOption, RecipeOption

if TYPE_CHECKING:
    from featx.robustness.corruption_job import CorruptionJob


def corrupt(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Runs, or beginnings of their names.", autocompletion=complete_run, show_default="all"),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            help="A kind of damage such as fog, or a group: noise, blur, weather, light, compression, geometry, "
            "probe, imagenet-c (repeatable).",
            show_default="all",
        ),
    ] = None,
    severity: Annotated[
        list[int] | None,
        typer.Option("--severity", min=1, max=5, help="Severity (repeatable).", show_default="1 to 5"),
    ] = None,
    n_images: Annotated[
        int | None,
        typer.Option("--images", min=1, metavar="N", help="Number of images, evenly chosen.", show_default="100"),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            help="Run that the mean corruption error is relative to.",
            autocompletion=complete_run,
            show_default="none",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", help="Target.", autocompletion=complete_target, show_default="the only one"),
    ] = None,
    final: Annotated[
        bool, typer.Option("--final", help="Use test images; this opens the split and is logged.")
    ] = False,
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Score runs on images with noise, blur, weather and other damage.

    Examples: featx corrupt · featx corrupt svm --kind noise --kind fog --images 200 · featx corrupt --reference logreg
    """
    from featx.cli import console
    from featx.cli.corruption_table import plain_results, print_corruptions
    from featx.cli.progress_bars import watching
    from featx.robustness.corrupt import run_corruptions
    from featx.robustness.corruption_job import prepare_corruptions
    from featx.specs.recipe import load_recipe

    loaded = load_recipe(recipe)
    changes: dict[str, Any] = {"kinds": kind, "severities": severity, "images": n_images, "reference": reference}
    with watching() as progress:
        job = prepare_corruptions(
            loaded, spec=loaded.corruption_spec(**changes), runs=runs, target=target, final=final, progress=progress
        )
        if not json:
            console.say(_describe_cost(job))
        results = run_corruptions(job, progress)
    console.as_json(plain_results(results)) if json else print_corruptions(results)


def _describe_cost(job: "CorruptionJob") -> str:
    n_damaged = sum(cell.is_damage for cell in job.cells)
    n_probes = len(job.cells) - 1 - n_damaged
    counts = [f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in ((n_damaged, "corruption"), (n_probes, "probe")) if n]
    rows = job.store.rows
    sample = f"{len(rows.ids)} of {rows.n_rows} {rows.part} images"
    runs = "1 run" if len(job.runs) == 1 else f"{len(job.runs)} runs"
    if not job.missing:
        return f"{' and '.join(counts)} of {sample}, {runs}: all outputs are stored"
    networks = "1 network" if job.n_networks == 1 else f"{job.n_networks} networks"
    minutes = max(job.expected_s / 60, 0.1)
    return f"{' and '.join(counts)} of {sample} through {networks} for {runs}: about {minutes:.1f} minutes"
