"""Grids of runs: the sections of a recipe with the changes of a call, and each training once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from featx.errors import DataError, UnknownNameError
from featx.finetuning.canonical_spec import canonical_spec
from featx.specs.finetuning import FinetuneSpec
from featx.specs.recipe import Recipe
from featx.specs.validation import build_spec
from featx.tables.ids import Kind


@dataclass(frozen=True)
class Grid:
    """Runs of one section, of which all or only `trials` are trained.

    Attributes
    ----------
    specs
        Specs of the runs.
    trials
        Number of runs to try; None for all.
    target
        Name of the only target of the runs; None for all targets.
    tensorboard
        Whether logs for TensorBoard are written.
    name
        Name of the section; empty if it has none.
    """

    specs: tuple[FinetuneSpec, ...]
    trials: int | None = None
    target: str | None = None
    tensorboard: bool = False
    name: str = ""

    def applies_to(self, target: str) -> bool:
        """Return whether the runs predict a target."""
        return self.target in {None, target}


def grids_of_targets(grids: Sequence[Grid], targets: Sequence[str]) -> list[Grid]:
    """Return the grids with runs of some of the targets.

    Raises
    ------
    DataError
        There is none.
    """
    matching_grids = [grid for grid in grids if any(map(grid.applies_to, targets))]
    if not matching_grids:
        raise DataError(f"no [[finetune]] is for target {targets[0]!r}; add one with target = {targets[0]!r}")
    return matching_grids


def recipe_grids(recipe: Recipe, trials: int | None, backbones: Sequence[str]) -> list[Grid]:
    """Return a recipe's ``[[finetune]]`` sections, or runs of the default network if it has none."""
    if not recipe.finetune:
        default = [FinetuneSpec(seed=recipe.seed)]
        return [Grid(vary(default, {"backbone": list(backbones)} if backbones else {}), trials)]
    return [
        Grid(section.runs, trials or section.trials, section.target, section.tensorboard, section.name or "")
        for section in recipe.finetune
    ]


def select_backbones(grids: Sequence[Grid], backbones: Sequence[str]) -> list[Grid]:
    """Return the grids with the runs of some backbones alone; without names, all of them.

    Raises
    ------
    UnknownNameError
        If no run has one of these backbones.
    """
    known_backbones = list(dict.fromkeys(spec.backbone for grid in grids for spec in grid.specs))
    if missing_names := [name for name in backbones if name not in known_backbones]:
        names_text = ", ".join(map(repr, known_backbones))
        raise UnknownNameError(
            f"no [[finetune]] has the backbone {missing_names[0]!r}; backbones of the recipe's networks: {names_text}"
        )
    if not backbones:
        return list(grids)
    selected_grids = [replace(grid, specs=tuple(s for s in grid.specs if s.backbone in backbones)) for grid in grids]
    return [grid for grid in selected_grids if grid.specs]


def canonical_grids(grids: Sequence[Grid], kind: Kind) -> list[Grid]:
    """Return grids with canonical specs for a kind of target, and without the runs that a grid before them has.

    Grids of which a search tries a part stay whole. Runs of named sections have names of their own.
    """
    seen_keys: set[tuple[str, str]] = set()
    distinct_grids = []
    for grid in grids:
        specs = {spec.fingerprint(): spec for spec in (canonical_spec(spec, kind) for spec in grid.specs)}
        if grid.trials is None:
            specs = {name: spec for name, spec in specs.items() if (grid.name, name) not in seen_keys}
            seen_keys |= {(grid.name, name) for name in specs}
        distinct_grids.append(replace(grid, specs=tuple(specs.values())))
    return [grid for grid in distinct_grids if grid.specs]


def vary(specs: Sequence[FinetuneSpec], changes: dict[str, list[Any]]) -> tuple[FinetuneSpec, ...]:
    """Return specs with other values of some keys, each distinct spec once.

    Parameters
    ----------
    specs
        The specs.
    changes
        Values of each key to change; several are a grid.

    Raises
    ------
    RecipeError
        If a value is not allowed.
    DataError
        If the rate of a spec is to change whose phases have their own.
    """
    varied_specs = list(specs)
    for key, values in changes.items():
        varied_specs = [_changed_spec(spec, key, value) for spec in varied_specs for value in values]
    return tuple({spec.fingerprint(): spec for spec in varied_specs}.values())


def _changed_spec(spec: FinetuneSpec, key: str, value: Any) -> FinetuneSpec:
    """Return a spec with another value of one key; a strategy replaces its phases, epochs limit each of them."""
    if key == "lr" and spec.phases:
        raise DataError(
            f"found lr {value} for {spec.backbone!r} with strategy = 'progressive', whose phases have a rate each; "
            f"change 'lr' in its 'phases', or name a strategy too, as 'featx finetune --strategy all --lr {value}'"
        )
    changes = {key: value, "phases": ()} if key == "strategy" else {key: value}
    changed_spec = build_spec(FinetuneSpec, "finetune", **spec.model_dump() | changes)
    if key == "epochs":
        return changed_spec.model_copy(update={"phases": changed_spec.limit_phases(changed_spec.epochs)})
    return changed_spec
