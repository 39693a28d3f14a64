"""``featx attack``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from featx.cli.completions import complete_run, complete_target
from featx.cli.options import JsonOption, RecipeOption, UserOption, check_user

if TYPE_CHECKING:
    from featx.specs.attacking import AttackSection
    from featx.specs.recipe import Recipe


def attack(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Runs, or beginnings of their names.",
            autocompletion=complete_run,
            show_default="the recipe's, or all",
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            help="fgsm, pgd, apgd, cw, patch, square, transfer or standard (repeatable).",
            show_default="the recipe's, or fgsm and pgd",
        ),
    ] = None,
    norm: Annotated[
        list[str] | None,
        typer.Option("--norm", help="linf or l2 (repeatable).", show_default="the recipe's, or the method's first"),
    ] = None,
    eps: Annotated[
        list[str] | None,
        typer.Option(
            "--eps",
            help="Largest perturbation of pixels in [0, 1], as a number or a fraction; repeat for a curve.",
            show_default="the recipe's, or 8/255",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, metavar="N", help="Steps of the gradient.", show_default="the recipe's, or 20"),
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option(
            "--queries",
            min=1,
            metavar="N",
            help="Queries of an image by 'square'.",
            show_default="the recipe's, or 100",
        ),
    ] = None,
    restarts: Annotated[
        int | None,
        typer.Option(
            "--restarts",
            min=1,
            help="Random starts; for cw the weights that are tried, five at least.",
            show_default="the recipe's, or 1",
        ),
    ] = None,
    n_images: Annotated[
        int | None,
        typer.Option(
            "--images",
            min=1,
            metavar="N",
            help="Number of images; each class keeps its share.",
            show_default="the recipe's, or 32",
        ),
    ] = None,
    white_box: Annotated[
        bool,
        typer.Option("--white-box", help="Refuse runs without gradient instead of a transfer to them."),
    ] = False,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            help="Target.",
            autocompletion=complete_target,
            show_default="the recipe's, that of the runs, or the only one",
        ),
    ] = None,
    final: Annotated[
        bool, typer.Option("--final", help="Attack test images; this opens the split and is logged.")
    ] = False,
    user: UserOption = None,
    recipe: RecipeOption = None,
    json: JsonOption = False,
) -> None:
    """Attack runs by adversarial perturbations of images, and report their robust accuracy.

    Examples: featx attack · featx attack svm --method standard --eps 2/255 --eps 8/255 ·
    featx attack --method cw --json
    """
    from featx.cli import console
    from featx.cli.attack_table import print_all
    from featx.cli.progress_bars import watching
    from featx.robustness.attack import attack as attack_runs
    from featx.specs.recipe import load_recipe

    check_user(user, final)
    loaded_recipe = load_recipe(recipe)
    options: dict[str, Any] = {"methods": method, "norms": norm, "eps": eps, "steps": steps, "queries": queries}
    options |= {"restarts": restarts, "images": n_images, "white_box": white_box or None}
    options |= {"runs": runs or None, "target": target}
    sections = attack_sections(loaded_recipe, {name: value for name, value in options.items() if value is not None})
    with watching() as progress:
        results = attack_runs(loaded_recipe, sections=sections, final=final, user=user, progress=progress)
    if json:
        console.as_json({"evaluations": console.plain(results)})
        return
    print_all(results)


def attack_sections(recipe: "Recipe", options: dict[str, Any]) -> "list[AttackSection]":
    """Return the recipe's sections, or the default one, with the options in place of their values.

    Limits are those of a norm: norms without limits leave out the sections of other norms.
    """
    from featx.specs.attacking import AttackSection
    from featx.specs.validation import build_spec

    sections = recipe.attack
    if "norms" in options and "eps" not in options:
        sections = tuple(item for item in sections if set(item.norms or ["linf"]) & set(options["norms"]))
    fields = [section.model_dump() for section in sections or (AttackSection(seed=recipe.seed),)]
    return [build_spec(AttackSection, "the attack", **item | options) for item in fields]


def parse_fraction(text: str, option: str = "--eps") -> float:
    """Return the value of a number or of a fraction such as ``8/255``.

    Raises
    ------
    DataError
        the text is neither.
    """
    from featx.errors import DataError
    from featx.specs import attacking

    try:
        return float(attacking.parse_fraction(text))
    except ValueError as error:
        raise DataError(str(error).replace("found", f"found {option}", 1)) from error
