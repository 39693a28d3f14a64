"""``featx attack``."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx.cli.completions import complete_run, complete_target
from featx.cli.options import JsonOption, RecipeOption

if TYPE_CHECKING:
    from featx.robustness.attack_job import AttackJob
    from featx.robustness.attack_results import AttackResults
    from featx.specs.attacking import AttackSpec

DEFAULT_METHODS = ("fgsm", "pgd", "square")
SECONDS_PER_MINUTE = 60


def attack(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Runs, or beginnings of their names.", autocompletion=complete_run, show_default="all"),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            help="fgsm, pgd, apgd, cw, patch, square or standard; repeat for several.",
            show_default=", ".join(DEFAULT_METHODS),
        ),
    ] = None,
    norm: Annotated[str, typer.Option("--norm", help="linf or l2.")] = "linf",
    eps: Annotated[
        str, typer.Option("--eps", help="Largest perturbation of pixels in [0, 1], as a number or a fraction.")
    ] = "8/255",
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of the gradient, or queries of 'square'.")] = 20,
    restarts: Annotated[int, typer.Option("--restarts", min=1, help="Random starts.")] = 1,
    n_images: Annotated[
        int, typer.Option("--images", min=1, metavar="N", help="Number of images, evenly chosen.")
    ] = 100,
    target: Annotated[
        str | None,
        typer.Option("--target", help="Target.", autocompletion=complete_target, show_default="the only one"),
    ] = None,
    final: Annotated[
        bool, typer.Option("--final", help="Attack test images; this opens the split and is logged.")
    ] = False,
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Perturb images so that runs change their answers, and report the accuracy that is left.

    Examples: featx attack · featx attack svm --method standard --eps 2/255 · featx attack --method cw --norm l2 --json
    """
    from featx.cli import console
    from featx.cli.progress_bars import watching
    from featx.robustness.attack import run_attacks
    from featx.robustness.attack_job import prepare_attacks
    from featx.specs.attacking import AttackSpec
    from featx.specs.validation import build_spec

    values: dict[str, Any] = {"norm": norm, "eps": parse_fraction(eps), "steps": steps, "restarts": restarts}
    specs = [build_spec(AttackSpec, "the attack", method=name, **values) for name in method or DEFAULT_METHODS]
    with watching() as progress:
        job = prepare_attacks(
            recipe, specs=specs, runs=runs, target=target, n_images=n_images, final=final, progress=progress
        )
        if not json:
            console.say(_describe_cost(job))
        results = run_attacks(job, progress)
    console.as_json({"attacks": [_plain(attack) for attack in results]}) if json else _print(job, results)


def parse_fraction(text: str, option: str = "--eps") -> float:
    """Return the value of a number or of a fraction such as ``8/255``.

    Raises
    ------
    DataError
        the text is neither.
    """
    from featx.errors import DataError

    numerator, slash, denominator = text.partition("/")
    try:
        value = float(numerator) / (float(denominator) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"found {option} {text!r}, expected a number such as 0.03 or a fraction such as 8/255")
    return value


def _describe_cost(job: "AttackJob") -> str:
    n_attacks = sum(len(job.sources(spec)) for spec in job.specs)
    height, width = job.pixels.shape[-2:]
    sample = f"{len(job.pixels)} of {job.rows.n_rows} {job.rows.part} images of {width} × {height} px"
    minutes = job.expected_s / SECONDS_PER_MINUTE
    time = "all results are stored" if not job.expected_s else f"about {max(minutes, 0.1):.1f} minutes"
    runs = "1 run" if len(job.runs) == 1 else f"{len(job.runs)} runs"
    return f"{n_attacks} {'attack' if n_attacks == 1 else 'attacks'} on {runs} with {sample}: {time}"


def _plain(attack: "AttackResults") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "spec": attack.spec.model_dump(),
        "part": attack.rows.part,
        "n": len(attack.rows.ids),
        "runs": [asdict(row) for row in attack.runs],
        "transfer": attack.transfer().to_dict(orient="index"),
    }


def _print(job: "AttackJob", results: "Sequence[AttackResults]") -> None:
    from featx.cli.command_summary import Summary
    from featx.cli.table_layout import Column

    clean = {row.run: row for attack in results for row in attack.runs}
    robust = [{row.run: row for row in attack.runs} for attack in results]
    weakest = {name: min(rows[name].robust for rows in robust if name in rows) for name in clean}
    columns: list[str | Column] = [Column("run"), Column("clean", 0)]
    columns += [Column(_name(attack.spec), 1 + number) for number, attack in enumerate(results)]
    rows = []
    for name in sorted(weakest, key=lambda run: -weakest[run]):
        cells = [f"{rows_of[name].robust:.3f}" if name in rows_of else "–" for rows_of in robust]
        rows.append((clean[name].label, f"{clean[name].clean:.3f}", *cells))
    with Summary() as summary:
        summary.table(f"accuracy on {len(job.pixels)} {job.rows.part} images, clean and attacked", columns, rows)
        best = max(weakest, key=lambda run: weakest[run])
        row = min((rows_of[best] for rows_of in robust if best in rows_of), key=lambda item: item.robust)
        low, high = row.interval
        summary.result(f"most robust: {row.label}, {row.robust:.3f} (95 %: {low:.3f} … {high:.3f}) in the worst case")
        for one in {item.run: item for rows_of in robust for item in rows_of.values() if item.doubts}.values():
            summary.say(f"warning: {one.label} is not to be trusted, because {'; '.join(one.doubts)}", 1)
        summary.next_step("featx attack --method standard")


def _name(spec: "AttackSpec") -> str:
    return f"{spec.method} {spec.norm} {spec.eps:.3g}"
