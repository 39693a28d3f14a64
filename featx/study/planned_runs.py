"""Runs that a recipe asks for: those that are not finished, and sections that name others."""

from collections import Counter
from collections.abc import Iterator, Sequence

from featx.file_names import file_name
from featx.registry import suggest_names
from featx.specs.ensembling import DEFAULT_METHODS, EnsembleSpec
from featx.specs.head import HeadSpec
from featx.specs.recipe import Recipe
from featx.study.run_folder import RunFolder

# Key of a folder's name while that of the run is not known.
NO_KEY = "00000000"


def unfinished_runs(recipe: Recipe, target: str, runs: Sequence[RunFolder]) -> list[str]:
    """Return texts about the heads and networks of a recipe of which there are fewer finished runs than planned.

    Parameters
    ----------
    target
        Name of the target.
    runs
        Finished runs of this target.
    """
    heads = [("head", name) for name in _planned_heads(recipe, target)]
    networks = [("network", stem) for stem in _planned_networks(recipe, target)]
    run_counts = Counter((run.kind, run.spec.stem) for run in runs if run.refit_of is None)
    return [
        f"{kind} {stem}" if n == 1 else f"{kind} {stem} ({run_counts[kind, stem]} of {n} runs)"
        for (kind, stem), n in Counter([*heads, *networks]).items()
        if run_counts[kind, stem] < n
    ]


def _planned_heads(recipe: Recipe, target: str) -> list[str]:
    """Return the name of the head of each planned run; equal heads, as presets can make them, are one run."""
    kinds = {spec.kind for spec in recipe.targets.values()}
    # A head without a target is left out for targets that it cannot learn, so that it may not be planned for all.
    heads = [head for head in recipe.head if head.target == target or (head.target is None and len(kinds) == 1)]
    runs = [run for head in heads for run in head.grid()]
    return list({_run_key(run, recipe): run.name for run in runs}.values())


def _run_key(head: HeadSpec, recipe: Recipe) -> tuple[str, ...]:
    """Return the fingerprint of a head and the full names of its embeddings; ``all`` of one embedding is its name."""
    embeddings = str(head.embeddings)
    names = [request.name for request in recipe.requests if embeddings == "all" or request.is_called(embeddings)]
    return head.model_copy(update={"embeddings": ""}).fingerprint(), *(names or [embeddings])


def _planned_networks(recipe: Recipe, target: str) -> Iterator[str]:
    """Yield the beginning of the name of each planned network; grids of which a search tries a part are left out."""
    network_keys = set()
    for section in recipe.finetune:
        if section.target not in {None, target} or section.trials is not None:
            continue
        if section.target is None and recipe.targets[target].kind == "labels":
            continue
        for spec in section.runs:
            stem = section.name or spec.backbone.rpartition("/")[2]
            if (stem, spec.fingerprint()) not in network_keys:
                network_keys.add((stem, spec.fingerprint()))
                yield stem


def find_unknown_runs(recipe: Recipe, run_names: Sequence[str]) -> Iterator[str]:
    """Yield one message for each section that names a run which neither exists nor will be made.

    Parameters
    ----------
    run_names
        Names of the finished runs.
    """
    stems = list(dict.fromkeys(_all_stems(recipe)))
    for key, name in _named_runs(recipe):
        is_planned = any(_may_mean(name, stem) for stem in stems)
        if not is_planned and not any(run.startswith(name) for run in run_names):
            yield f"{key}: no run of this recipe is called {name!r}; {suggest_names(name, stems)}"


def _may_mean(name: str, stem: str) -> bool:
    """Return whether a name may be that of a run with this stem: its beginning, its label or its folder."""
    folder = file_name(stem, NO_KEY).removesuffix(f"-{NO_KEY}")
    return stem.startswith(name) or name.startswith((f"{stem}/", f"{stem}-", f"{folder}-"))


def _all_stems(recipe: Recipe) -> Iterator[str]:
    """Yield the beginnings of the names of all runs that a recipe makes."""
    yield from (head.name for head in recipe.head)
    for section in recipe.finetune:
        yield from (section.name or spec.backbone.rpartition("/")[2] for spec in section.runs)
    for ensemble in recipe.ensemble or (EnsembleSpec(),):
        yield from ([ensemble.name] if ensemble.name else [])
        yield from ensemble.methods or DEFAULT_METHODS
    yield from ["smoothed"] if recipe.smoothing else []


def _named_runs(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield the path of each key that names a run, and the name."""
    for number, ensemble in enumerate(recipe.ensemble):
        yield from ((f"ensemble[{number}].members", name) for name in ensemble.members or ())
    for number, section in enumerate(recipe.finetune):
        teachers = [spec.distillation.teacher for spec in section.runs if spec.distillation is not None]
        yield from ((f"finetune[{number}].distillation.teacher", name) for name in dict.fromkeys(teachers))
    for number, smoothing in enumerate(recipe.smoothing):
        yield f"smoothing[{number}].run", smoothing.run
    for number, attack in enumerate(recipe.attack):
        yield from ((f"attack[{number}].runs", name) for name in attack.runs)
    if recipe.corruption is not None and recipe.corruption.reference is not None:
        yield "corruption.reference", recipe.corruption.reference
